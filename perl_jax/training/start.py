"""How a run starts: from the beginning, from its own checkpoints, or from another run's."""

import logging
from dataclasses import dataclass

import jax

from perl_jax.models import Policy
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
    """

    allow_changes: tuple[str, ...] = ()
    init_from: str | None = None
    init_moments: bool = False
    restart: bool = False

    @property
    def other(self) -> InitFrom | None:
        """The run to start from, if there is one; raises ValueError for moments of none."""
        if self.init_from is None:
            if self.init_moments:
                raise ValueError("--init_moments: expected --init_from=WORKDIR too")
            return None
        return InitFrom.parse(self.init_from, self.init_moments)

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
    state, other = stepper.learner.init(model, key), start.other
    restored = checkpoints.restore(
        state, compare=lambda place, saved: identity.compare(place, saved, start.allowed)
    )
    if restored is None:
        if other is None:
            return state, 0, Progression()
        state = other.load(state, identity.contents[MODEL])
        return state, 0, Progression(init_from=other.record())
    progression = Progression.of(restored.host["progression"])
    if other is not None and other.record() != progression.init_from:
        origin = progression.init_from.get("from", "the model of model.path")
        raise ValueError(
            f"--init_from={start.init_from}: expected a run without steps; this one has done "
            f"{restored.step}, starting from {origin}. Without the flag it goes on from there; "
            "give another --workdir for a new run, or --restart"
        )
    logger.info("going on from step %d", restored.step)
    stepper.restore(restored.host["stepper"])
    return restored.arrays, restored.step, progression
