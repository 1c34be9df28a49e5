"""Low-rank adapters of linear maps, LoRA (arXiv 2106.09685).

A map ``W x`` becomes ``W x + alpha / rank · B A x``. The product stands beside the map instead of
within its weight: no matrix of W's size is ever made, and the gradient of W is never computed.
"""

import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Interval
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from perl_jax.legible import brief
from perl_jax.models.layers import Linear
from perl_jax.models.paths import dotted
from perl_jax.models.policy import Policy
from perl_jax.settings import Checked, Count, Expects, Positive

DOWN, UP = "lora_A", "lora_B"
"""The names of A (rank, in) and of B (out, rank) beside a map's weight."""

# Published models store it as a convolution, for which adapters have other shapes.
_CONVOLUTION = "vision.patch_embed"


_NO_DROPOUT = (
    "0, as the update must compute the log-probabilities that the responses were drawn with"
)


@dataclass(frozen=True)
class LoraConfig(Checked):
    """Low-rank adapters: they are trained, and the model under them is not.

    Attributes:
        rank: The rank of every adapter.
        alpha: An adapter's output is multiplied by this divided by the rank.
        paths: Patterns of the linear maps that get an adapter, in the language model and in the
            vision tower; each must match a whole path, as ``text.layers.self_attn.q_proj``.
        dropout: 0. With any other value the update would not compute the log-probabilities that
            the responses were drawn with.
    """

    rank: Count = 16
    alpha: Positive = 32.0
    paths: tuple[str, ...] = (r"text\.layers\..*",)
    dropout: Annotated[float, Interval(ge=0, le=0), Expects(_NO_DROPOUT)] = 0.0

    def _check_together(self) -> None:
        for pattern in self.paths:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(
                    f"paths: expected regular expressions; got {brief(pattern)} ({error})"
                ) from None


def exactly(config: LoraConfig, paths: Sequence[str]) -> LoraConfig:
    """The adapters of a configuration, on the linear maps of these paths."""
    return replace(config, paths=tuple(map(re.escape, paths)))


def linear_maps(model: Policy) -> dict[str, Linear]:
    """The linear maps of a model that may have an adapter, by path."""
    module: Any = model
    maps = {dotted(path): one for path, one in nnx.iter_modules(module) if isinstance(one, Linear)}
    maps.pop(_CONVOLUTION, None)
    return dict(sorted(maps.items()))


def adapted_maps(model: Policy) -> dict[str, Linear]:
    """The linear maps that have an adapter, by path."""
    return {path: one for path, one in linear_maps(model).items() if one.lora_A is not None}


def is_adapter(path: str) -> bool:
    """Whether a parameter's path is that of an adapter."""
    return path.endswith((f".{DOWN}", f".{UP}"))


def with_adapters(model: Policy, config: LoraConfig, seed: int) -> Policy:
    """The model with adapters that change nothing yet: B is 0, A uniform as in PEFT.

    Its weights are shared with ``model``. An adapter is float32, and split over a mesh as its map
    is. The same seed gives the same adapters on any mesh.

    Args:
        model: A policy without adapters; shapes in place of arrays give shapes.
        config: Which maps get adapters, and which.
        seed: Of A.

    Raises:
        ValueError: A pattern matches no linear map, or the model has adapters already.
    """
    if adapted_maps(model):
        raise ValueError("model: expected one without adapters; got one that has some")
    model = _of_the_same_arrays(model)
    for path, linear in _matched(model, config).items():
        rng = np.random.default_rng([seed % 2**64, zlib.crc32(path.encode())])
        adapter = _initial(linear.weight.get_value(), config.rank, rng)
        linear.lora_A, linear.lora_B = map(nnx.Param, adapter)
        linear.lora_alpha = config.alpha
    return model


