"""The pipeline: rows shuffled by seed, shared out to hosts, prepared ahead, bad ones replaced.

The order of the rows is a function of the seed and the shard, and a place in it is one number: how
many rows were taken. So neither the number of workers nor how far they are ahead changes what
comes, and a state saved with any number of workers is restored with any other.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from perl_jax.data.order import Order
from perl_jax.data.pool import WorkerPool
from perl_jax.data.rows import Filtered, RowReader, SkipCount, Skipped
from perl_jax.data.skiplog import SkipLog
from perl_jax.data.source import Source
from perl_jax.types import Example

# Decoding and resizing images leaves the interpreter to others; the rest of the work does not.
_THREADS = 4


@dataclass(frozen=True)
class PipelineConfig:
    """How rows are read.

    Attributes:
        shuffle: Whether every epoch has an order of its own, drawn by the seed.
        workers: Processes that prepare rows; 0: threads of this process do.
        prefetch: How many rows are prepared ahead, at least ``workers``. Each takes memory: a
            prepared image of 512 x 512 pixels is 6 MB.
        max_bad_fraction: Where more of the rows cannot be used, the run ends: at the end of an
            epoch, or from 200 rows on, as soon as chance no longer explains so many.
    """

    shuffle: bool = True
    workers: int = 0
    prefetch: int = 16
    max_bad_fraction: float = 0.01

    def __post_init__(self) -> None:
        if not isinstance(self.shuffle, bool):
            raise ValueError(f"shuffle: expected true or false; got {self.shuffle!r}")
        for name, least in (("workers", 0), ("prefetch", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ValueError(f"{name}: expected an integer of at least {least}; got {value!r}")
        if self.prefetch < self.workers:
            raise ValueError(
                f"prefetch: expected at least workers, {self.workers}, as others would have "
                f"nothing to do; got {self.prefetch}"
            )
        share = self.max_bad_fraction
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError(f"max_bad_fraction: expected a share from 0 to 1; got {share!r}")


class Pipeline:
    """An iterator of prepared examples, and a context manager that ends its workers.

    With ``repeat``, it never ends, and all shards have equally many rows in an epoch: where the
    rows do not divide evenly, the last few of the epoch's order are left out (others in every epoch
    where it shuffles). Without it, it ends after one epoch of all rows, and the first shards may
    have one row more.

    The parts of a `Mixture` take turns by their weights and repeat each by itself. The weights are
    those of the rows that are taken: rows that are bad or filtered are replaced by what comes next,
    which may be of another part.

    Args:
        source: The rows.
        prepare: Makes an example ready, such as a `Preparer`; it may raise `BadRow`. With worker
            processes, it and the source are pickled.
        config: How rows are read.
        seed: Of the order.
        shard: The number of this host among those that share the rows.
        num_shards: How many hosts there are.
        repeat: Whether another epoch follows an epoch.
        skip_log: A file to name every row in that cannot be used; see `SkipLog`.

    Attributes:
        epoch_rows: How many rows of an epoch are this shard's; of a mixture, of all its parts.

    Raises:
        ValueError: ``shard`` is not one of the shards, or ``repeat`` with fewer rows than shards;
            or prompts are to be filtered by length, and ``prepare`` is no `Preparer`.
        RuntimeError: A worker process cannot start.
    """

    def __init__(
        self,
        source: Source,
        prepare: Callable[[Example], Example],
        config: PipelineConfig,
        *,
        seed: int,
        shard: int = 0,
        num_shards: int = 1,
        repeat: bool = True,
        skip_log: Path | None = None,
    ):
        self._order = Order(source, config.shuffle, seed, shard, num_shards, repeat)
        self._identity = self._order.identity()
        self.epoch_rows = self._order.epoch_rows
        self._count = SkipCount(config.max_bad_fraction, self.epoch_rows, self._order.parts)
        self._log = None if skip_log is None else SkipLog(skip_log)
        self._closed = False
        read: Callable[[int], Example | Skipped] = RowReader(source, prepare)
        self._pool = WorkerPool(read, config.workers) if config.workers else None
        self._iterator = _iterate(self._order, read if self._pool is None else self._pool, config)
        self._position = self._iterator.get_state()

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
        """The next example that can be used. After an error, the pipeline is closed.

        Raises:
            StopIteration: There are no more rows.
            ValueError: More rows than allowed cannot be used, or all of an epoch; or the pipeline
                is closed.
            RuntimeError: A worker was killed, or reading failed in it.
            OSError: Reading failed, without workers.
        """
        if self._closed:
            raise ValueError("the pipeline is closed")
        taken = self._counts()
        try:
            while True:
                row = next(self._iterator)
                self._add(row)
                if not isinstance(row, Skipped):
                    self._position = self._iterator.get_state()
                    return row
        except StopIteration:
            self._position = self._iterator.get_state()
            raise
        except BaseException:
            # What the state says stays what was taken: rows that led to an error were not.
            self._count.restore(**taken)
            self.close()
            raise

    def _add(self, row: Example | Skipped) -> None:
        place = self._count.rows
        if self._log and isinstance(row, Skipped) and not isinstance(row, Filtered):
            self._log.add(place + 1, row)
        self._count.add(row, self._order.part(place))

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
        """The place in the order, JSON-able: what was taken, whatever is prepared ahead."""
        return {
            "order": dict(self._identity),
            "grain": dict(self._position),
            **self._counts(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from a place that `state` gave, in this process or another.

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
        self._iterator.set_state(dict(state["grain"]))
        self._position = self._iterator.get_state()
        self._count.restore(state["rows"], state["skipped"], state["filtered"])
        if self._log:
            self._log.rewind(state["rows"])

    def close(self) -> None:
        """Ends what reads ahead: no process is left. `state` still says what was taken."""
        if self._closed:
            return
        self._closed = True
        self._iterator.close()
        if self._pool is not None:
            self._pool.close()

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _iterate(order: Order, read: Callable[[int], Example | Skipped], config: PipelineConfig) -> Any:
    """Grain's iterator of rows: read in their order by threads, ahead of need."""
    # Imported here: it imports jax, which worker processes do not need.
    import grain

    threads = config.workers or min(_THREADS, config.prefetch)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=config.prefetch)
    return iter(order.dataset().map(read).to_iter_dataset(options))


def _check_state(state: Mapping[str, Any]) -> None:
    expected = {
        "order": Mapping,
        "grain": Mapping,
        "rows": int,
        "skipped": Mapping,
        "filtered": Mapping,
    }
    for name, kind in expected.items():
        if not isinstance(state.get(name), kind):
            raise ValueError(
                f"the state of the data: {name}: expected {kind.__name__}; got {state.get(name)!r}"
            )
    if state["grain"].get("next_index") != state["rows"]:
        raise ValueError(
            f"the state of the data: expected grain's place to be {state['rows']}, the rows that "
            f"were taken; got {json.dumps(dict(state['grain']))}"
        )
