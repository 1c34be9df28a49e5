"""The steps in a directory: read without Orbax's checkpointers, written and deleted with them."""

import logging
import math
import os
from collections.abc import Collection, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from perl_jax.training.checkpoint.hosts import common, describe, together
from perl_jax.training.checkpoint.leaves import empty
from perl_jax.training.checkpoint.record import CheckpointError, StepRecord
from perl_jax.training.checkpoint.stored import stored_arrays

logger = logging.getLogger(__name__)

ARRAYS = "arrays"
RECORD = "record"
_NAMES = ocp.path.step.standard_name_format()


def absolute(directory: str | os.PathLike[str]) -> epath.Path:
    """The absolute path of a directory; a bucket's URL is returned unchanged."""
    path = epath.Path(directory)
    # To pathlib a URL is a relative name, which it would look for below the working directory.
    return path if "://" in os.fspath(path) else path.expanduser().absolute()


def limit_silence() -> None:
    """Lets TensorStore take a bucket that sends nothing for a while for one that failed.

    It then repeats the request, at most 32 times; by itself it would wait for ever. Variables that
    are set already stay as they are.
    """
    os.environ.setdefault("TENSORSTORE_CURL_CONNECT_TIMEOUT_SECONDS", "30")
    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", "30")
    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES", "1")


class StepFiles:
    """The steps in a directory, each a directory named by its number.

    Files of a step are read without Orbax's checkpointers. Those wait for all hosts at the end, and
    so for ever if reading failed on one host. Reading changes nothing. Orbax's manager, which
    writes, is made at the first save, and again after a failed save, because a manager may raise
    the remains of a failure at a later save.
    """

    def __init__(self, directory: epath.Path, *, asynchronous: bool = True) -> None:
        limit_silence()
        self.directory = directory
        self._asynchronous = asynchronous
        self._manager: ocp.CheckpointManager | None = None

    def path(self, step: int) -> epath.Path:
        """The path of a step."""
        return ocp.path.step.build_step_path(self.directory, _NAMES, step)

    def steps(self) -> list[int]:
        """The steps with any content, intact or not, that all hosts see; ascending."""
        return common(self.seen())

    def seen(self) -> list[int]:
        """The steps that this host sees, whether or not the others do."""
        if not self.directory.exists():
            return []
        found = [entry.step for entry in _NAMES.find_all(self.directory)]
        return [step for step in found if any(self.path(step).iterdir())]

    def record(self, step: int) -> StepRecord:
        """The record of a step; raises some exception if it is not intact."""
        record = StepRecord.from_json(ocp.JsonCheckpointHandler().restore(self.path(step) / RECORD))
        if record.step != step:
            raise ValueError(f"the record is that of step {record.step}")
        return record

    def arrays(
        self, step: int, abstract: Mapping[str, jax.ShapeDtypeStruct]
    ) -> dict[str, jax.Array]:
        """Reads these arrays with the given shardings; raises some exception if it cannot."""
        made = {name: empty(like) for name, like in abstract.items() if not math.prod(like.shape)}
        stored = {name: like for name, like in abstract.items() if name not in made}
        if not stored:
            return made
        handler, path = ocp.PyTreeCheckpointHandler(), self.path(step) / ARRAYS
        args = ocp.args.PyTreeRestore(
            item=stored,
            restore_args=ocp.checkpoint_utils.construct_restore_args(stored),
            partial_restore=True,
        )
        return made | together(lambda: handler.restore(path, args=args))

    def check(self, record: StepRecord, data: Mapping[str, Any]) -> None:
        """Raises an exception unless the metadata on disk match these arrays."""
        if self.record(record.step) != record:
            raise ValueError("the record on the disk is not the one that was written")
        written = {name: (tuple(leaf.shape), str(leaf.dtype)) for name, leaf in data.items()}
        if stored_arrays(self.path(record.step) / ARRAYS) != written:
            raise ValueError("the arrays on the disk are not those that were written")

    @property
    def busy(self) -> bool:
        """Whether a save is still being written."""
        return self._manager is not None and self._manager.is_saving_in_progress()

    def save(self, step: int, items: ocp.args.Composite) -> None:
        """Starts a save that replaces any step with this number.

        Raises:
            CheckpointError: It could not be started.
        """
        try:
            manager = self._open()
            if step in common(manager.all_steps()):
                manager.delete(step)
            accepted = manager.save(step, args=items, force=True)
        except Exception as error:
            raise self._failed(step, error) from error
        if not accepted:
            raise CheckpointError(f"step {step}: Orbax refused to save it in {self.directory}")

    def join(self, step: int) -> None:
        """Waits until this step's save is written.

        Raises:
            CheckpointError: It failed.
        """
        try:
            self._open().wait_until_finished()
        except Exception as error:
            raise self._failed(step, error) from error

    def delete_all_but(self, kept: Collection[int]) -> None:
        """Deletes all other steps."""
        manager = self._open()
        for step in common(manager.all_steps()):
            if step not in kept:
                manager.delete(step)

    def finish(self) -> None:
        """Raises CheckpointError for what is still to be written; here `join` has raised it."""

    def close(self) -> None:
        """Waits for the save under way, and logs its failure."""
        manager, self._manager = self._manager, None
        if manager is not None:
            try:
                manager.close()
            except Exception as error:
                logger.error("checkpoints in %s: %s", self.directory, describe(error))

    def _open(self) -> ocp.CheckpointManager:
        if self._manager is None:
            options = ocp.CheckpointManagerOptions(
                cleanup_tmp_directories=True,
                # Without this, the metadata of every step are read, and broken ones raise.
                lightweight_initialize=True,
                save_root_metadata=False,
                enable_async_checkpointing=self._asynchronous,
                # A failure to make a directory is then raised at once, not in a thread.
                async_options=ocp.options.AsyncOptions(create_directories_asynchronously=False),
            )
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        return self._manager

    def _failed(self, step: int, error: Exception) -> CheckpointError:
        self.close()
        return CheckpointError(
            f"step {step} could not be saved in {self.directory}; older steps are still there: "
            f"{describe(error)}"
        )
