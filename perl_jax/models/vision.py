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


class PatchEmbedding(Linear):
    """Maps patches, of whose equal frames it reads one: their parts of the weight are added up.

    The weight is that of all frames, as published. A convolution whose stride is its size is a
    linear map of flattened patches.
    """

    def __init__(
        self, config: VisionSizes, *, bias: bool = True, dtype: jnp.dtype, rngs: nnx.Rngs
    ) -> None:
        super().__init__(config.patch_width, config.hidden_size, bias=bias, dtype=dtype, rngs=rngs)
        self.frames = (config.in_channels, config.temporal_patch_size, -1)

    def used_weight(self, dtype: jnp.dtype) -> jax.Array:
        """The matrix ``[D, frame_width]`` that one frame is multiplied by."""
        weight = self.weight[...]
        by_frame = weight.astype(jnp.float32).reshape(weight.shape[0], *self.frames)
        return by_frame.sum(axis=2).reshape(weight.shape[0], -1).astype(dtype)


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
