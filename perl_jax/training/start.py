"""How a run starts: from the beginning, from its own checkpoints, or from another run's."""

from dataclasses import dataclass


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
