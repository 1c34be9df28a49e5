"""The parts of a model family that loading and saving need."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from perl_jax.models.policy import Policy, PolicyConfig

Config = TypeVar("Config", bound=PolicyConfig)


@dataclass(frozen=True)
class Stored:
    """The stored tensors of one parameter: their published names and the shape of each.

    A ``stacked`` parameter has a leading layer axis and one tensor per layer.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    stacked: bool


@dataclass(frozen=True)
class Family(Generic[Config]):
    """One model family.

    Attributes:
        parse: Reads the sizes from the content of a config.json and its name in errors.
        build: Makes a policy with fresh weights from the sizes and, by keyword, ``dtype``,
            ``compute_dtype``, ``source`` and ``rngs``.
        stored: Finds the stored tensors of the parameter at a dotted path with this shape.
        published_name: Translates the name of a tensor in any file to the published one.
        module_name: Translates a published name to that in transformers' model of today.
        tied: The published names of a tied unembedding and its embedding; None if not tied.
    """

    parse: Callable[[Mapping[str, Any], str], Config]
    build: Callable[..., Policy]
    stored: Callable[[str, tuple[int, ...], Config], Stored]
    published_name: Callable[[str], str]
    module_name: Callable[[str], str]
    tied: Callable[[Config], tuple[str, str] | None]
