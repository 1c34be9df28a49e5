"""What `perl_jax.models` asks of a model family: the parts that loading and saving need."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import jax.numpy as jnp
from flax import nnx

from perl_jax.models.policy import Policy, PolicyConfig
from perl_jax.models.source import Source

Config = TypeVar("Config", bound=PolicyConfig)
Builds = TypeVar("Builds", bound=PolicyConfig, contravariant=True)


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


class Build(Protocol[Builds]):
    """Makes a policy with fresh weights."""

    def __call__(
        self,
        config: Builds,
        *,
        dtype: jnp.dtype,
        compute_dtype: jnp.dtype | None,
        source: Source | None,
        rngs: nnx.Rngs,
    ) -> Policy:
        """Makes it: parameters of ``dtype``, activations of ``compute_dtype`` (or ``dtype``)."""


@dataclass(frozen=True)
class Family(Generic[Config]):
    """One model family.

    Attributes:
        parse: From the content of a config.json, and what errors call it, to the sizes.
        build: From the sizes to the policy.
        stored: Finds the stored tensors of the parameter at a dotted path with this shape.
        published_name: Translates the name of a tensor in any file to the published one.
        tied: The published names of the unembedding and of the embedding, where the configuration
            ties the two; else None.
    """

    parse: Callable[[Mapping[str, Any], str], Config]
    build: Build[Config]
    stored: Callable[[str, tuple[int, ...], Config], Stored]
    published_name: Callable[[str], str]
    tied: Callable[[Config], tuple[str, str] | None]
