"""The pipeline: shuffles rows by seed, shares them among hosts, prepares ahead, replaces bad ones.

The order is a function of the seed, and a place in it is one number: the rows taken so far by all
hosts together. So the numbers of hosts, workers and rows ahead change nothing, and a saved state
can be restored under any of them.
"""

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from perl_jax.data.pipeline.agreement import Exchange, agree, alone
from perl_jax.data.pipeline.order import RowOrder
from perl_jax.data.pipeline.pool import RowPool
from perl_jax.data.pipeline.rows import Filtered, RowReader, SkipCount, Skipped
from perl_jax.data.sources.source import Source
from perl_jax.files import ResumableLog
from perl_jax.legible import brief
from perl_jax.settings import Checked, Count, CountOrZero, Expects, Fraction
from perl_jax.types import Example

if TYPE_CHECKING:
    # mesh imports jax, which worker processes do not need.
    from perl_jax.mesh import BatchSharding

_log = logging.getLogger(__name__)

# Only decoding and resizing images release the interpreter's lock.
_THREADS = 4
# Where many rows are left out, at most this many times the wanted rows are read at once.
_MAX_AHEAD = 16


@dataclass(frozen=True)
class PipelineConfig(Checked):
    """Settings of the pipeline.

    Attributes:
        shuffle: Whether every epoch has its own order, drawn by the seed.
        workers: Processes that prepare rows; 0: threads of this process do.
        prefetch: Rows that each host prepares ahead, at least ``workers``. A prepared image of
            512 x 512 pixels takes 6 MB.
        max_bad_fraction: The run ends when a larger share of rows cannot be used: at the end of an
            epoch, or from 200 rows on, once chance no longer explains it.
    """

    shuffle: bool = True
    workers: Annotated[CountOrZero, Expects("an integer of at least 0")] = 0
    prefetch: Annotated[Count, Expects("an integer of at least 1")] = 16
    max_bad_fraction: Fraction = 0.01

    def _check_together(self) -> None:
        if self.prefetch < self.workers:
            raise ValueError(
                f"prefetch: expected at least workers, {self.workers}, as others would have "
                f"nothing to do; got {self.prefetch}"
            )


@dataclass(frozen=True)
class Taken:
    """Usable rows in order, the same on all hosts; None where hosts of another feed hold a row."""

    examples: list[Example | None]
    feeds: list[int]  # see `perl_jax.mesh.BatchSharding`


