"""The compiled programs of a run, with shapes for arguments: what a plan compiles."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# In the order of a step.
PROGRAMS = (
    "reshard", "encode", "prefill", "resize", "decode", "compact", "score", "reference", "update",
    "apply",
)  # fmt: skip


@dataclass(frozen=True)
class Work:
    """What one chip works on in a call, for an estimate of the bytes that it moves.

    Attributes:
        tokens: Of the text model.
        pairs: Of a token and one that it may attend to.
        patches: Of images.
    """

    tokens: float = 0
    pairs: float = 0
    patches: float = 0


@dataclass(frozen=True)
class Program:
    """One compiled program, and how a step uses it.

    Attributes:
        name: One of `PROGRAMS`.
        calls: In a step.
        function: Jitted.
        arguments: Positional ones, static ones among them.
        kinds: What its arguments are, by kind of memory: parameters, caches, ...
        beside: What else lies on the chips while it runs, by kind.
        steps: Trips of its open-ended loops.
        work: Of one chip.
        passes: How often a call reads the weights of the text model.
        image_passes: How often it reads those of the vision tower.
    """

    name: str
    calls: float
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    kinds: Mapping[str, Any]
    beside: Mapping[str, Any] = field(default_factory=dict)
    steps: int = 1
    work: Work = Work()
    passes: float = 0
    image_passes: float = 0

    def trace(self) -> Any:
        """Its ``jax.stages.Traced``."""
        jitted: Any = self.function
        return jitted.trace(*self.arguments)


def power_of_two(size: int) -> int:
    """The next power of two that is not smaller."""
    return 1 << (max(size, 1) - 1).bit_length()


def ceil_div(size: int, by: int) -> int:
    """How many parts of a size hold all."""
    return -(-size // by)
