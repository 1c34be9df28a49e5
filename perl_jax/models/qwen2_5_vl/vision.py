"""The vision tower: from patches of images to one feature per language-model token.

Attention stays within an image, in most blocks within a window, so an image's features do not
depend on the other images.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from perl_jax.kernels import Kernel
from perl_jax.mesh import whole
from perl_jax.models.layers import (
    GatedMLP,
    Linear,
    RMSNorm,
    Rotary,
    gradient_computed_once,
    scan_layers,
    stack,
)
from perl_jax.models.patches import attend_in_a_row, attend_within
from perl_jax.models.policy import Remat
from perl_jax.models.qwen2_5_vl.inputs import WindowedImages
from perl_jax.models.qwen2_5_vl.sizes import VisionConfig
from perl_jax.models.vision import PatchEmbedding, VisionAttention, rotary_angles


class VisionBlock(nnx.Module):
    """Pre-norm attention and gated MLP."""

    def __init__(self, config: VisionConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        width = config.hidden_size
        self.norm1 = RMSNorm(width, config.norm_eps, dtype=dtype)
        self.norm2 = RMSNorm(width, config.norm_eps, dtype=dtype)
        self.attn = VisionAttention(config, dtype=dtype, rngs=rngs)
        self.mlp = GatedMLP(width, config.intermediate_size, bias=True, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        rotary: Rotary,
        is_full: jax.Array,
        inputs: WindowedImages,
        seen: float,
        kernel: Kernel | None,
    ) -> jax.Array:
        """Maps ``[P, D]``, attending within images where ``is_full``, else within windows.

        ``seen`` is the number of patches that a patch sees, on average over the blocks.
        """

        def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
            if kernel is not None and kernel.takes((1, 1, *q.shape), q.shape[1]):
                choices = inputs.images.bounds(), inputs.windows.bounds()
                bounds = jax.tree.map(partial(jnp.where, is_full), *choices)
                return attend_in_a_row(bounds, seen, kernel, q, k, v)
            return jax.lax.cond(
                is_full,
                lambda: attend_within(inputs.images, q, k, v),
                lambda: attend_within(inputs.windows, q, k, v),
            )

        x = x + self.attn(self.norm1(x), rotary, attend)
        return x + self.mlp(self.norm2(x))


class PatchMerger(nnx.Module):
    """Joins the patches of a unit and maps them to the language model's width."""

    def __init__(self, config: VisionConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        self.width = config.hidden_size * config.patches_per_unit
        self.ln_q = RMSNorm(config.hidden_size, config.norm_eps, dtype=dtype)
        self.hidden = Linear(self.width, self.width, dtype=dtype, rngs=rngs)
        self.out = Linear(self.width, config.out_hidden_size, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps ``[P, D]`` to ``[M, text width]``."""
        units = self.ln_q(x).reshape(-1, self.width)
        # The exact GELU: its usual approximation by tanh moves the logits by 3e-4.
        hidden = gradient_computed_once(self.hidden(units))
        return self.out(jax.nn.gelu(hidden, approximate=False))


class VisionTower(nnx.Module):
    """Patch embedding, blocks, merger."""

    kernel: Kernel | None = None

    def __init__(self, config: VisionConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        self.config = config
        self.patch_embed = PatchEmbedding(config, bias=False, dtype=dtype, rngs=rngs)
        self.blocks = stack(config.depth, rngs, partial(VisionBlock, config, dtype=dtype))
        self.merger = PatchMerger(config, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        inputs: WindowedImages,
        dtype: jnp.dtype,
        remat: Remat = "none",
        mesh: Mesh | None = None,
        kernel: Kernel | None = None,
    ) -> jax.Array:
        """Encodes packed images as ``[M, 1, text width]``, computed in ``dtype``.

        Images come in the order they were packed, units in raster order; rows beyond them have no
        meaning. On a mesh, each device that holds images holds all of their activations.
        """
        rotary = rotary_angles(inputs.coordinates, self.config)
        depth, full = self.config.depth, len(self.config.full_attention_blocks)
        longest, of_window = (runs.valid.shape[1] for runs in (inputs.images, inputs.windows))
        seen = (full * longest + (depth - full) * of_window) / depth
        is_full = jnp.zeros(self.config.depth, bool)
        is_full = is_full.at[jnp.array(self.config.full_attention_blocks, int)].set(True)

        def apply(block: VisionBlock, x: jax.Array, is_full: jax.Array) -> tuple[jax.Array, None]:
            return whole(block(x, rotary, is_full, inputs, seen, kernel), mesh), None

        x = whole(self.patch_embed(jnp.asarray(inputs.patches, dtype)), mesh)
        x, _ = scan_layers(self.blocks, apply, x, is_full, remat)
        return self.merger(x)[inputs.reading_order][:, None]
