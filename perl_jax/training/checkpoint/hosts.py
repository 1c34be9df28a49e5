"""What the hosts of a run tell each other; every function must be called by all of them."""

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from perl_jax.training.checkpoint.record import CheckpointError, FingerprintError

T = TypeVar("T")


def gather(value: Any) -> list[Any]:
    """The JSON-able values of all hosts, by host, on each of them."""
    if jax.process_count() == 1:
        return [value]
    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(data.size))
    # A power of two, so that few lengths are compiled.
    padded = np.zeros(1 << int(sizes.max()).bit_length(), np.uint8)
    padded[: data.size] = data
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def common(steps: Iterable[int]) -> list[int]:
    """The steps that all hosts see, ascending."""
    return sorted(set.intersection(*(set(seen) for seen in gather(list(steps)))))


def together(action: Callable[[], T]) -> T:
    """Does something on every host, or raises on every host.

    Raises:
        CheckpointError: It failed on another host only (FingerprintError if it failed so there).
            A failure here is raised as it is.
    """
    failure: Exception | None = None
    try:
        result = action()
    except Exception as error:
        failure = error
    kind = type(failure).__name__
    reports = gather(None if failure is None else [kind, describe(failure)])
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
