"""Places the real tokens of a shard: one after the other, and in rows for attention; on the host.

See `perl_jax.models.rows` for what the places mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perl_jax.buckets import bucket
from perl_jax.models.rows import Rows

# Rows with several responses each have to save a third of the pairs of tokens that attention
# compares in a row for each response. Lengths vary from step to step, and every shape is a program.
_WORTH = 1.5


@dataclass(frozen=True)
class RowShape:
    """The rows of the responses to an order.

    Attributes:
        count: M, the number of rows.
        length: Q, their cells.
    """

    count: int
    length: int

    @classmethod
    def of(cls, read: np.ndarray, prompt: int, response: int) -> "RowShape":
        """The shape that compares the fewest pairs of tokens.

        Args:
            read: int ``[X, N]``, the tokens that are read of the responses to X orders.
            prompt: T, the padded length of prompts.
            response: R, the padded length of responses.
        """
        num_rollouts = read.shape[1]
        apart = best = cls(num_rollouts, response)
        count = 1
        while count < num_rollouts:
            longest = max((int(_row_lengths(of, count).max()) for of in read), default=0)
            shape = cls(count, bucket(max(1, longest), steps=4))
            if shape.pairs(prompt) < best.pairs(prompt):
                best = shape
            count *= 2
        return best if _WORTH * best.pairs(prompt) < apart.pairs(prompt) else apart

    def pairs(self, prompt: int) -> int:
        """Pairs of a response's token and a token of the prompt or of its row."""
        return self.count * self.length * (prompt + self.length)


def spread(sizes: Sequence[int], bins: int, most: int | None = None) -> list[list[int]]:
    """Spreads things of these sizes over bins whose sums differ little: their numbers, ascending.

    The largest first, each goes where the sum is least. ``most`` bounds the things of a bin.
    """
    sums, found = [0] * bins, [list[int]() for _ in range(bins)]
    for number in sorted(range(len(sizes)), key=lambda number: -sizes[number]):
        free = [b for b in range(bins) if most is None or len(found[b]) < most]
        least = min(free, key=lambda b: (sums[b], len(found[b])))
        found[least].append(number)
        sums[least] += int(sizes[number])
    return [sorted(numbers) for numbers in found]


def _row_lengths(sizes: np.ndarray, count: int) -> np.ndarray:
    return np.array([sizes[numbers].sum() for numbers in spread(sizes.tolist(), count)])


@dataclass(frozen=True)
class Padded:
    """The padded sizes of one shard, see `perl_jax.models.rows`.

    Attributes:
        prompts: P and T.
        responses: O, N and R.
        rows: The rows of an order's responses.
        tokens: W.
        predicted: V.
    """

    prompts: tuple[int, int]
    responses: tuple[int, int, int]
    rows: RowShape
    tokens: int
    predicted: int


def lay_out(prompts: Sequence[int], asked: Sequence[int], lengths: np.ndarray, to: Padded) -> Rows:
    """Places the tokens of one shard.

    Args:
        prompts: The lengths of its prompts.
        asked: The prompt of each order.
        lengths: int ``[orders, N]``, the lengths of the responses to each order.
        to: The padded sizes.
    """
    (p, t), (o, n, r), rows = to.prompts, to.responses, to.rows
    source, cell_of, last = list[np.ndarray](), list[np.ndarray](), list[int]()
    starts = np.zeros((o, rows.count, rows.length), np.int32)
    read_at, place, used = list[np.ndarray](), list[np.ndarray](), 0

    def put(at: int, cell: int, count: int) -> np.ndarray:
        """Places tokens from these cells of the padded arrays and of the rows."""
        nonlocal used
        source.append(at + np.arange(count))
        cell_of.append(cell + np.arange(count))
        used += count
        return np.arange(used - count, used)

    for number, length in enumerate(prompts):
        last.append(int(put(number * t, number * t, length)[-1]))
    for order, of_order in enumerate(lengths):
        read = np.maximum(of_order - 1, 0)
        alone = [[number] for number in range(n)]
        in_rows = alone if rows.count == n else spread(read.tolist(), rows.count)
        for row, numbers in enumerate(in_rows):
            first = 0
            for number in numbers:
                count, response = int(read[number]), order * n + number
                starts[order, row, first : first + count] = first
                cell = p * t + (order * rows.count + row) * rows.length + first
                own = put(p * t + response * r, cell, count)
                if of_order[number]:
                    read_at.append(np.append(last[asked[order]], own))
                    place.append(response * r + np.arange(count + 1))
                first += count
    cells = p * t + starts.size
    filled_source, filled_cells = _filled(source, to.tokens), _filled(cell_of, to.tokens)
    filled_place = _filled(place, to.predicted)
    return Rows(
        source=filled_source[None],
        cells=_inverse(filled_cells, cells)[None],
        cell_of=filled_cells[None],
        starts=starts,
        read_at=_filled(read_at, to.predicted)[None],
        place=filled_place[None],
        place_of=_inverse(filled_place, o * n * r)[None],
    )


def _filled(parts: Sequence[np.ndarray], size: int) -> np.ndarray:
    """The parts one after the other, with -1 up to a size."""
    joined = np.concatenate([np.zeros(0, np.int32), *parts])
    return np.pad(joined, (0, size - len(joined)), constant_values=-1).astype(np.int32)


def _inverse(index: np.ndarray, size: int) -> np.ndarray:
    """Where each of ``size`` numbers stands in an index; -1 for those that it lacks."""
    inverse = np.full(size, -1, np.int32)
    held = np.flatnonzero(index >= 0)
    inverse[index[held]] = held
    return inverse
