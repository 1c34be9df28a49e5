"""What a stage of the preparation is: rows in, and what becomes of every one of them out."""

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
    """A row that goes on.

    Attributes:
        example: The row, changed or not.
        note: A short fixed word by which kept rows are counted; empty: they are not.
        folder: Its shard set within the stage's directory; empty: the only one.
    """

    example: Example
    note: str = ""
    folder: str = ""


@dataclass(frozen=True)
class DroppedRow:
    """A good row that the stage leaves out.

    Attributes:
        reason: A short fixed word by which such rows are counted.
        detail: The content of the row that led to it.
    """

    reason: str
    id: str
    source: str
    detail: str


Outcome = KeptRow | DroppedRow | Skipped


@dataclass(frozen=True)
class Context:
    """What all stages of a preparation share.

    Attributes:
        cache: A directory for results that are too costly to be made twice; outlives the stages.
        endpoint: Is asked where rules do not decide.
    """

    seed: int
    cache: Path
    endpoint: EndpointConfig | None = None


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: Of its directory, of its section in the configuration, and on the command line.
        run: Given the rows and the stage's section, yields the outcome of every row in order.
        depends: What the result depends on besides rows, section and seed, as JSON could hold it:
            the content of a prompt file, for example.
    """

    name: str
    run: Callable[[Source, Any, Context], Iterator[Outcome]]
    depends: Callable[[Any, Context], Any] = lambda config, context: None


def dropped(example: Example, reason: str, detail: str = "") -> DroppedRow:
    """The row, left out."""
    return DroppedRow(reason, example.id, example.source, detail)


def read_rows(source: Source) -> Iterator[Example | Skipped]:
    """All rows in order; those that cannot be used as what is wrong with them.

    Raises:
        OSError: The storage fails.
    """
    read = RowReader(source, lambda example: example)
    return (read(index) for index in range(len(source)))


def map_rows(
    source: Source, function: Callable[[Example], R], threads: int = 0
) -> Iterator[R | Skipped]:
    """Applies a function to every row, in order; rows that cannot be used stay as they are.

    An exception of the function ends the iteration. ``threads`` calls run at once; 0: one after
    another, in this thread.
    """

    def call(row: Example | Skipped) -> R | Skipped:
        return row if isinstance(row, Skipped) else function(row)

    rows = read_rows(source)
    return ordered_map(call, rows, threads) if threads else map(call, rows)


def ordered_map(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Applies a function to every item, in order, in threads; items are read in this thread."""
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