def _initial(weight: Any, rank: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """A and B beside a weight, or their shapes beside the shape of one."""
    *layers, out, into = weight.shape
    down, up = shardings_beside(weight)
    shape, bound = (*layers, rank, into), 1 / math.sqrt(into)
    zeros = np.zeros((*layers, out, rank), np.float32)
    if isinstance(weight, jax.ShapeDtypeStruct):
        return (
            jax.ShapeDtypeStruct(shape, jnp.float32, sharding=down),
            jax.ShapeDtypeStruct(zeros.shape, jnp.float32, sharding=up),
        )
    uniform = rng.uniform(-bound, bound, shape).astype(np.float32)
    return placed(uniform, down), placed(zeros, up)


def placed(values: np.ndarray, sharding: Sharding) -> jax.Array:
    """An array that every host holds whole, on the devices."""
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])


def merged(model: Policy) -> Policy:
    """The model with ``W + alpha / rank · B A`` as weights, in their dtype, and without adapters.

    It shares all other weights with ``model``. It may be compiled.
    """
    model = _of_the_same_arrays(model)
    for linear in adapted_maps(model).values():
        weight = linear.weight.get_value()
        definition, parts = nnx.split(linear)
        merge: Callable[[Any], jax.Array] = partial(_merge, definition)
        # One layer at a time: float32 of all layers together would take several times their memory.
        if weight.ndim > 2:
            merge = partial(jax.lax.map, merge)
        if not isinstance(weight, jax.core.Tracer):
            merge = jax.jit(merge, out_shardings=weight.sharding)
        linear.weight = nnx.Param(merge(parts))
        del linear.lora_A, linear.lora_B, linear.lora_alpha
    return model


def rank_and_alpha(model: Policy) -> tuple[int, float]:
    """The rank and alpha of a model's adapters; raises ValueError if it has none."""
    first = next(iter(adapted_maps(model).values()), None)
    if first is None:
        raise ValueError("model: expected one with adapters (learner.lora); got one without")
    return first.lora_A.get_value().shape[-2], first.lora_alpha


def with_values(model: Policy, adapters: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """Values for a model's adapters as arrays that are split as these are, by path."""
    return {
        path: placed(np.asarray(adapters[path], np.float32), leaf.sharding)
        for path, leaf in adapters_of(model)
    }


def adapters_of(model: Policy) -> Iterator[tuple[str, jax.Array]]:
    """The adapters of a model, each with its path."""
    for path, linear in adapted_maps(model).items():
        for name, adapter in ((DOWN, linear.lora_A), (UP, linear.lora_B)):
            yield f"{path}.{name}", adapter.get_value()


def _merge(definition: Any, parts: Any) -> jax.Array:
    """The merged weight of one linear map, in its dtype."""
    linear: Linear = nnx.merge(definition, parts)
    return linear.whole_weight().astype(linear.weight[...].dtype)


def _matched(model: Policy, config: LoraConfig) -> dict[str, Linear]:
    maps = linear_maps(model)
    for pattern in config.paths:
        if not any(re.fullmatch(pattern, path) for path in maps):
            raise ValueError(
                f"learner.lora.paths: {pattern!r} matches no linear map; they are {', '.join(maps)}"
            )
    if not config.paths:
        raise ValueError("learner.lora.paths: expected at least one pattern; got none")
    return {
        path: linear
        for path, linear in maps.items()
        if any(re.fullmatch(pattern, path) for pattern in config.paths)
    }


def shardings_beside(weight: Any) -> tuple[Any, Any]:
    """The shardings of A and B beside a weight: axes that they share with it are split as there."""
    sharding = weight.sharding
    if not isinstance(sharding, NamedSharding):
        return sharding, sharding
    spec = (*sharding.spec, *(None,) * (len(weight.shape) - len(sharding.spec)))
    *layers, out, into = spec
    return tuple(
        NamedSharding(sharding.mesh, PartitionSpec(*layers, *of_matrix))
        for of_matrix in ((None, into), (out, None))
    )  # type: ignore[return-value]


def _of_the_same_arrays(model: Policy) -> Policy:
    return nnx.merge(*nnx.split(model))
