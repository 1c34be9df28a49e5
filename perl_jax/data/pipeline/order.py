"""Which row comes when: a function of the seed and one number, how many came before."""

import hashlib
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from perl_jax.data.pipeline.mixture import Mixture
from perl_jax.data.pipeline.turns import Turns
from perl_jax.data.sources.source import Source

if TYPE_CHECKING:
    # It imports jax, which worker processes do not need.
    from perl_jax.mesh import BatchSharding


@dataclass(frozen=True)
class RowOrder:
    """The order of the rows of a source, or of a mixture; it is the same on all hosts.

    Every part of a mixture that repeats has epochs of its own. In a single epoch, every row of
    every part comes once, whatever the weights.

    Attributes:
        source: The rows.
        shuffle: Whether every epoch has an order of its own.
        seed: Of the order.
        repeat: Whether another epoch follows an epoch.
    """

    source: Source
    shuffle: bool
    seed: int
    repeat: bool

    def __post_init__(self) -> None:
        if self.repeat and not len(self.source):
            raise ValueError("source: expected at least one row; got 0")

    def identity(self) -> dict[str, Any]:
        """What makes it this order: JSON-able."""
        return {
            "source": self.source.fingerprint(),
            "rows": len(self.source),
            "shares": None if self._mixture is None else self._mixture.shares,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "repeat": self.repeat,
        }

    @property
    def epoch_rows(self) -> int:
        """How many rows an epoch has; of a mixture, an epoch of all parts."""
        return len(self.source)

    @property
    def end(self) -> int:
        """How many rows there are; where they repeat, more than are ever read."""
        return sys.maxsize if self.repeat else len(self.source)

    @property
    def parts(self) -> dict[str, int]:
        """The names of what takes turns, with the rows of an epoch."""
        if self._mixture is None:
            return {"": self.epoch_rows}
        return {part.name: len(part.source) for part in self._mixture.parts}

    def part(self, place: int) -> str:
        """Whose turn it is when so many rows were taken."""
        if self._turns is None or self._mixture is None:
            return ""
        number, _ = self._turns[place]
        return self._mixture.parts[number].name

    def dataset(self, sharding: "BatchSharding") -> Any:
        """The numbers of the rows that this host prepares, a `grain.MapDataset`."""
        # Imported here: it imports jax, which worker processes do not need.
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
        # It has the methods of a `DatasetSelectionMap`; the class itself would import grain.
        turns: Any = _Endless(self._turns)
        return grain.MapDataset.select_from_datasets(parts, turns)

    def _shuffled(self, start: int, stop: int, seed: str) -> Any:
        import grain

        rows = grain.MapDataset.range(start, stop)
        return rows.shuffle(seed=_grain_seed(seed)) if self.shuffle else rows

    @property
    def _mixture(self) -> Mixture | None:
        """The source, if parts take turns by weight."""
        return self.source if self.repeat and isinstance(self.source, Mixture) else None

    @cached_property
    def _turns(self) -> Turns | None:
        return None if self._mixture is None else self._mixture.turns()


@dataclass(frozen=True)
class _Endless:
    """Turns as grain wants them, which asks how long they are."""

    turns: Turns

    def __len__(self) -> int:
        return 2**62

    def __getitem__(self, place: int) -> tuple[int, int]:
        return self.turns[place]


def _grain_seed(seed: str) -> int:
    """Grain adds the number of the epoch to it: seeds side by side would share their orders."""
    return int.from_bytes(hashlib.blake2b(seed.encode(), digest_size=4).digest(), "little")
