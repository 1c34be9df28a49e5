"""The language model: a decoder over embeddings with multimodal rotary positions."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from perl_jax.models import text as shared
from perl_jax.models.layers import Linear, Rotary, rotate
from perl_jax.models.sizes import TextConfig


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


class TextModel(shared.TextModel):
    """Embedding, layers, final norm."""

    def __init__(self, config: TextConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        super().__init__(config, TextAttention, dtype=dtype, rngs=rngs)

    def rotary(self, positions: jax.Array, dtype: jnp.dtype) -> Rotary:
        """See `rotary_angles`."""
        return rotary_angles(positions, self.config, dtype)


def rotary_angles(positions: jax.Array, config: TextConfig, dtype: jnp.dtype) -> Rotary:
    """Cosine and sine ``[..., F]`` of multimodal rotary positions ``[3, ...]``.

    The section that frequency i falls into decides which position it turns with.
    """
    axis = np.repeat(np.arange(3), config.mrope_section)
    return shared.multimodal_angles(positions, axis, config, dtype)
