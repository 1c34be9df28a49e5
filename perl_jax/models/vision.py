"""Parts of the vision towers of all families."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from perl_jax.models.layers import Linear, Rotary, rotate
from perl_jax.models.policy import Array
from perl_jax.models.sizes import VisionSizes

# Queries, keys and values ``[P, H, F]`` -> what is attended, ``[P, H, F]``.
Attend = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


class VisionAttention(nnx.Module):
    """Bidirectional attention with rotary positions of rows and columns."""

    def __init__(self, config: VisionSizes, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        width = config.hidden_size
        self.heads = (config.num_heads, config.head_dim)
        self.qkv = Linear(width, 3 * width, dtype=dtype, rngs=rngs)
        self.proj = Linear(width, width, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, rotary: Rotary, attend: Attend) -> jax.Array:
        """Maps ``[P, D]``; ``attend`` says which patches see each other."""
        q, k, v = jnp.moveaxis(self.qkv(x).reshape(-1, 3, *self.heads), 1, 0)
        # The rotation is float32 whatever the dtype of the activations.
        q = rotate(q.astype(jnp.float32), *rotary).astype(x.dtype)
        k = rotate(k.astype(jnp.float32), *rotary).astype(x.dtype)
        return self.proj(attend(q, k, v).reshape(x.shape))


def rotary_angles(coordinates: Array, config: VisionSizes) -> Rotary:
    """Cosine and sine, float32 ``[P, F]``, of the angles [rows | columns] repeated twice."""
    quarter = config.head_dim // 4
    frequencies = config.rope_theta ** (-jnp.arange(quarter, dtype=jnp.float32) / quarter)
    angles = jnp.asarray(coordinates, jnp.float32)[:, :, None] * frequencies[None, None, :]
    angles = jnp.tile(angles.reshape(-1, 2 * quarter), (1, 2))
    return jnp.cos(angles), jnp.sin(angles)
