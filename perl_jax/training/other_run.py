"""Another run's checkpoints: choosing a step, and starting a new run from its parameters."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etils import epath

from perl_jax.files import read_object
from perl_jax.hosts import gather, is_main
from perl_jax.training.checkpoint import CheckpointConfig, Checkpoints
from perl_jax.training.earlier import CONFIG, checkpoint_directory
from perl_jax.update.state import TrainState

logger = logging.getLogger(__name__)

LATEST, BEST = "latest", "best"
_PARAMS = "params."


def choose_step(checkpoints: Checkpoints, step: str, place: object) -> int:
    """The number of a step given as a number, ``latest`` or ``best``.

    Args:
        checkpoints: Of the run.
        step: What is wanted. A number need not be there.
        place: The run's directory, for messages.

    Raises:
        ValueError: There are no checkpoints, or none was evaluated and the best is wanted.
    """
    steps = checkpoints.steps()
    if not steps:
        raise ValueError(f"{place}: expected a run with checkpoints; got none")
    if step == LATEST:
        return steps[-1]
    if step != BEST:
        return int(step)
    best = checkpoints.best_step()
    if best is None:
        raise ValueError(
            f"{place}: step best: expected a run with evaluations (data.held_out); none of its "
            f"checkpoints was evaluated. Choose latest or one of {', '.join(map(str, steps))}"
        )
    return best


@dataclass(frozen=True)
class InitFrom:
    """The run whose parameters a new run starts from.

    Attributes:
        workdir: Its work directory, absolute.
        step: A number, ``latest`` or ``best``.
        moments: Whether the optimizer's moments come from there too.
    """

    workdir: Path
    step: str
    moments: bool

    @classmethod
    def parse(cls, text: str, moments: bool) -> "InitFrom":
        """Reads ``WORKDIR`` or ``WORKDIR@STEP``."""
        path, at, step = text.rpartition("@")
        if not (at and (step in (LATEST, BEST) or step.isdigit())):
            path, step = text, LATEST
        return cls(Path(path).expanduser().absolute(), step, moments)

    def record(self) -> dict[str, Any]:
        """JSON values that are the same for the same flags."""
        return {"from": f"{self.workdir}@{self.step}", "moments": self.moments}

    def find(self) -> epath.Path:
        """The directory of its checkpoints.

        Raises:
            FileNotFoundError: There is no such directory.
            ValueError: It is no work directory of a run.
        """
        config = self.workdir / CONFIG
        if not config.exists():
            kind = ValueError if self.workdir.is_dir() else FileNotFoundError
            raise kind(
                f"--init_from={self.workdir}: expected the work directory of a run, which has a "
                f"{CONFIG}. A model directory or a hub id is given as --config.model.path"
            )
        settings = read_object(config)
        if "checkpoint" not in settings:
            raise ValueError(
                f"--init_from={self.workdir}: expected the work directory of a run; this is a "
                f"model directory: start from it with --config.model.path={self.workdir}"
            )
        return checkpoint_directory(settings, self.workdir)

    def load(self, state: TrainState, model: str) -> TrainState:
        """A new run's state with the parameters, and perhaps the moments, of the other run.

        The number of updates stays 0, so that schedules start at their beginning. All hosts call
        this.

        Args:
            state: The state of the new run before its first step.
            model: The digest of the new run's model.

        Raises:
            CheckpointError: The step is missing or not intact, or its arrays have other shapes.
            ValueError: The other run trained parameters that this one freezes.
        """
        # Other hosts need not see the work directory, but they see the checkpoints.
        found = gather(str(self.find()) if is_main() else None, "where to start from")[0]
        with Checkpoints(found, CheckpointConfig(), fingerprint=None) as checkpoints:
            step = choose_step(checkpoints, self.step, self.workdir)
            if step not in checkpoints.steps():
                there = ", ".join(map(str, checkpoints.steps()))
                raise ValueError(
                    f"--init_from={self.workdir}@{step}: expected one of its steps, {there}"
                )
            record = checkpoints.record(step)
            trained = {n.removeprefix(_PARAMS) for n in record.leaves if n.startswith(_PARAMS)}
            same_model = record.fingerprint.get("contents", {}).get("model") == model
            self._check_trained(trained, state.params.keys(), same_model)
            like: dict[str, Any] = {
                "params": {path: leaf for path, leaf in state.params.items() if path in trained}
            }
            if self.moments:
                # The last entry counts the updates for the schedule.
                like["optimizer"] = state.optimizer[:-1]
            restored = checkpoints.restore(like, step, partial=True)
        assert restored is not None
        logger.info("starts from the parameters of step %d of %s", step, self.workdir)
        state = replace(state, params={**state.params, **restored.arrays["params"]})
        if self.moments:
            moments = (*restored.arrays["optimizer"], state.optimizer[-1])
            state = replace(state, optimizer=moments)
        return state

    def _check_trained(
        self, there: Collection[str], here: Collection[str], same_model: bool
    ) -> None:
        """Compares the parameters that the two runs train."""
        frozen = [path for path in there if path not in here]
        if frozen:
            raise ValueError(
                f"--init_from={self.workdir}: it trained parameters that are frozen here "
                f"(learner.trainable, learner.frozen): {_few(frozen)}. Train them here too, or "
                "export that run with perl_jax.export and start with --config.model.path"
            )
        new = [path for path in here if path not in there]
        if new and self.moments:
            raise ValueError(
                f"--init_moments: expected a run that trained the same parameters; "
                f"{self.workdir} did not train {_few(new)}"
            )
        if new:
            source = "which is the same there" if same_model else "which is another model there"
            logger.warning(
                "%s did not train %s; they start as in model.path, %s",
                self.workdir, _few(new), source,
            )  # fmt: skip


def _few(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
