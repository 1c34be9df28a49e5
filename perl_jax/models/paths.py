"""Parameters by dotted path, and the module names that all families share."""

from collections.abc import Callable, Sequence
from typing import Any

from flax import nnx

VISION = "vision"
VISION_BLOCKS = "vision.blocks"
TEXT_LAYERS = "text.layers"
# Modules whose parameters have a leading layer axis.
STACKED = (TEXT_LAYERS, VISION_BLOCKS, "vision.deepstack_merger_list")
# The input and output matrices; all others map hidden states to hidden states.
OUTER_MATRICES = r"(.*\.)?(embed_tokens|lm_head|patch_embed|pos_embed)\.weight"


def within(path: str, *modules: str) -> bool:
    """Whether a parameter belongs to one of these modules."""
    return path.startswith(tuple(f"{module}." for module in modules))


def dotted(path: Sequence[Any]) -> str:
    """Joins a path into one string."""
    return ".".join(map(str, path))


def leaves_of(state: Any) -> dict[str, Any]:
    """The variables of an NNX state by dotted path, in the order of its leaves."""
    return {dotted(path): leaf for path, leaf in nnx.to_flat_state(state)}


def with_leaves(state: Any, make: Callable[[str, Any], Any]) -> Any:
    """The state with ``make(path, variable)`` as the value of each variable."""
    return nnx.from_flat_state(
        [(path, leaf.replace(make(dotted(path), leaf))) for path, leaf in nnx.to_flat_state(state)]
    )
