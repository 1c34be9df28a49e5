"""Turns of a mixture's parts: their shares are exact over every stretch of rows."""

import heapq
import math
import numbers
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from perl_jax.legible import brief

# The turns of one period are kept in memory, at 8 bytes each.
MAX_PERIOD = 1_000_000


class Turns:
    """An endless order of turns by weight, with random access.

    Of the first n turns, a source of share w has n * w, rounded down or up; exactly n * w if n is a
    multiple of the period. Any n turns in a row hold n * w of it, give or take less than 2.
    (Grain's own ``mix`` rounds the weights: 3 and 7 become 100 and 233.)

    The weights are positive, and taken as written in decimal: 0.1 is a tenth. The order repeats
    after ``period`` turns.

    Raises:
        ValueError: A weight is not positive, or the shares' common denominator is over 1,000,000.
    """

    def __init__(self, weights: Sequence[float]):
        shares = whole_shares(weights)
        self.period = sum(shares)
        self._shares = shares
        self._source, self._turn = _one_period(shares)

    def __len__(self) -> int:
        return 2**62  # grain asks

    def __getitem__(self, place: int) -> tuple[int, int]:
        """The source whose turn it is, and the number of turns that it had before."""
        period, within = divmod(place, self.period)
        source = int(self._source[within])
        return source, period * self._shares[source] + int(self._turn[within])


def whole_shares(weights: Sequence[float]) -> list[int]:
    """The smallest whole numbers in the proportions of the weights; raises as `Turns` does."""
    for weight in weights:
        real = isinstance(weight, numbers.Real) and not isinstance(weight, bool)
        if not real or not 0 < weight < math.inf:
            raise ValueError(f"weight: expected a positive number; got {brief(weight)}")
    exact = [Fraction(str(weight)) for weight in weights]
    denominator = math.lcm(*(weight.denominator for weight in exact))
    whole = [int(weight * denominator) for weight in exact]
    divisor = math.gcd(*whole)
    shares = [weight // divisor for weight in whole]
    if sum(shares) > MAX_PERIOD:
        raise ValueError(
            "weight: expected proportions of whole numbers whose sum is at most "
            f"{MAX_PERIOD:,}, such as 7, 2 and 1, or 0.7, 0.2 and 0.1; got {list(weights)}"
        )
    return shares


def _one_period(shares: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The source of each turn of a period, and the number of turns that it had before.

    With p turns a period, turn j (from 0) of a source with s turns must stand at floor(j * p / s)
    or later, and before ceil((j + 1) * p / s); its count then is that of an even flow, rounded.
    Giving every place to the source with the earliest deadline, among those that may come, keeps
    to that (Baruah, Cohen, Plaxton and Varvel, Proportionate Progress, 1996).
    """
    period = sum(shares)
    source = np.empty(period, np.int32)
    turn = np.empty(period, np.int32)
    # Heaps of sources: by the first place of their next turn, and by its deadline.
    early = [(0, number) for number in range(len(shares))]
    due: list[tuple[int, int]] = []
    counts = [0] * len(shares)
    for place in range(period):
        while early and early[0][0] <= place:
            _, number = heapq.heappop(early)
            heapq.heappush(due, (-(-(counts[number] + 1) * period // shares[number]), number))
        _, number = heapq.heappop(due)
        source[place], turn[place] = number, counts[number]
        counts[number] += 1
        if counts[number] < shares[number]:
            heapq.heappush(early, (counts[number] * period // shares[number], number))
    return source, turn
