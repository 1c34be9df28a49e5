"""Saves and restores the state of a training run; every step is atomic and verified."""

import logging
import math
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from perl_jax.hosts import gather
from perl_jax.legible import brief
from perl_jax.training.checkpoint.checksums import checksums
from perl_jax.training.checkpoint.config import CheckpointConfig, rank_by_metric, steps_to_keep
from perl_jax.training.checkpoint.files import ARRAYS, RECORD, absolute
from perl_jax.training.checkpoint.hosts import common, describe, together
from perl_jax.training.checkpoint.lease import Lease
from perl_jax.training.checkpoint.leaves import (
    abstract_data_of,
    data_of,
    leaf_records,
    misfits,
    name_leaves,
    rebuild,
)
from perl_jax.training.checkpoint.mirror import open_steps
from perl_jax.training.checkpoint.record import (
    CheckpointError,
    FingerprintError,
    StepRecord,
    check_fingerprint,
    check_json,
)

logger = logging.getLogger(__name__)

Compare = Callable[[str, Mapping[str, Any]], list[str]]
"""Compares a checkpoint (its path, its fingerprint) with the run: returns the differences that are
allowed, in words, and raises FingerprintError if there are others."""


@dataclass(frozen=True)
class Restored:
    """A training state that was read and verified: the arguments of its `Checkpoints.save`."""

    step: int
    arrays: Any
    host: dict[str, Any]
    metric: float | None


