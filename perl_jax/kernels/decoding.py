"""Attention of one new token of every response to the caches, by the kernel of a platform."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from perl_jax.kernels import gpu_decoding, tpu_decoding
from perl_jax.kernels.parts import Caches
from perl_jax.kernels.shared_prefix import Kernel, Platform

_ENGINES: Mapping[Platform, Any] = {"tpu": tpu_decoding, "gpu": gpu_decoding}


def takes(kernel: Kernel, caches: Caches) -> bool:
    """Whether there is a kernel for caches of these sizes on these devices."""
    _, s, j, _, b, _ = caches.keys.shape
    shards, tensor = kernel.split
    if s < kernel.least or b % shards or j % tensor:
        return False
    return _ENGINES[kernel.platform].takes(caches, b // shards)


def attend(kernel: Kernel, queries: jax.Array, caches: Caches, layer: jax.Array) -> jax.Array:
    """Attention of the queries ``[B, N, H, F]`` of new tokens to one layer of the caches."""
    batch, heads = kernel.batch_axes or None, kernel.head_axis

    def run(queries: jax.Array, caches: Caches, layer: jax.Array) -> jax.Array:
        engine, (b, n, h, f), j = _ENGINES[kernel.platform], queries.shape, caches.keys.shape[2]
        q = queries.reshape(b, n, j, h // j, f)
        of_prompts = engine.attend_to_prompts(
            q.transpose(0, 2, 1, 3, 4).reshape(b, j, -1, f),
            caches.prompt_keys,
            caches.prompt_values,
            caches.prompt_valid.astype(jnp.int32),
            layer,
            kernel.run,
        )
        own = engine.attend_to_responses(
            q.transpose(2, 1, 0, 3, 4),
            caches.keys,
            caches.values,
            caches.valid.astype(jnp.int32).swapaxes(0, 1),
            layer,
            kernel.run,
        )
        return engine.merge(*of_prompts, *own).reshape(queries.shape).astype(queries.dtype)

    if kernel.mesh is None:
        return run(queries, caches, layer)
    spec = PartitionSpec
    of_prompts, own = spec(None, batch, heads), spec(None, None, heads, None, batch)
    of_caches: Any = (of_prompts, of_prompts, spec(batch), own, own, spec(batch))
    of_queries = spec(batch, None, heads)
    return jax.shard_map(
        run,
        mesh=kernel.mesh,
        in_specs=(of_queries, Caches(*of_caches), spec()),
        out_specs=of_queries,
        check_vma=False,
    )(queries, caches, layer)
