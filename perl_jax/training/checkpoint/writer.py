"""Writes and deletes steps with Orbax."""

import logging
from collections.abc import Collection

import orbax.checkpoint as ocp
from etils import epath

from perl_jax.training.checkpoint.hosts import common, describe
from perl_jax.training.checkpoint.record import CheckpointError

logger = logging.getLogger(__name__)


class StepWriter:
    """Orbax's manager of a directory, made at the first save and anew after a failure.

    A manager of which one save failed may raise what is left of that failure at a later one.
    """

    def __init__(self, directory: epath.Path, *, asynchronous: bool) -> None:
        self._directory = directory
        self._asynchronous = asynchronous
        self._manager: ocp.CheckpointManager | None = None

    @property
    def busy(self) -> bool:
        """Whether a save is still being written."""
        return self._manager is not None and self._manager.is_saving_in_progress()

    def save(self, step: int, items: ocp.args.Composite) -> None:
        """Starts a save in place of whatever has this number.

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
            raise CheckpointError(f"step {step}: Orbax refused to save it in {self._directory}")

    def join(self, step: int) -> None:
        """Waits until the save of this step is written.

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

    def close(self) -> None:
        """Waits for the save under way, whose failure is logged."""
        manager, self._manager = self._manager, None
        if manager is not None:
            try:
                manager.close()
            except Exception as error:
                logger.error("checkpoints in %s: %s", self._directory, describe(error))

    def _open(self) -> ocp.CheckpointManager:
        if self._manager is None:
            options = ocp.CheckpointManagerOptions(
                cleanup_tmp_directories=True,
                # Otherwise the metadata of every step are read, and broken ones raise.
                lightweight_initialize=True,
                save_root_metadata=False,
                enable_async_checkpointing=self._asynchronous,
                # A directory that cannot be made then fails at once, not in a thread.
                async_options=ocp.options.AsyncOptions(create_directories_asynchronously=False),
            )
            self._manager = ocp.CheckpointManager(self._directory, options=options)
        return self._manager

    def _failed(self, step: int, error: Exception) -> CheckpointError:
        self.close()
        return CheckpointError(
            f"step {step} could not be saved in {self._directory}; older steps are still there: "
            f"{describe(error)}"
        )