class Checkpoints(AbstractContextManager["Checkpoints"]):
    """The checkpoints of a run, in a directory of their own: a context manager.

    A step is one directory. It appears under its name by a single rename once it is complete:
    arrays, the state of the hosts, the run's fingerprint, and checksums of everything. Opening and
    restoring change nothing on the disk. A save first removes what an earlier process left
    unfinished. The next save or `wait` reads the saved step back. It then deletes all steps that
    are not kept, that cannot be read, or that are newer than the restored one.

    A save that fails in the background raises at the next call and leaves older steps unchanged;
    another save may be tried. A run must have the directory to itself (`Lease`). On several hosts,
    all of them must make the same calls.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        config: CheckpointConfig,
        *,
        fingerprint: Mapping[str, Any] | None,
        lease: Lease | None = None,
        staging: Path | None = None,
    ) -> None:
        """Reads which steps there are.

        Args:
            directory: Made at the first save.
            config: When to save, and which steps to keep.
            fingerprint: JSON values that say what the run is (data, configuration, code). None
                opens them for reading only, and compares nothing.
            lease: Of the directory; every save first checks that it still holds. It may be None on
                all hosts but one.
            staging: Where steps on ``s3://`` lie on the disk (see `MirroredSteps`).
        """
        check_json("fingerprint", dict(fingerprint or {}))
        self._config = config
        self._fingerprint = None if fingerprint is None else dict(fingerprint)
        self._lease = lease
        self._files = open_steps(absolute(directory), staging, asynchronous=config.asynchronous)
        # The save that was not read back yet, with the shapes and dtypes of its stored arrays.
        self._pending: tuple[StepRecord, dict[str, jax.ShapeDtypeStruct]] | None = None
        self._protected: frozenset[int] = frozenset()
        # Metrics of the steps that count: readable, and not newer than the restored one.
        self._metrics = self._read_metrics()

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.close()
        else:
            # Other hosts may not come here, so this waits only for the save under way. A failure of
            # that save must not hide the error.
            self._pending = None
            self._files.close()

    def steps(self) -> list[int]:
        """The complete steps, ascending; the one being written is not among them."""
        self._raise_failure()
        return sorted(self._metrics)

    def latest_step(self) -> int | None:
        """The newest complete step, or None."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The complete step with the highest metric (of equal ones the newest), or None."""
        self._raise_failure()
        return next(iter(rank_by_metric(self._metrics)), None)

    def record(self, step: int) -> StepRecord:
        """The record of a complete step; raises some exception if it is not intact."""
        return self._files.record(step)

    def save(
        self,
        step: int,
        arrays: Any,
        host: Mapping[str, Any],
        *,
        metric: float | None = None,
        force: bool = False,
        protected: Collection[int] = (),
    ) -> bool:
        """Saves a step if it is due, or if its metric is among the best that are kept.

        By default it returns as soon as the arrays are copied; their buffers may then be donated.

        Args:
            step: The number of updates made.
            arrays: A pytree of jax.Arrays on any mesh over any hosts; empty arrays and typed keys
                are allowed. Weakly typed arrays are restored as strongly typed.
            host: This host's state, JSON-able (position in the data, counters).
            metric: The measure for the best steps, the highest being best; None: not measured.
            force: Saves even if the step is not due.
            protected: Older steps that are not deleted for this one.

        Returns:
            False if the step is not due, or is the latest one saved.

        Raises:
            CheckpointError: An earlier save or this one failed; older steps are still there.
            ValueError: For arguments that cannot be saved, or a step older than the latest.
        """
        if not (force or step % self._config.every == 0 or self._is_among_best(metric)):
            self._raise_failure()
            return False
        self._settle()
        latest = self.latest_step()
        if step == latest:
            return False
        if step < (least := 0 if latest is None else latest + 1):
            raise ValueError(f"step: expected at least {least}, after those saved; got {step}")
        record, data = self._describe(step, arrays, host, metric)
        together(lambda: None if self._lease is None else self._lease.check())
        items = {ARRAYS: ocp.args.StandardSave(data), RECORD: ocp.args.JsonSave(record.to_json())}
        self._files.save(step, ocp.args.Composite(**items))
        abstract = {n: jax.ShapeDtypeStruct(array.shape, array.dtype) for n, array in data.items()}
        self._pending = record, abstract
        self._protected = frozenset(protected)
        if not self._config.asynchronous:
            self._settle()
        return True

    def restore(
        self,
        abstract_arrays: Any,
        step: int | None = None,
        *,
        partial: bool = False,
        compare: Compare | None = None,
    ) -> Restored | None:
        """Reads the newest intact step.

        A step is reported in the log as an error, and the next older one is tried, if it cannot be
        read, its checksums differ, or it holds other arrays than those requested.

        Args:
            abstract_arrays: The pytree of jax.ShapeDtypeStructs with shardings, or of arrays like
                those to read. The mesh may differ from that of the save.
            step: Reads only this step. Newer steps no longer count from now on.
            partial: Reads only the requested arrays, whatever else the step holds.
            compare: Decides which differences of the fingerprint are allowed; None: none are.

        Returns:
            None if there is no step at all.

        Raises:
            FingerprintError: The step belongs to a run with another fingerprint.
            CheckpointError: No step is intact, or the requested step is not there or not intact.
            ValueError: The abstract arrays have no shardings.
        """
        self.wait()
        stored = abstract_data_of(name_leaves(abstract_arrays))
        there = self._files.steps()
        if step is not None and step not in there:
            choices = ", ".join(map(str, there)) or "none"
            raise CheckpointError(f"step {step} is not in {self._files.directory} ({choices} is)")
        causes: dict[int, str] = {}
        for candidate in reversed(there) if step is None else [step]:
            try:
                restored = self._read(candidate, abstract_arrays, stored, partial, compare)
            except FingerprintError:
                raise
            except Exception as error:
                # Kept as text: the exception would keep the arrays of that step alive.
                cause = causes[candidate] = describe(error)
                logger.error("checkpoint %s is of no use: %s", self._files.path(candidate), cause)
            else:
                self._forget_newer(there, candidate)
                return restored
        if not causes:
            return None
        lines = "\n".join(f"  step {bad}: {cause}" for bad, cause in causes.items())
        raise CheckpointError(
            f"no usable checkpoint in {self._files.directory}, which is not empty (training from "
            f"the start needs another work directory, or --restart):\n{lines}"
        )

    def wait(self) -> None:
        """Waits for the save under way, reads it back, and deletes steps that are not kept.

        Raises:
            CheckpointError: The save failed, or cannot be read back or copied to its bucket.
        """
        self._settle()
        self._files.finish()

    def close(self) -> None:
        """Does the same as `wait`, then releases what saving needs."""
        try:
            self.wait()
        finally:
            self._files.close()

    def _settle(self) -> None:
        """Does what `wait` says, but for a copy to a bucket that a later save tries again."""
        if self._pending is None:
            return
        self._join()
        (record, data), self._pending = self._pending, None
        step = record.step
        try:
            together(lambda: self._files.check(record, data))
        except Exception as error:
            raise CheckpointError(
                f"{self._files.path(step)} was saved and cannot be read back, older steps are "
                f"still there: {describe(error)}"
            ) from error
        metrics = {**self._metrics, step: record.metric}
        kept = steps_to_keep(metrics, self._config) | (self._protected & metrics.keys())
        self._files.delete_all_but(kept)
        self._metrics = {step: metric for step, metric in metrics.items() if step in kept}

    def _read_metrics(self) -> dict[int, float | None]:
        metrics: dict[int, float | None] = {}
        for step in self._files.steps():
            try:
                metrics[step] = self._files.record(step).metric
            except Exception as error:
                place = self._files.path(step)
                logger.warning("checkpoint %s cannot be read: %s", place, describe(error))
        return {step: metrics[step] for step in common(metrics)}

    def _describe(
        self, step: int, arrays: Any, host: Mapping[str, Any], metric: float | None
    ) -> tuple[StepRecord, dict[str, jax.Array]]:
        """The record of a step, and the arrays to store."""
        if self._fingerprint is None:
            raise ValueError("fingerprint: expected one to save under; got None")
        if metric is not None and not math.isfinite(metric):
            raise ValueError(f"metric: expected a finite number or None; got {brief(metric)}")
        check_json("host", host)
        named = name_leaves(arrays)
        data = data_of(named)
        metric = None if metric is None else float(metric)
        leaves = leaf_records(named, data)
        states = gather(dict(host), "state of the hosts")
        record = StepRecord(step, metric, self._fingerprint, states, leaves)
        # Orbax does not store arrays without elements.
        return record, {name: array for name, array in data.items() if array.size}

    def _is_among_best(self, metric: float | None) -> bool:
        """Whether a metric beats one of the best that are kept, or there are fewer than that."""
        kept = self._config.keep_best
        if metric is None or kept is None:
            return False
        metrics = dict(self._metrics)
        if self._pending is not None:
            metrics[self._pending[0].step] = self._pending[0].metric
        best = [metrics[step] or 0.0 for step in rank_by_metric(metrics)[:kept]]
        return len(best) < kept or metric > best[-1]

    def _raise_failure(self) -> None:
        """Raises if the save under way has already failed; waits for nothing and for no host."""
        if self._pending is not None and not self._files.busy:
            self._join()

    def _join(self) -> None:
        """Waits until the save under way is written; raises if it failed."""
        assert self._pending is not None
        try:
            self._files.join(self._pending[0].step)
        except CheckpointError:
            self._pending = None
            raise

    def _read(
        self,
        step: int,
        tree: Any,
        stored: Mapping[str, jax.ShapeDtypeStruct],
        partial: bool,
        compare: Compare | None,
    ) -> Restored:
        """Reads one step and checks it."""
        named = name_leaves(tree)
        record, host = together(lambda: self._read_record(step, compare))
        wrong = misfits(record.leaves, named, partial=partial)
        if wrong:
            more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise ValueError("other arrays than expected: " + "; ".join(wrong[:5]) + more)
        data = self._files.arrays(step, stored)
        sums = checksums(data)
        broken = [name for name in named if record.leaves[name].checksum != sums[name]]
        if broken:
            raise ValueError(f"{len(broken)} checksums differ, the first of {broken[0]}")
        return Restored(step, rebuild(tree, data, record.leaves), host, record.metric)

    def _read_record(self, step: int, compare: Compare | None) -> tuple[StepRecord, dict[str, Any]]:
        """The record of a step of this run, and this host's state."""
        record, place = self._files.record(step), str(self._files.path(step))
        if self._fingerprint is not None:
            if compare is None:
                check_fingerprint(place, record.fingerprint, self._fingerprint)
            else:
                for line in compare(place, record.fingerprint):
                    logger.warning("checkpoint %s: %s; it goes on with the change", place, line)
        return record, _host_state(record.hosts, place)

    def _forget_newer(self, there: list[int], step: int) -> None:
        """Ignores newer steps: they are not part of this run's history, whatever they hold."""
        newer = [other for other in there if other > step]
        if newer and self._fingerprint is not None:
            place = self._files.directory
            logger.warning("%s: the newer steps %s go at the next save", place, newer)
            self._metrics = {s: metric for s, metric in self._metrics.items() if s <= step}


def _host_state(hosts: list[Any], place: str) -> dict[str, Any]:
    """This host's state. With another number of hosts, the state must be the same for all."""
    if len(hosts) == jax.process_count():
        return hosts[jax.process_index()]
    if any(host != hosts[0] for host in hosts):
        raise FingerprintError(
            f"{place} was saved by {len(hosts)} hosts, each with a state of its own; this run has "
            f"{jax.process_count()}"
        )
    return hosts[0]
