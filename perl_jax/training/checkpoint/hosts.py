"""Agreement between the hosts of a run; every function must be called by all of them."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from perl_jax.hosts import gather
from perl_jax.training.checkpoint.record import CheckpointError, FingerprintError

T = TypeVar("T")


def common(steps: Iterable[int]) -> list[int]:
    """The steps that all hosts see, ascending."""
    told = gather(list(steps), "steps of the checkpoints")
    return sorted(set.intersection(*map(set, told)))


def together(action: Callable[[], T]) -> T:
    """Runs an action on every host; if it fails on any, all hosts raise.

    Raises:
        CheckpointError: It failed on another host only (FingerprintError if that was its error).
            This host's own exception is raised as it is.
    """
    failure: Exception | None = None
    try:
        result = action()
    except Exception as error:
        failure = error
    kind = type(failure).__name__
    reports = gather(None if failure is None else [kind, describe(failure)], "a checkpoint")
    if failure is not None:
        raise failure
    failed = {i: report for i, report in enumerate(reports) if report is not None}
    if failed:
        other = any(kind == FingerprintError.__name__ for kind, _ in failed.values())
        text = "; ".join(f"host {i}: {report}" for i, (_, report) in failed.items())
        raise (FingerprintError if other else CheckpointError)(text)
    return result


def describe(error: BaseException) -> str:
    """An exception in one line of about 800 characters at most."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 800 else text[:800] + '...'}"
