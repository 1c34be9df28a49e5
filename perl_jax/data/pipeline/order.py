"""The order of rows: a function of the seed and of the number of rows taken before."""

import hashlib
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from perl_jax.data.pipeline.mixture import Mixture
from perl_jax.data.pipeline.turns import Turns
from perl_jax.data.sources.source import Source

if TYPE_CHECKING:
    # mesh imports jax, which worker processes do not need.
    from perl_jax.mesh import BatchSharding


@dataclass(frozen=True)
class RowOrder:
    """The order of a source's or mixture's rows, the same on all hosts.

    When a mixture repeats, every part has its own epochs. Without repeating, every row of every
    part comes once, whatever the weights.
    """

    source: Source
    shuffle: bool  # whether every epoch has its own order
    seed: int
    repeat: bool  # whether epochs follow each other without end

    def __post_init__(self) -> None:
        if self.repeat and not len(self.source):
            raise ValueError("source: expected at least one row; got 0")

    def identity(self) -> dict[str, Any]:
        """The JSON-able facts that decide the order."""
        return {
            "source": self.source.fingerprint(),
            "rows": len(self.source),
            "shares": None if self._mixture is None else self._mixture.shares,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "repeat": self.repeat,
        }

    @property
    def end(self) -> int:
        """The number of rows; `sys.maxsize` if they repeat."""
        return sys.maxsize if self.repeat else len(self.source)

    @property
    def parts(self) -> dict[str, int]:
        """The rows of an epoch of each part that takes turns, by name."""
        if self._mixture is None:
            return {"": len(self.source)}
        return {part.name: len(part.source) for part in self._mixture.parts}

    def part(self, place: int) -> str:
        """The name of the part whose row stands at a place."""
        if self._turns is None or self._mixture is None:
            return ""
        return self._mixture.parts[self._turns[place][0]].name

    def dataset(self, sharding: "BatchSharding") -> Any:
        """The row numbers that this host prepares, as a `grain.MapDataset`."""
        # Grain imports jax, which worker processes do not need.
        import grain

        rows = self._whole()
        mine = grain.MapDataset.range(sharding.own_rows_before(len(rows)))
        return mine.map(lambda number: rows[sharding.own_row(number)])

    def _whole(self) -> Any:
        import grain

        if self._turns is None or self._mixture is None:
            order = self._shuffled(0, len(self.source), str(self.seed))
            return order.repeat() if self.repeat else order
        starts = self._mixture.starts
        parts = [
            self._shuffled(start, stop, f"{self.seed} {part.name}").repeat()
            for part, start, stop in zip(self._mixture.parts, starts[:-1], starts[1:], strict=True)
        ]
        # Has the methods of grain's `DatasetSelectionMap`, without importing grain.
        turns: Any = self._turns
        return grain.MapDataset.select_from_datasets(parts, turns)

    def _shuffled(self, start: int, stop: int, seed: str) -> Any:
        import grain

        rows = grain.MapDataset.range(start, stop)
        # Hashed: Grain adds the epoch's number to it, so neighbouring seeds would share orders.
        digest = hashlib.blake2b(seed.encode(), digest_size=4).digest()
        return rows.shuffle(seed=int.from_bytes(digest, "little")) if self.shuffle else rows

    @property
    def _mixture(self) -> Mixture | None:
        """The source, if its parts take turns by weight."""
        return self.source if self.repeat and isinstance(self.source, Mixture) else None

    @cached_property
    def _turns(self) -> Turns | None:
        return None if self._mixture is None else Turns(self._mixture.shares)
