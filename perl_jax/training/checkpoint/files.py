"""Reads the steps in a directory; changes nothing there."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath

from perl_jax.training.checkpoint.hosts import common, together
from perl_jax.training.checkpoint.leaves import empty
from perl_jax.training.checkpoint.record import StepRecord

ARRAYS = "arrays"
RECORD = "record"
_NAMES = ocp.path.step.standard_name_format()


def absolute(directory: str | os.PathLike[str]) -> epath.Path:
    """Where a directory is, whatever the working directory becomes; a bucket's URL is as it is."""
    path = epath.Path(directory)
    # A relative name to pathlib, which would look for it below the working directory.
    return path if "://" in os.fspath(path) else path.expanduser().absolute()


@dataclass(frozen=True)
class StepFiles:
    """The steps in a directory, each a directory named by its number.

    The files of a step are read without Orbax's checkpointers: these wait for all hosts when they
    are done, and so for ever if reading failed on one of them.
    """

    directory: epath.Path

    def path(self, step: int) -> epath.Path:
        """Where a step is."""
        return ocp.path.step.build_step_path(self.directory, _NAMES, step)

    def steps(self) -> list[int]:
        """The steps with anything in them, whole or not, that all hosts see; ascending."""
        if not self.directory.exists():
            return common([])
        found = [entry.step for entry in _NAMES.find_all(self.directory)]
        return common(step for step in found if any(self.path(step).iterdir()))

    def record(self, step: int) -> StepRecord:
        """The record of a step; raises an exception of some kind if it is not whole."""
        record = StepRecord.from_json(ocp.JsonCheckpointHandler().restore(self.path(step) / RECORD))
        if record.step != step:
            raise ValueError(f"the record is that of step {record.step}")
        return record

    def arrays(
        self, step: int, abstract: Mapping[str, jax.ShapeDtypeStruct]
    ) -> dict[str, jax.Array]:
        """These arrays of a step, laid out as asked; raises some exception if it cannot."""
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
        """Raises an exception unless the metadata on the disk are those of these arrays."""
        if self.record(record.step) != record:
            raise ValueError("the record on the disk is not the one that was written")
        path = self.path(record.step) / ARRAYS
        stored = ocp.StandardCheckpointHandler().metadata(path).tree
        there, written = (
            {name: (tuple(leaf.shape), str(leaf.dtype)) for name, leaf in arrays.items()}
            for arrays in (stored, data)
        )
        if there != written:
            raise ValueError("the arrays on the disk are not those that were written")
