"""The language model: a decoder over embeddings with multimodal rotary positions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from perl_jax.models.decoder import Decoder, Embedding
from perl_jax.models.layers import GatedMLP, Linear, RMSNorm, Rotary, rotate, stack
from perl_jax.models.qwen2_5_vl.sizes import TextConfig


class TextAttention(nnx.Module):
    """The projections of grouped-query attention."""

    def __init__(self, config: TextConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        width, head = config.hidden_size, config.head_dim
        self.head_dim = head
        self.q_proj = Linear(width, config.num_heads * head, dtype=dtype, rngs=rngs)
        self.k_proj = Linear(width, config.num_kv_heads * head, dtype=dtype, rngs=rngs)
        self.v_proj = Linear(width, config.num_kv_heads * head, dtype=dtype, rngs=rngs)
        self.o_proj = Linear(config.num_heads * head, width, bias=False, dtype=dtype, rngs=rngs)

    def project(self, x: jax.Array, rotary: Rotary) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries ``[..., H, F]``, keys and values ``[..., J, F]`` of ``[..., D]``."""
        q, k, v = (
            projection(x).reshape(*x.shape[:-1], -1, self.head_dim)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        return rotate(q, *rotary), rotate(k, *rotary), v


class TextLayer(nnx.Module):
    """Pre-norm attention and gated MLP."""

    def __init__(self, config: TextConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        width, epsilon = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = RMSNorm(width, epsilon, dtype=dtype)
        self.post_attention_layernorm = RMSNorm(width, epsilon, dtype=dtype)
        self.self_attn = TextAttention(config, dtype=dtype, rngs=rngs)
        self.mlp = GatedMLP(width, config.intermediate_size, bias=False, dtype=dtype, rngs=rngs)

    def project(self, x: jax.Array, rotary: Rotary) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries, keys and values of the normalised ``[..., D]``."""
        return self.self_attn.project(self.input_layernorm(x), rotary)

    def finish(self, x: jax.Array, attended: jax.Array) -> jax.Array:
        """The layer's output, from its input ``[..., D]`` and the attended ``[..., H, F]``."""
        x = x + self.self_attn.o_proj(attended.reshape(*x.shape[:-1], -1))
        return x + self.mlp(self.post_attention_layernorm(x))


class TextModel(Decoder):
    """Embedding, layers, final norm."""

    def __init__(self, config: TextConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        self.config = config
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, dtype=dtype, rngs=rngs)
        self.layers = stack(config.num_layers, rngs, partial(TextLayer, config, dtype=dtype))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, dtype=dtype)

    def rotary(self, positions: jax.Array, dtype: jnp.dtype) -> Rotary:
        """See `rotary_angles`."""
        return rotary_angles(positions, self.config, dtype)


def rotary_angles(positions: jax.Array, config: TextConfig, dtype: jnp.dtype) -> Rotary:
    """Cosine and sine ``[..., F]`` of multimodal rotary positions ``[3, ...]``.

    The section that frequency i falls into decides whether it turns with the temporal, height or
    width position. The angles are float32; their cosines are cast to ``dtype``, as published.
    """
    half = config.head_dim // 2
    frequencies = config.rope_theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    axis = np.repeat(np.arange(3), config.mrope_section)
    turning = jnp.moveaxis(jnp.asarray(positions)[axis], 0, -1).astype(jnp.float32)
    angles = turning * jnp.broadcast_to(frequencies, turning.shape)
    angles = jnp.concatenate([angles, angles], axis=-1)
    return jnp.cos(angles).astype(dtype), jnp.sin(angles).astype(dtype)
