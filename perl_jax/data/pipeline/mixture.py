"""Several sources as one, mixed by weight."""

import bisect
import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from perl_jax.data.pipeline.row_filter import RowFilter
from perl_jax.data.pipeline.turns import Turns, whole_shares
from perl_jax.data.sources.source import Source
from perl_jax.settings import plain
from perl_jax.types import Example


@dataclass(frozen=True, eq=False)
class Part:
    """A source of a mixture; its name and the run's seed decide the order of its rows."""

    name: str  # unique
    source: Source
    weight: float = 1.0  # share of the rows, relative to the other parts
    filters: RowFilter = field(default_factory=RowFilter)


class Mixture:
    """The rows of several sources, one source after another; a `Pipeline` mixes them by weight.

    A row that its part's filters refuse raises `FilteredRow`. Bounds on the prompt's length are not
    checked here.

    A mixture of one part is a source with filters. ``starts`` has the number of every part's first
    row, then the number of all rows.

    Raises:
        ValueError: No parts, equal names, a part without rows, or a wrong weight.
    """

    def __init__(self, parts: Sequence[Part]):
        names = [part.name for part in parts]
        if not parts or len(set(names)) < len(names):
            raise ValueError(f"mixture: expected parts of different names; got {names}")
        empty = [part.name for part in parts if not len(part.source)]
        if empty:
            raise ValueError(f"mixture: expected rows in every part; got none in {empty}")
        self.parts = tuple(parts)
        self.starts = (0, *itertools.accumulate(len(part.source) for part in parts))
        self.shares = whole_shares([part.weight for part in parts])

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, index: int) -> Example:
        part = self.parts[number := self.part_of(index)]
        example = part.source[index - self.starts[number]]
        part.filters.check(example)
        return example

    def part_of(self, index: int) -> int:
        """The number of the part that holds a row."""
        if not 0 <= index < len(self):
            raise IndexError(f"mixture: expected a row from 0 to {len(self) - 1}; got {index}")
        return bisect.bisect_right(self.starts, index) - 1

    def in_turns(self) -> Iterator[int]:
        """All row numbers, once each, in turns by weight; parts that are used up drop out."""
        turns, left = Turns(self.shares), len(self)
        for place in itertools.count():
            if not left:
                return
            number, turn = turns[place]
            if turn < len(self.parts[number].source):
                left -= 1
                yield self.starts[number] + turn

    def fingerprint(self) -> str:
        """A digest of the parts' content, weights and filters."""
        content = [
            [part.name, part.source.fingerprint(), share, plain(part.filters)]
            for part, share in zip(self.parts, self.shares, strict=True)
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
