"""Which row comes when: a function of the seed, the shard and one number, how many came before."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from perl_jax.data.mixture import Mixture
from perl_jax.data.source import Source
from perl_jax.data.turns import Turns


@dataclass(frozen=True)
class Order:
    """The rows of a source, or of a mixture, that one shard reads.

    A mixture whose parts repeat is dealt out to the shards turn by turn, so all shards together
    have the shares of the mixture at any time. Every part has epochs of its own. In a single epoch,
    every row of every part comes once, whatever the weights.

    Attributes:
        source: The rows.
        shuffle: Whether every epoch has an order of its own.
        seed: Of the order.
        shard: Of this host.
        num_shards: Of all hosts.
        repeat: Whether another epoch follows an epoch.
    """

    source: Source
    shuffle: bool
    seed: int
    shard: int
    num_shards: int
    repeat: bool

    def __post_init__(self) -> None:
        if not 0 <= self.shard < self.num_shards:
            raise ValueError(f"shard: expected 0 to {self.num_shards - 1}; got {self.shard}")
        rows = len(self.source)
        if self.repeat and rows < self.num_shards:
            raise ValueError(
                f"source: expected at least one row for each of {self.num_shards} shards; "
                f"got {rows}"
            )

    def identity(self) -> dict[str, Any]:
        """What makes it this order: JSON-able."""
        return {
            "source": self.source.fingerprint(),
            "rows": len(self.source),
            "shares": None if self._mixture is None else self._mixture.shares,
            "seed": self.seed,
            "shuffle": self.shuffle,
            "shard": self.shard,
            "num_shards": self.num_shards,
            "repeat": self.repeat,
        }

    @property
    def epoch_rows(self) -> int:
        """How many rows of an epoch are this shard's; of a mixture, of an epoch of all parts."""
        return len(range(*self._mine.indices(len(self.source))))

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
        number, _ = self._turns[self.shard + place * self.num_shards]
        return self._mixture.parts[number].name

    def dataset(self) -> Any:
        """The numbers of the rows, a `grain.MapDataset`."""
        # Imported here: it imports jax, which worker processes do not need.
        import grain

        if self._turns is None or self._mixture is None:
            order = self._shuffled(0, len(self.source), str(self.seed)).slice(self._mine)
            return order.repeat() if self.repeat else order
        starts = self._mixture.starts
        parts = [
            self._shuffled(start, stop, f"{self.seed} {part.name}").repeat()
            for part, start, stop in zip(self._mixture.parts, starts[:-1], starts[1:], strict=True)
        ]
        mixed = grain.MapDataset.select_from_datasets(parts, _Endless(self._turns))
        return mixed.slice(slice(self.shard, None, self.num_shards))

    def _shuffled(self, start: int, stop: int, seed: str) -> Any:
        import grain

        rows = grain.MapDataset.range(start, stop)
        return rows.shuffle(seed=_grain_seed(seed)) if self.shuffle else rows

    @property
    def _mine(self) -> slice:
        rows = len(self.source)
        last = rows - rows % self.num_shards if self.repeat else rows
        return slice(self.shard, last, self.num_shards)

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
