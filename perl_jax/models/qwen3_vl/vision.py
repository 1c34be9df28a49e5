"""The vision tower: from patches of images to features for several layers of the language model.

Attention stays within an image, so an image's features do not depend on the other images.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from perl_jax.kernels import Kernel
from perl_jax.mesh import whole
from perl_jax.models.decoder import Embedding
from perl_jax.models.layers import (
    LayerNorm,
    Linear,
    Rotary,
    gradient_computed_once,
    scan_layers,
    stack,
)
from perl_jax.models.patches import attend_in_a_row, attend_within
from perl_jax.models.policy import Remat
from perl_jax.models.qwen3_vl.inputs import PackedImages
from perl_jax.models.qwen3_vl.sizes import VisionConfig
from perl_jax.models.vision import PatchEmbedding, VisionAttention, rotary_angles


class VisionMLP(nnx.Module):
    """Two linear maps and a GELU."""

    def __init__(self, config: VisionConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        width, hidden = config.hidden_size, config.intermediate_size
        self.linear_fc1 = Linear(width, hidden, dtype=dtype, rngs=rngs)
        self.linear_fc2 = Linear(hidden, width, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps the last axis."""
        # The approximation by tanh here, the exact GELU in the mergers: both as published.
        hidden = gradient_computed_once(self.linear_fc1(x))
        return self.linear_fc2(jax.nn.gelu(hidden, approximate=True))


class VisionBlock(nnx.Module):
    """Pre-norm attention and MLP."""

    def __init__(self, config: VisionConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        self.norm1 = LayerNorm(config.hidden_size, config.norm_eps, dtype=dtype)
        self.norm2 = LayerNorm(config.hidden_size, config.norm_eps, dtype=dtype)
        self.attn = VisionAttention(config, dtype=dtype, rngs=rngs)
        self.mlp = VisionMLP(config, dtype=dtype, rngs=rngs)

    def __call__(
        self, x: jax.Array, rotary: Rotary, inputs: PackedImages, kernel: Kernel | None
    ) -> jax.Array:
        """Maps ``[P, D]``."""

        def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            if kernel is not None and kernel.takes((1, 1, *q.shape), q.shape[1]):
                longest = inputs.images.valid.shape[1]
                return attend_in_a_row(inputs.images.bounds(), longest, kernel, q, k, v)
            return attend_within(inputs.images, q, k, v)

        x = x + self.attn(self.norm1(x), rotary, attend)
        return x + self.mlp(self.norm2(x))


class PatchMerger(nnx.Module):
    """Joins the patches of a unit and maps them to the language model's width.

    The norm is that of each patch, or, where ``norm_joined``, that of the joined patches.
    """

    def __init__(
        self, config: VisionConfig, *, norm_joined: bool, dtype: jnp.dtype, rngs: nnx.Rngs
    ) -> None:
        width = config.hidden_size * config.patches_per_unit
        self.norm_width = width if norm_joined else config.hidden_size
        self.width = width
        self.norm = LayerNorm(self.norm_width, config.norm_eps, dtype=dtype)
        self.linear_fc1 = Linear(width, width, dtype=dtype, rngs=rngs)
        self.linear_fc2 = Linear(width, config.out_hidden_size, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[P, D]`` to ``[M, text width]``."""
        units = self.norm(x.reshape(-1, self.norm_width)).reshape(-1, self.width)
        hidden = gradient_computed_once(self.linear_fc1(units))
        return self.linear_fc2(jax.nn.gelu(hidden, approximate=False))


class VisionTower(nnx.Module):
    """Patch embedding, learned positions, blocks, mergers."""

    kernel: Kernel | None = None

    def __init__(self, config: VisionConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        self.config = config
        width = config.hidden_size
        self.patch_embed = PatchEmbedding(config, dtype=dtype, rngs=rngs)
        self.pos_embed = Embedding(config.num_position_embeddings, width, dtype=dtype, rngs=rngs)
        self.blocks = stack(config.depth, rngs, partial(VisionBlock, config, dtype=dtype))
        self.merger = PatchMerger(config, norm_joined=False, dtype=dtype, rngs=rngs)
        merger = partial(PatchMerger, config, norm_joined=True, dtype=dtype)
        self.deepstack_merger_list = stack(len(config.deepstack_blocks), rngs, merger)

    def __call__(
        self,
        inputs: PackedImages,
        dtype: jnp.dtype,
        remat: Remat = "none",
        mesh: Mesh | None = None,
        kernel: Kernel | None = None,
    ) -> jax.Array:
        """Encodes packed images as ``[M, 1 + K, text width]``, computed in ``dtype``.

        Images come in the order they were packed, units in raster order; rows beyond them have no
        meaning. On a mesh, each device that holds images holds all of their activations.
        """
        rotary = rotary_angles(inputs.coordinates, self.config)
        count = len(self.config.deepstack_blocks)
        # Where a block's output is kept for DeepStack; that of all other blocks in place K.
        places = np.full(self.config.depth, count, np.int32)
        places[list(self.config.deepstack_blocks)] = np.arange(count)

        def apply(
            block: VisionBlock, carry: tuple[jax.Array, jax.Array], place: jax.Array
        ) -> tuple[tuple[jax.Array, jax.Array], None]:
            x, kept = carry
            x = whole(block(x, rotary, inputs, kernel), mesh)
            return (x, jax.lax.dynamic_update_index_in_dim(kept, x, place, 0)), None

        x = self.patch_embed(jnp.asarray(inputs.patches, dtype))
        x = whole(x + self.interpolated(inputs).astype(dtype), mesh)
        carry = (x, jnp.zeros((count + 1, *x.shape), dtype))
        (x, kept), _ = scan_layers(self.blocks, apply, carry, jnp.asarray(places), remat)

        def merge(merger: PatchMerger, _: None, x: jax.Array) -> tuple[None, jax.Array]:
            return None, merger(x)

        _, deep = scan_layers(self.deepstack_merger_list, merge, None, kept[:count], remat)
        return jnp.concatenate([self.merger(x)[None], deep]).swapaxes(0, 1)

    def interpolated(self, inputs: PackedImages) -> jax.Array:
        """The learned position of each patch, float32 ``[P, D]``."""
        table = self.pos_embed.weight[...].astype(jnp.float32)
        neighbours, shares = jnp.asarray(inputs.neighbours), jnp.asarray(inputs.shares)
        first, *others = (table[neighbours[:, n]] * shares[:, n, None] for n in range(4))
        return sum(others, first)
