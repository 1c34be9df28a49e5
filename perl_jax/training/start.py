"""How a run starts: from the beginning, from its own checkpoints, or from another run's."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax

from perl_jax.models import Policy
from perl_jax.models.adapter_files import check_scale, read_adapter, warning_of_base
from perl_jax.models.lora import LoraConfig
from perl_jax.training.checkpoint import Checkpoints
from perl_jax.training.identity import MODEL, Identity
from perl_jax.training.loop import Progression, Stepper
from perl_jax.training.other_run import InitFrom
from perl_jax.update.state import TrainState

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """What the command line says about the start of a run.

    Attributes:
        allow_changes: Fields of the configuration, or entries of the run's identity, that may
            differ from those of the checkpoints that the run goes on from.
        init_from: ``WORKDIR`` or ``WORKDIR@STEP`` of another run whose parameters a new run starts
            from.
        init_moments: Whether the optimizer's moments come from there too.
        restart: Whether the files of an earlier run are moved aside and the run starts again.
        init_adapter: A directory of PEFT, whose adapters a new run starts from.
    """

    allow_changes: tuple[str, ...] = ()
    init_from: str | None = None
    init_moments: bool = False
    restart: bool = False
    init_adapter: str | None = None

    @property
    def other(self) -> InitFrom | None:
        """The run to start from, if there is one; raises ValueError if flags do not fit."""
        if self.init_adapter is not None and self.init_from is not None:
            raise ValueError("--init_adapter: expected it or --init_from, and not both")
        if self.init_from is None:
            if self.init_moments:
                raise ValueError("--init_moments: expected --init_from=WORKDIR too")
            return None
        return InitFrom.parse(self.init_from, self.init_moments)

    def check_adapter(self, lora: LoraConfig | None, model: str) -> None:
        """Raises ValueError or FileNotFoundError if ``init_adapter`` cannot be what is trained.

        No weights are read. ``model`` is the path or hub id of the model under the adapters.
        """
        if self.init_adapter is None:
            return
        if lora is None:
            raise ValueError(
                "--init_adapter: expected a run with adapters, whose rank and alpha are those of "
                "the directory; set --config.learner.lora.rank=R"
            )
        check_scale(self.init_adapter, lora.rank, lora.alpha)
        if warning := warning_of_base(self.init_adapter, model):
            logger.warning("%s", warning)

    def record(self) -> dict[str, Any]:
        """What a new run starts from, as JSON values that are the same for the same flags."""
        if self.init_adapter is not None:
            return {"from": f"the adapter {Path(self.init_adapter).expanduser().absolute()}"}
        return self.other.record() if self.other is not None else {}

    @property
    def allowed(self) -> tuple[str, ...]:
        """The names in ``allow_changes``, without the prefix that flags have."""
        return tuple(name.removeprefix("config.") for name in self.allow_changes)


def start_or_resume(
    checkpoints: Checkpoints,
    stepper: Stepper,
    model: Policy,
    key: jax.Array,
    *,
    identity: Identity,
    start: Start,
) -> tuple[TrainState, int, Progression]:
    """Restores the newest intact checkpoint, or makes a fresh state.

    Raises:
        CheckpointError: No checkpoint is of use, or it belongs to a run with other settings.
        ValueError: The run is to start from another one, and has steps of its own already.
    """
    state, other, origin = stepper.learner.init(model, key), start.other, start.record()
    restored = checkpoints.restore(
        state, compare=lambda place, saved: identity.compare(place, saved, start.allowed)
    )
    if restored is None:
        if other is not None:
            state = other.load(state, identity.contents[MODEL])
        elif start.init_adapter is not None:
            state = replace(state, params=read_adapter(start.init_adapter, model))
            logger.info("starts from the adapters of %s", start.init_adapter)
        return state, 0, Progression(init_from=origin)
    progression = Progression.of(restored.host["progression"])
    if origin and origin != progression.init_from:
        flag = "--init_adapter" if start.init_from is None else "--init_from"
        there = progression.init_from.get("from", "the model of model.path")
        raise ValueError(
            f"{flag}={start.init_from or start.init_adapter}: expected a run without steps; this "
            f"one has done {restored.step}, starting from {there}. Without the flag it goes on "
            "from there; give another --workdir for a new run, or --restart"
        )
    logger.info("going on from step %d", restored.step)
    stepper.restore(restored.host["stepper"])
    return restored.arrays, restored.step, progression
