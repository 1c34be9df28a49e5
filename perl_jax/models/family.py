"""What `perl_jax.models` asks of a model family: the parts that loading and saving need."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from perl_jax.models.policy import Policy, PolicyConfig

Config = TypeVar("Config", bound=PolicyConfig)


@dataclass(frozen=True)
class Stored:
    """The stored tensors of one parameter.

    Attributes:
        names: Their published names; more than one are the layers of a stacked parameter.
        shape: Of each.
        stacked: Whether the parameter has a leading layer axis.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    stacked: bool


@dataclass(frozen=True)
class Family(Generic[Config]):
    """One model family.

    Attributes:
        parse: From the content of a config.json, and what errors call it, to the sizes.
        build: Makes a policy with fresh weights: of the sizes and, by keyword, ``dtype`` (of the
            parameters), ``compute_dtype`` (of the activations, or None), ``source`` and ``rngs``.
        stored: Finds the stored tensors of the parameter at a dotted path with this shape.
        published_name: Translates the name of a tensor in any file to the published one.
        tied: The published names of the unembedding and of the embedding, where the configuration
            ties the two; else None.
    """

    parse: Callable[[Mapping[str, Any], str], Config]
    build: Callable[..., Policy]
    stored: Callable[[str, tuple[int, ...], Config], Stored]
    published_name: Callable[[str], str]
    tied: Callable[[Config], tuple[str, str] | None]
