"""Arrays that are not there: shapes, dtypes and shardings of a model, and their bytes on a chip."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from perl_jax.mesh import fit_sharding
from perl_jax.models import Policy, PolicyConfig, abstract_model, read_config
from perl_jax.models.opening import ModelConfig


def read_model_config(path: str) -> PolicyConfig:
    """The sizes of a model, without its weights.

    Args:
        path: A model directory or a hub id. Those of the published sizes are known.

    Raises:
        FileNotFoundError: Neither is there.
        ValueError: It is another kind of model.
    """
    return read_config(path)


def sharded_model(config: ModelConfig, sizes: PolicyConfig, mesh: Mesh) -> Policy:
    """The policy with shapes in the place of parameters, lying on a mesh as loading puts them."""
    return abstract_model(sizes, dtype=config.dtype, compute_dtype=config.compute_dtype, mesh=mesh)


def on_mesh(mesh: Mesh, shape: tuple[int, ...], dtype: Any, *spec: Any) -> Any:
    """The shape of an array that lies on a mesh as a partition says, whole without one."""
    if not spec:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, PartitionSpec()))
    partition = PartitionSpec(*spec, *[None] * (len(shape) - len(spec)))
    return jax.ShapeDtypeStruct(shape, dtype, sharding=fit_sharding(shape, partition, mesh))


def everywhere(mesh: Mesh, tree: Any) -> Any:
    """Arrays of which every device holds a whole copy."""
    whole = NamedSharding(mesh, PartitionSpec())

    def place(leaf: Any) -> jax.ShapeDtypeStruct:
        leaf = leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole)

    return jax.tree.map(place, tree)


def results(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a compiled function returns, lying as it returns it.

    Args:
        function: Jitted.
        arguments: Its own, static ones among them.
    """
    lowered = function.lower(*arguments)  # type: ignore[attr-defined]
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        lowered.out_info,
        lowered.compile().output_shardings,
    )


def bytes_on_chip(tree: Any) -> int:
    """Bytes of the shards that one device holds, without the padding of its layout."""
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype"))


def _bytes(leaf: Any) -> int:
    shape = leaf.shape if leaf.sharding is None else leaf.sharding.shard_shape(leaf.shape)
    return math.prod(shape) * leaf.dtype.itemsize
