"""The pipeline: rows shuffled by seed, shared out to hosts, prepared ahead, bad ones replaced.

The order of the rows is a function of the seed, and a place in it is one number: how many rows were
taken, by all hosts together. So neither the number of hosts, nor that of workers, nor how far they
are ahead changes what comes, and a state saved with any number of them is restored with any other.
"""

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
from perl_jax.settings import Checked, Count, CountOrZero, Expects, Fraction
from perl_jax.types import Example

if TYPE_CHECKING:
    # It imports jax, which worker processes do not need.
    from perl_jax.mesh import BatchSharding

# Decoding and resizing images leaves the interpreter to others; the rest of the work does not.
_THREADS = 4
# Of the rows that are wanted, so many times more are looked at, at most, where many are left out.
_MAX_AHEAD = 16


@dataclass(frozen=True)
class PipelineConfig(Checked):
    """How rows are read.

    Attributes:
        shuffle: Whether every epoch has an order of its own, drawn by the seed.
        workers: Processes that prepare rows; 0: threads of this process do.
        prefetch: How many rows each host prepares ahead, at least ``workers``. Each takes memory: a
            prepared image of 512 x 512 pixels is 6 MB.
        max_bad_fraction: Where more of the rows cannot be used, the run ends: at the end of an
            epoch, or from 200 rows on, as soon as chance no longer explains so many.
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
    """Rows of the order that can be used.

    Attributes:
        examples: In the order, the same on all hosts; None where hosts of another feed hold it.
        feeds: The feed of each, see `perl_jax.mesh.BatchSharding`.
    """

    examples: list[Example | None]
    feeds: list[int]


class Pipeline(AbstractContextManager["Pipeline"]):
    """Takes prepared examples, and is a context manager that ends its workers.

    With ``repeat``, rows never end. Without it, they end after one epoch of all rows.

    On many hosts, each prepares the rows of its feed only, and after every look at rows they tell
    each other which of them are left out. So together they take what one alone would, in the same
    order, and count and stop alike. All of them must make the same calls. On a single host, a
    pipeline is also an iterator.

    The parts of a `Mixture` take turns by their weights and repeat each by itself. The weights are
    those of the rows that are taken: rows that are bad or filtered are replaced by what comes next,
    which may be of another part.

    Args:
        source: The rows.
        prepare: Makes an example ready, such as a `Preparer`; it may raise `BadRow`. With worker
            processes, it and the source are pickled.
        config: How rows are read.
        seed: Of the order.
        sharding: Says which hosts prepare which rows. None: this host prepares all.
        exchange: Tells the JSON-able value of a host, and what it is, and gives the values of all
            hosts, by host: `perl_jax.hosts.gather`. None on a single host.
        repeat: Whether another epoch follows an epoch.
        skip_log: A `ResumableLog` that names every row that cannot be used, those of other hosts
            too: its place in the order, counted from 1, its name, the reason and the message. A row
            is written before it is taken, so that none before a checkpoint is missing after a
            kill. One host writes it.

    Attributes:
        epoch_rows: How many rows an epoch has; of a mixture, an epoch of all its parts.

    Raises:
        ValueError: ``repeat`` without rows; several hosts without an exchange; or prompts are to be
            filtered by length, and ``prepare`` is no `Preparer`.
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
        self.epoch_rows = self._order.epoch_rows
        self._count = SkipCount(config.max_bad_fraction, self.epoch_rows, self._order.parts)
        self._log = None if skip_log is None else ResumableLog(skip_log, "place")
        self._closed = False
        read: Callable[[int], Example | Skipped] = RowReader(source, prepare)
        self._pool = RowPool(read, config.workers) if config.workers else None
        rows = self._order.dataset(self._sharding)
        self._iterator = _iterate(rows, read if self._pool is None else self._pool, config)
        # What became of the rows that come next, of which all hosts know.
        self._known: deque[Example | Skipped | None] = deque()

    @property
    def skipped(self) -> Counter[str]:
        """How many rows could not be used, by reason."""
        return self._count.skipped

    @property
    def filtered(self) -> Counter[str]:
        """How many rows were not wanted, by reason."""
        return self._count.filtered

    @property
    def rows(self) -> int:
        """How many rows were taken, those among them that were left out."""
        return self._count.rows

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Of the worker processes that are not ended."""
        return () if self._pool is None or self._closed else self._pool.process_ids

    def __iter__(self) -> "Pipeline":
        return self

    def __next__(self) -> Example:
        """The next example that can be used, where there is only one feed. See `take`.

        Raises:
            StopIteration: There are no more rows.
        """
        if self._sharding.num_feeds > 1:
            raise ValueError(f"expected take(), as {self._sharding.num_feeds} feeds share the rows")
        for example in self.take(1).examples:
            assert example is not None
            return example
        raise StopIteration

    def take(self, count: int) -> Taken:
        """The next examples that can be used. After an error, the pipeline is closed.

        Args:
            count: How many, over all hosts.

        Returns:
            As many as are wanted; fewer, on all hosts, where the rows end.

        Raises:
            ValueError: More rows than allowed cannot be used, or all of an epoch; or the pipeline
                is closed.
            RuntimeError: A worker was killed, or reading failed in it; or hosts differ.
            OSError: Reading failed, without workers.
        """
        if count < 1:
            raise ValueError(f"count: expected at least 1; got {count}")
        if self._closed:
            raise ValueError("the pipeline is closed")
        counts = self._counts()
        try:
            return self._take(count)
        except BaseException:
            # What the state says stays what was taken: rows that led to an error were not.
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
            self._add(row)
            if not isinstance(row, Skipped):
                taken.examples.append(row)
                taken.feeds.append(self._sharding.feed_of_row(place))
        return taken

    def _look(self, wanted: int) -> list[Example | Skipped | None]:
        """What became of the next rows, about so many of which are not left out."""
        first = self._count.rows
        stop = min(first + self._rows_for(wanted), self._order.end)
        if first == stop:
            return []
        own = filter(self._sharding.is_own_row, range(first, stop))
        mine = {place: next(self._iterator) for place in own}
        return agree(first, stop, mine, self._sharding, self._exchange)

    def _rows_for(self, wanted: int) -> int:
        """How many rows to look at for so many good ones: the same on all hosts."""
        if self._sharding.num_hosts == 1:
            return wanted
        # Where many rows are left out, a few more at once are cheaper than asking again.
        good = self._count.rows - self.skipped.total() - self.filtered.total()
        expected = -(-wanted * (self._count.rows + 1) // (good + 1))
        return min(expected, wanted * _MAX_AHEAD)

    def _add(self, row: Example | Skipped | None) -> None:
        place = self._count.rows
        if self._log and isinstance(row, Skipped) and not isinstance(row, Filtered):
            facts = {"row": row.row, "reason": row.reason, "message": row.message}
            self._log.add(place + 1, facts)
        mine = self._sharding.is_leader and self._sharding.is_own_row(place)
        self._count.add(row, self._order.part(place), log=mine)

    def _counts(self) -> dict[str, Any]:
        count = self._count
        return {
            "rows": count.rows,
            "skipped": dict(count.skipped),
            "filtered": dict(count.filtered),
        }

    def metrics(self) -> dict[str, float]:
        """What was taken and left out since the run began, by their names in the logs."""
        kinds = {"skipped": self.skipped, "filtered": self.filtered}
        left_out = {
            f"{kind}/{reason}": float(count)
            for kind, counts in kinds.items()
            for reason, count in counts.items()
        }
        return {"data/epoch": self.rows / self.epoch_rows, **left_out}

    def state(self) -> dict[str, Any]:
        """The place in the order, JSON-able: what was taken, whatever is prepared ahead.

        It is the same on all hosts, and says nothing of how many there are.
        """
        return {"order": dict(self._identity), **self._counts()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a place that `state` gave, on these hosts or others.

        Raises:
            ValueError: It is a place in another order, and what differs; or it is no state.
        """
        if self._closed:
            raise ValueError("the pipeline is closed")
        _check_state(state)
        was, now = state["order"], self._identity
        differing = [
            f"{name}: was {was.get(name)!r}, is {now[name]!r}"
            for name in now
            if was.get(name) != now[name]
        ]
        if differing:
            raise ValueError(
                "the state of the data is a place in another order of rows, which cannot be gone "
                f"on with: {'; '.join(differing)}"
            )
        # All that Grain's iterator knows is how many rows it gave.
        self._iterator.set_state({"next_index": self._sharding.own_rows_before(state["rows"])})
        self._known.clear()
        self._count.restore(state["rows"], state["skipped"], state["filtered"])
        if self._log:
            self._log.take_back(state["rows"])

    def close(self) -> None:
        """Ends what reads ahead: no process is left. `state` still says what was taken."""
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
    """Grain's iterator of rows: read in their order by threads, ahead of need."""
    # Imported here: it imports jax, which worker processes do not need.
    import grain

    threads = config.workers or min(_THREADS, config.prefetch)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=config.prefetch)
    return iter(rows.map(read).to_iter_dataset(options))


def _check_state(state: Mapping[str, Any]) -> None:
    expected = {"order": Mapping, "rows": int, "skipped": Mapping, "filtered": Mapping}
    for name, kind in expected.items():
        if not isinstance(state.get(name), kind):
            raise ValueError(
                f"the state of the data: {name}: expected {kind.__name__}; got {state.get(name)!r}"
            )
