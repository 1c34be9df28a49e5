"""The language model of all families; each has its own attention and rotary positions."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from perl_jax.models.decoder import Decoder, Embedding
from perl_jax.models.layers import GatedMLP, RMSNorm, Rotary, stack
from perl_jax.models.sizes import TextConfig


class TextLayer(nnx.Module):
    """Pre-norm attention and gated MLP.

    ``attention`` builds a module with ``project`` and the linear map ``o_proj``.
    """

    def __init__(
        self,
        config: TextConfig,
        attention: Callable[..., nnx.Module],
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        width, epsilon = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = RMSNorm(width, epsilon, dtype=dtype)
        self.post_attention_layernorm = RMSNorm(width, epsilon, dtype=dtype)
        self.self_attn: Any = attention(config, dtype=dtype, rngs=rngs)
        self.mlp = GatedMLP(width, config.intermediate_size, bias=False, dtype=dtype, rngs=rngs)

    def project(self, x: jax.Array, rotary: Rotary) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries, keys and values of the normalised ``[..., D]``."""
        return self.self_attn.project(self.input_layernorm(x), rotary)

    def finish(self, x: jax.Array, attended: jax.Array) -> jax.Array:
        """The layer's output, from its input ``[..., D]`` and the attended ``[..., H, F]``."""
        x = x + self.self_attn.o_proj(attended.reshape(*x.shape[:-1], -1))
        return x + self.mlp(self.post_attention_layernorm(x))


class TextModel(Decoder):
    """Embedding, layers, final norm; a family defines `rotary`."""

    def __init__(
        self,
        config: TextConfig,
        attention: Callable[..., nnx.Module],
        *,
        dtype: jnp.dtype,
        rngs: nnx.Rngs,
    ) -> None:
        self.config = config
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, dtype=dtype, rngs=rngs)
        layer = partial(TextLayer, config, attention, dtype=dtype)
        self.layers = stack(config.num_layers, rngs, layer)
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, dtype=dtype)


def multimodal_angles(
    positions: jax.Array, axis: np.ndarray, config: TextConfig, dtype: jnp.dtype
) -> Rotary:
    """Cosine and sine ``[..., F]`` of multimodal rotary positions ``[3, ...]``.

    ``axis``, int ``[F / 2]``, says whether a frequency turns with the temporal, height or width
    position. The angles are float32; their cosines are cast to ``dtype``, as published.
    """
    half = config.head_dim // 2
    frequencies = config.rope_theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    turning = jnp.moveaxis(jnp.asarray(positions)[axis], 0, -1).astype(jnp.float32)
    angles = turning * jnp.broadcast_to(frequencies, turning.shape)
    angles = jnp.concatenate([angles, angles], axis=-1)
    return jnp.cos(angles).astype(dtype), jnp.sin(angles).astype(dtype)
