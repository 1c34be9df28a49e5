"""Whose turn it is in a mixture: shares that are exact over every stretch of rows."""

import heapq
import math
import numbers
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

# The turns of a whole period are kept in memory, at 8 bytes each.
MAX_PERIOD = 1_000_000


class Turns:
    """An endless order of turns, shared out by weight; any place in it is found at once.

    Of the first n turns, a source of share w has n * w, rounded down or up, and exactly n * w where
    n is a multiple of the period. So in any n turns in a row, from wherever on, it has n * w, give
    or take less than 2. (Grain's own ``mix`` rounds the weights: 3 and 7 become 100 and 233.)

    Args:
        weights: Of the sources, positive. They are taken as they are written: 0.1 is a tenth.

    Attributes:
        period: After so many turns the order starts again.

    Raises:
        ValueError: A weight is not a positive number, or the shares have no common denominator of
            at most 1,000,000.
    """

    def __init__(self, weights: Sequence[float]):
        shares = whole_shares(weights)
        self.period = sum(shares)
        self._shares = shares
        self._source, self._turn = _one_period(shares)

    def __getitem__(self, place: int) -> tuple[int, int]:
        """Whose turn a place is, and how many turns that source had before."""
        period, within = divmod(place, self.period)
        source = int(self._source[within])
        return source, period * self._shares[source] + int(self._turn[within])


def whole_shares(weights: Sequence[float]) -> list[int]:
    """The smallest whole numbers in the proportions of the weights.

    Raises:
        ValueError: See `Turns`.
    """
    exact = [_exact(weight) for weight in weights]
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


def _exact(weight: float) -> Fraction:
    real = isinstance(weight, numbers.Real) and not isinstance(weight, bool)
    if not real or not 0 < weight < math.inf:
        raise ValueError(f"weight: expected a positive number; got {weight!r}")
    return Fraction(str(weight))


def _one_period(shares: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Whose turn each place of a period is, and how many turns of the period it had before.

    In a period of p turns, turn j of a source (from 0) of s turns must stand at j * p / s, rounded
    down, or later, and before (j + 1) * p / s, rounded up: then its count is always that of an even
    flow, rounded down or up. Giving every place to the source that must come soonest, of those that
    may, keeps to that, because an even flow of all of them does (Baruah, Cohen, Plaxton and
    Varvel, Proportionate Progress, 1996).
    """
    period = sum(shares)
    source = np.empty(period, np.int32)
    turn = np.empty(period, np.int32)
    # By the place from which on, and by the place before which, the next turn of a source may come.
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