class Pipeline(AbstractContextManager["Pipeline"]):
    """An order of prepared examples, and a context manager that ends its workers.

    With ``repeat``, rows never end. Without it, they end after one epoch of all rows.

    Each host prepares the rows of its feed only, and tells the others which rows it left out. So
    all hosts together take what one alone would, in the same order, and stop alike. All of them
    must make the same calls. On a single host, a pipeline is also an iterator.

    The parts of a `Mixture` take turns by weight, and each repeats by itself. The weights hold for
    the rows taken: a bad or filtered row is replaced by the next one, perhaps of another part.

    Args:
        source: The rows.
        prepare: Makes an example ready, such as a `Preparer`; may raise `BadRow`. With worker
            processes, it and the source are pickled.
        config: The settings.
        seed: The seed of the order.
        sharding: Which hosts prepare which rows. None: this host prepares all.
        exchange: Sends a JSON-able value and its name, and returns the values of all hosts:
            `perl_jax.hosts.gather`. None on a single host.
        repeat: Whether epochs follow each other without end.
        skip_log: A `ResumableLog` of every bad row on all hosts: its place (from 1), name, id,
            reason and message. A row is written before it is taken, so no row before a checkpoint
            is missing after a kill. Only one host may write it.

    Attributes:
        epoch_rows: The rows of an epoch, over all parts of a mixture.

    Raises:
        ValueError: ``repeat`` without rows; several hosts without an exchange; or a filter by
            prompt length where ``prepare`` is no `Preparer`.
        RuntimeError: A worker process cannot start.
    """

    def __init__(
        self,
        source: Source,
        prepare: Callable[[Example], Example],
        config: PipelineConfig,
        *,
        seed: int,
        sharding: "BatchSharding | None" = None,
        exchange: Exchange | None = None,
        repeat: bool = True,
        skip_log: Path | None = None,
    ):
        self._sharding = _one_host() if sharding is None else sharding
        if exchange is None and self._sharding.num_hosts > 1:
            raise ValueError(
                f"exchange: expected a function, as there are {self._sharding.num_hosts} hosts"
            )
        self._exchange = exchange or alone
        self._order = RowOrder(source, config.shuffle, seed, repeat)
        self._identity = self._order.identity()
        self.epoch_rows = len(source)
        self._count = SkipCount(config.max_bad_fraction, self.epoch_rows, self._order.parts)
        self._log = None if skip_log is None else ResumableLog(skip_log, "place")
        self._closed = False
        read: Callable[[int], Example | Skipped] = RowReader(source, prepare)
        self._pool = RowPool(read, config.workers) if config.workers else None
        rows = self._order.dataset(self._sharding)
        self._iterator = _iterate(rows, read if self._pool is None else self._pool, config)
        # The next rows, whose outcome all hosts know.
        self._known: deque[Example | Skipped | None] = deque()
        # Those that `put_back` may give back, each with the rows of its part skipped before it.
        self._ahead: list[tuple[Example | Skipped | None, int]] = []
        # Rows before this place have been told of.
        self._told = 0

    @property
    def skipped(self) -> Counter[str]:
        """The rows that could not be used, by reason."""
        return self._count.skipped

    @property
    def filtered(self) -> Counter[str]:
        """The rows that the filters refused, by reason."""
        return self._count.filtered

    @property
    def rows(self) -> int:
        """The rows taken, including those left out."""
        return self._count.rows

    @property
    def process_ids(self) -> tuple[int, ...]:
        """The ids of the running worker processes."""
        return () if self._pool is None or self._closed else self._pool.process_ids

    def __iter__(self) -> "Pipeline":
        return self

    def __next__(self) -> Example:
        """The next usable example, if there is only one feed; see `take`."""
        if self._sharding.num_feeds > 1:
            raise ValueError(f"expected take(), as {self._sharding.num_feeds} feeds share the rows")
        for example in self.take(1).examples:
            assert example is not None
            return example
        raise StopIteration

    def take(self, count: int) -> Taken:
        """Takes ``count`` usable examples over all hosts; on all hosts fewer where the rows end.

        After an error, the pipeline is closed.

        Raises:
            ValueError: Too many rows cannot be used, or the pipeline is closed.
            RuntimeError: A worker was killed or failed, or hosts disagree.
            OSError: Reading failed, without workers.
        """
        self._ahead.clear()
        taken = self.take_ahead(count)
        self._ahead.clear()
        return taken

    def take_ahead(self, count: int) -> Taken:
        """Takes examples as `take` does, so that the last of them can be put back."""
        if count < 1:
            raise ValueError(f"count: expected at least 1; got {count}")
        if self._closed:
            raise ValueError("the pipeline is closed")
        counts = self._counts()
        try:
            return self._take(count)
        except BaseException:
            # Rows that led to an error were not taken.
            self._count.restore(**counts)
            self.close()
            raise

    def _take(self, count: int) -> Taken:
        taken = Taken([], [])
        while len(taken.examples) < count:
            if not self._known:
                self._known.extend(self._look(count - len(taken.examples)))
            if not self._known:
                break
            place, row = self._count.rows, self._known.popleft()
            if self._log and isinstance(row, Skipped) and not isinstance(row, Filtered):
                id = {"id": row.row_id} if row.row_id else {}
                facts = {"row": row.row, **id, "reason": row.reason, "message": row.message}
                self._log.add(place + 1, facts)
            mine = self._sharding.is_leader and self._sharding.is_own_row(place)
            part = self._order.part(place)
            self._ahead.append((row, self._count.in_a_row(part)))
            self._count.add(row, part, log=mine and place >= self._told)
            self._told = max(self._told, place + 1)
            if not isinstance(row, Skipped):
                taken.examples.append(row)
                taken.feeds.append(self._sharding.feed_of_row(place))
        return taken

    def put_back(self, count: int) -> None:
        """Puts back the last ``count`` examples taken with `take_ahead`; the others are used.

        The place, the counts and the log of bad rows become those of a pipeline that took the used
        ones alone. What was put back stays prepared, and is taken next. All hosts must call it.

        Raises:
            ValueError: Fewer were taken ahead since the last call.
        """
        taken = sum(not isinstance(row, Skipped) for row, _ in self._ahead)
        if not 0 <= count <= taken:
            raise ValueError(f"count: expected 0 to {taken} examples taken ahead; got {count}")
        skipped = False
        # Rows skipped after the last example that is used come again, too.
        while self._ahead and (count or isinstance(self._ahead[-1][0], Skipped)):
            row, in_a_row = self._ahead.pop()
            count -= not isinstance(row, Skipped)
            skipped |= isinstance(row, Skipped)
            self._known.appendleft(row)
            self._count.take_back(row, self._order.part(self.rows - 1), in_a_row)
        self._ahead.clear()
        if self._log and skipped:
            self._log.take_back(self.rows)

    def _look(self, wanted: int) -> list[Example | Skipped | None]:
        """Reads the next rows, of which about ``wanted`` are usable."""
        first = self._count.rows
        stop = min(first + self._rows_for(wanted), self._order.end)
        if first == stop:
            return []
        places = filter(self._sharding.is_own_row, range(first, stop))
        mine = {place: next(self._iterator) for place in places}
        return agree(first, stop, mine, self._sharding, self._exchange)

    def _rows_for(self, wanted: int) -> int:
        """The number of rows to read for so many usable ones, the same on all hosts."""
        if self._sharding.num_hosts == 1:
            return wanted
        # Where many rows are left out, reading more at once is cheaper than asking again.
        good = self._count.rows - self.skipped.total() - self.filtered.total()
        expected = -(-wanted * (self._count.rows + 1) // (good + 1))
        return min(expected, wanted * _MAX_AHEAD)

    def _counts(self) -> dict[str, Any]:
        return {"rows": self.rows, "skipped": dict(self.skipped), "filtered": dict(self.filtered)}

    def metrics(self) -> dict[str, float]:
        """The epochs taken and the rows left out since the run began, by metric name."""
        metrics = {"data/epoch": self.rows / self.epoch_rows}
        for kind, counts in (("skipped", self.skipped), ("filtered", self.filtered)):
            metrics |= {f"{kind}/{reason}": float(count) for reason, count in counts.items()}
        return metrics

    def state(self) -> dict[str, Any]:
        """The JSON-able place in the order: the rows taken, whatever is prepared ahead.

        It is the same on all hosts, and does not depend on their number.
        """
        return {"order": dict(self._identity), **self._counts()}

    def restore(self, state: Mapping[str, Any], *, or_begin: bool = False) -> None:
        """Continues from a `state`, on any hosts.

        Args:
            state: The place to continue from.
            or_begin: If it is a place in another order of rows, this order begins at its first row
                and all counts at 0, which is logged; the log of bad rows is moved aside.

        Raises:
            ValueError: It is a place in another order; tells how that differs.
        """
        if self._closed:
            raise ValueError("the pipeline is closed")
        _check_state(state)
        was, now = state["order"], self._identity
        names = [name for name in now if was.get(name) != now[name]]
        differing = "; ".join(
            f"{name}: was {brief(was.get(name))}, is {brief(now[name])}" for name in names
        )
        if differing and not or_begin:
            raise ValueError(
                "the state of the data is a place in another order of rows, which cannot be gone "
                f"on with: {differing}"
            )
        if differing:
            _log.warning(
                "the data changed after %d rows, and the new order begins at its first row, so "
                "rows seen before come again (%s)", state["rows"], differing,
            )  # fmt: skip
            if self._log:
                self._log.set_aside()
            return
        # Grain's iterator only knows how many rows it gave.
        self._iterator.set_state({"next_index": self._sharding.own_rows_before(state["rows"])})
        self._known.clear()
        self._ahead.clear()
        self._told = 0
        self._count.restore(state["rows"], state["skipped"], state["filtered"])
        if self._log:
            self._log.take_back(state["rows"])

    def close(self) -> None:
        """Ends the workers and threads. `state` still works."""
        if self._closed:
            return
        self._closed = True
        self._iterator.close()
        if self._pool is not None:
            self._pool.close()

    def __exit__(self, *error: object) -> None:
        self.close()


def _one_host() -> "BatchSharding":
    from perl_jax.mesh import BatchSharding

    return BatchSharding()


def _iterate(rows: Any, read: Callable[[int], Example | Skipped], config: PipelineConfig) -> Any:
    """Grain's iterator: threads read rows ahead, in order."""
    # Grain imports jax, which worker processes do not need.
    import grain

    threads = config.workers or min(_THREADS, config.prefetch)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=config.prefetch)
    return iter(rows.map(read).to_iter_dataset(options))


def _check_state(state: Mapping[str, Any]) -> None:
    expected = {"order": Mapping, "rows": int, "skipped": Mapping, "filtered": Mapping}
    for name, kind in expected.items():
        if not isinstance(state.get(name), kind):
            raise ValueError(
                f"the state of the data: {name}: expected {kind.__name__}; "
                f"got {brief(state.get(name))}"
            )
