"""Says which program did not fit into a device's memory, and which settings make it smaller."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np

_SHOWN = 12
_OF_PASS = "learner.packing.micro_groups, learner.logprob_chunk, learner.remat='layers'"
_OF_STATE = "learner.trainable (train less of the model), or raise mesh.fsdp"
_OF_TABLE = "rollout.sampler.rows, rollout.max_new_tokens, evaluation.max_new_tokens"
_LOWER = {
    "encode": "model.max_pixels",
    "join_features": "model.max_pixels, rollout.sampler.prefill_tokens",
    "prefill": "rollout.sampler.prefill_tokens",
    "admit": _OF_TABLE,
    "decode": _OF_TABLE,
    "add": _OF_PASS,
    "score": _OF_PASS,
    "start": _OF_STATE,
    "copy": _OF_STATE,
    "zeros": _OF_STATE,
    "apply": _OF_STATE,
}
_ANY = f"{_OF_PASS}, rollout.sampler.rows, rollout.sampler.prefill_tokens"


class DeviceMemoryError(MemoryError):
    """A program does not fit into the memory of a device."""


@contextmanager
def explained_memory(program: str, *arguments: Any) -> Iterator[None]:
    """Turns a device's exhaustion within the block into an error that says what to do.

    Args:
        program: The program that runs, or what the block does.
        arguments: Those of the program, whose shapes are told but for parameters.

    Raises:
        DeviceMemoryError: A device has not enough memory.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        said = " ".join(str(error).split("\n")[0].split())
        shapes = _shapes(arguments)
        raise DeviceMemoryError(
            f"{program}: a device has not enough memory{f', for {shapes}' if shapes else ''}: "
            f"{said}. Lower {_LOWER.get(program, _ANY)}; perl-jax plan says what a run needs"
        ) from error


def _shapes(arguments: tuple[Any, ...]) -> str:
    """The shapes of the arrays that are neither parameters nor numbers, each once."""
    found: dict[str, None] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(arguments):
        if getattr(leaf, "ndim", 0) and not np.issubdtype(leaf.dtype, np.inexact):
            # The first key is the place among the arguments.
            name = jax.tree_util.keystr(path[1:]).strip(".") or f"argument {path[0].idx}"
            found[f"{name} {leaf.dtype}{list(leaf.shape)}"] = None
    shown = list(found)[:_SHOWN]
    return ", ".join(shown) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
