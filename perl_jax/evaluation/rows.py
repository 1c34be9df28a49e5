"""The rows of a benchmark."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from perl_jax.data.sources.source import BadRow
from perl_jax.evaluation.benchmark import Benchmark
from perl_jax.types import Example


@dataclass(frozen=True)
class BenchmarkRows:
    """The rows of a benchmark's files, read through once.

    Attributes:
        rows: Those that can be used, in the data's order. Numbers of slots stand for the images,
            which may be larger than the memory.
        bad: Those that cannot be read.
    """

    rows: tuple[Example, ...]
    bad: tuple[BadRow, ...]

    @classmethod
    def read(cls, benchmark: Benchmark, data: Path, limit: int | None) -> "BenchmarkRows":
        """Reads the first ``limit`` rows, or all.

        Raises:
            ValueError: There are none, or none of them can be read.
        """
        rows, bad = list[Example](), list[BadRow]()
        for row in read_rows(benchmark, data, limit):
            if isinstance(row, BadRow):
                bad.append(row)
            else:
                rows.append(without_images(row))
        if not rows:
            got = f"{len(bad)} rows, and none can be read: {bad[0]}" if bad else "none"
            raise ValueError(f"{data}: expected rows of {benchmark.name}; got {got}")
        return cls(tuple(rows), tuple(bad))

    @property
    def unreadable(self) -> Counter[str]:
        """How many rows cannot be read, by reason."""
        return Counter(row.reason for row in self.bad)

    @cached_property
    def ids(self) -> frozenset[str]:
        """The ids of all rows, as far as they can be read."""
        return frozenset(row.id for row in self.rows) | {row.row_id or row.row for row in self.bad}


def read_rows(benchmark: Benchmark, data: Path, limit: int | None) -> Iterator[Example | BadRow]:
    """Yields the first ``limit`` rows, or all, with their images."""
    return islice(benchmark.read(data), limit)


def without_images(example: Example) -> Example:
    """The example with the numbers of its slots in place of the images."""
    return replace(example, images=tuple(range(len(example.images))))
