"""The parts of a stage: rows go in, and an outcome for each row comes out."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from perl_jax.data.pipeline.rows import RowReader, Skipped
from perl_jax.data.sources.source import Source
from perl_jax.endpoint import EndpointConfig
from perl_jax.types import Example

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class KeptRow:
    """A row that is kept.

    Attributes:
        example: The row, changed or not.
        note: The fixed word under which it is counted; empty: it is not.
        folder: Its shard set within the stage's directory; empty: the only one.
    """

    example: Example
    note: str = ""
    folder: str = ""


@dataclass(frozen=True)
class DroppedRow:
    """A good row that is left out: the reason is a fixed word, the detail is the row's content."""

    reason: str
    id: str
    source: str
    detail: str


Outcome = KeptRow | DroppedRow | Skipped


@dataclass(frozen=True)
class Context:
    """What all stages share; ``cache`` is a directory for costly results that outlives stages."""

    seed: int
    cache: Path
    endpoint: EndpointConfig | None = None


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: The name of its section, and in its directory and on the command line.
        run: Yields the outcome of every row in order, given the source and the stage's section.
        depends: What the result depends on besides rows, section and seed, such as a prompt file's
            content, as a JSON value.
    """

    name: str
    run: Callable[[Source, Any, Context], Iterator[Outcome]]
    depends: Callable[[Any, Context], Any] = lambda config, context: None


def dropped(example: Example, reason: str, detail: str = "") -> DroppedRow:
    """Drops an example."""
    return DroppedRow(reason, example.id, example.source, detail)


def read_rows(source: Source) -> Iterator[Example | Skipped]:
    """Reads all rows in order, bad ones as `Skipped`; raises OSError if the storage fails."""
    read = RowReader(source, lambda example: example)
    return (read(index) for index in range(len(source)))


def map_rows(
    source: Source, function: Callable[[Example], R], threads: int = 0
) -> Iterator[R | Skipped]:
    """Applies a function to good rows, in order, in threads (0: in this one); bad ones stay."""

    def call(row: Example | Skipped) -> R | Skipped:
        return row if isinstance(row, Skipped) else function(row)

    rows = read_rows(source)
    return ordered_map(call, rows, threads) if threads else map(call, rows)


def ordered_map(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Applies a function in threads, with results in order; items are read in this thread."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
