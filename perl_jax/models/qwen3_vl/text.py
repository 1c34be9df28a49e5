"""The language model: a decoder over embeddings with interleaved multimodal rotary positions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from perl_jax.models import text as shared
from perl_jax.models.layers import Linear, RMSNorm, Rotary, rotate
from perl_jax.models.sizes import TextConfig


class TextAttention(nnx.Module):
    """The projections of grouped-query attention; queries and keys are normalised per head."""

    def __init__(self, config: TextConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        width, head = config.hidden_size, config.head_dim
        self.head_dim = head
        linear = partial(Linear, bias=False, dtype=dtype, rngs=rngs)
        self.q_proj = linear(width, config.num_heads * head)
        self.k_proj = linear(width, config.num_kv_heads * head)
        self.v_proj = linear(width, config.num_kv_heads * head)
        self.o_proj = linear(config.num_heads * head, width)
        self.q_norm = RMSNorm(head, config.rms_norm_eps, dtype=dtype)
        self.k_norm = RMSNorm(head, config.rms_norm_eps, dtype=dtype)

    def project(self, x: jax.Array, rotary: Rotary) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries ``[..., H, F]``, keys and values ``[..., J, F]`` of ``[..., D]``."""
        q, k, v = (
            projection(x).reshape(*x.shape[:-1], -1, self.head_dim)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        return rotate(self.q_norm(q), *rotary), rotate(self.k_norm(k), *rotary), v


class TextModel(shared.TextModel):
    """Embedding, layers, final norm."""

    def __init__(self, config: TextConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        super().__init__(config, TextAttention, dtype=dtype, rngs=rngs)

    def rotary(self, positions: jax.Array, dtype: jnp.dtype) -> Rotary:
        """See `rotary_angles`."""
        return rotary_angles(positions, self.config, dtype)


def rotary_axes(config: TextConfig) -> np.ndarray:
    """The position that each frequency turns with: 0 temporal, 1 height, 2 width; int ``[F / 2]``.

    Height and width take turns with time as far as their sections reach: with three times as many
    frequencies as a section counts, every third one is its own.
    """
    frequency = np.arange(config.head_dim // 2)
    axis = frequency % 3
    reach = 3 * np.array(config.mrope_section)[axis]
    return np.where(frequency < reach, axis, 0)


def rotary_angles(positions: jax.Array, config: TextConfig, dtype: jnp.dtype) -> Rotary:
    """Cosine and sine ``[..., F]`` of multimodal rotary positions ``[3, ...]``."""
    return shared.multimodal_angles(positions, rotary_axes(config), config, dtype)
