"""A policy of shapes instead of arrays, and the memory that shapes need on a chip."""

import math
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh, SingleDeviceSharding

from perl_jax.kernels import Kernel
from perl_jax.models import Policy, PolicyConfig, abstract_model
from perl_jax.models.lora import LoraConfig, with_adapters
from perl_jax.models.opening import ModelConfig, held_dtype
from perl_jax.models.paths import with_leaves


def sharded_model(
    config: ModelConfig,
    sizes: PolicyConfig,
    mesh: Mesh | None,
    device: Any,
    lora: LoraConfig | None = None,
    *,
    kernel: Kernel | None = None,
) -> Policy:
    """The policy with shapes for parameters, with the shardings that loading gives them.

    Args:
        config: The model's part of a run's configuration.
        sizes: The sizes of the policy.
        mesh: The devices; None: a single device.
        device: The device of a run without a mesh.
        lora: The adapters; None: there are none.
        kernel: What attends; None: XLA.
    """
    dtype = held_dtype(config, lora)
    model = abstract_model(sizes, dtype=dtype, compute_dtype=config.compute_dtype, mesh=mesh)
    model.attend_by(kernel)
    if mesh is None:
        definition, state = nnx.split(model)
        alone = SingleDeviceSharding(device)
        model = nnx.merge(
            definition,
            with_leaves(
                state, lambda _, leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=alone)
            ),
        )
    return model if lora is None else with_adapters(model, lora, seed=0)


def bytes_on_chip(tree: Any) -> int:
    """Bytes of the shards that one device holds, without the padding of its layout."""
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype"))


def _bytes(leaf: Any) -> int:
    sharding = getattr(leaf, "sharding", None)
    shape = leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)
    return math.prod(shape) * leaf.dtype.itemsize
