"""Shapes, dtypes and shardings in the place of arrays, and their bytes on a chip."""

import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, SingleDeviceSharding

from perl_jax.config import ModelConfig
from perl_jax.hub import resolve_directory
from perl_jax.models import Qwen2_5_VL
from perl_jax.models.qwen2_5_vl.config import Qwen2_5_VLConfig, parse_config, read_config
from perl_jax.models.qwen2_5_vl.load import abstract_model
from perl_jax.models.qwen2_5_vl.sharding import parameter_sharding
from perl_jax.update.state import dotted


def read_model_config(path: str) -> Qwen2_5_VLConfig:
    """The sizes of a model, without its weights.

    Args:
        path: A model directory or a hub id. Those of the published sizes are known.

    Raises:
        FileNotFoundError: Neither is there.
        ValueError: It is another kind of model.
    """
    name = path.partition("@")[0].rpartition("/")[2]
    published = files("perl_jax") / "assets" / "published" / f"{name}.json"
    if not Path(path).is_dir() and path.startswith("Qwen/") and published.is_file():
        return parse_config(json.loads(published.read_text(encoding="utf-8")), where=path)
    return read_config(resolve_directory(path))[0]


def sharded_model(
    config: ModelConfig, sizes: Qwen2_5_VLConfig, mesh: Mesh | None, device: Any
) -> Qwen2_5_VL:
    """The policy with shapes for parameters, lying where loading puts them.

    Args:
        config: Which policy.
        sizes: Of it.
        mesh: The devices; None: one of them.
        device: That one.
    """
    model = abstract_model(
        sizes, dtype=jnp.dtype(config.dtype), compute_dtype=jnp.dtype(config.compute_dtype)
    )
    definition, state = nnx.split(model)

    def place(path: Any, leaf: Any) -> Any:
        sharding = (
            SingleDeviceSharding(device)
            if mesh is None
            else parameter_sharding(dotted(path), leaf.shape, sizes, mesh)
        )
        return leaf.replace(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding))

    flat = [(path, place(path, leaf)) for path, leaf in nnx.to_flat_state(state)]
    return nnx.merge(definition, nnx.from_flat_state(flat))


def bytes_on_chip(tree: Any) -> int:
    """Bytes of the shards that one device holds, without the padding of its layout."""
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype"))


def _bytes(leaf: Any) -> int:
    sharding = getattr(leaf, "sharding", None)
    shape = leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)
    return math.prod(shape) * leaf.dtype.itemsize
