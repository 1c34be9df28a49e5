"""The language model: a decoder over embeddings with multimodal rotary positions."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from perl_jax.attention import KeyValues, attend
from perl_jax.models.qwen2_5_vl.config import TextConfig
from perl_jax.models.qwen2_5_vl.layers import GatedMLP, Linear, RMSNorm, rotate, scan_layers, stack


class Embedding(nnx.Module):
    """One row per token of the vocabulary."""

    def __init__(self, count: int, width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        normal = jax.nn.initializers.normal(0.02)
        self.weight = nnx.Param(normal(rngs.params(), (count, width), dtype))


class TextAttention(nnx.Module):
    """Grouped-query attention over a prefix and the row's own tokens."""

    def __init__(self, config: TextConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        width, head = config.hidden_size, config.head_dim
        self.head_dim = head
        self.q_proj = Linear(width, config.num_heads * head, dtype=dtype, rngs=rngs)
        self.k_proj = Linear(width, config.num_kv_heads * head, dtype=dtype, rngs=rngs)
        self.v_proj = Linear(width, config.num_kv_heads * head, dtype=dtype, rngs=rngs)
        self.o_proj = Linear(config.num_heads * head, width, bias=False, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        rotary: tuple[jax.Array, jax.Array],
        prefix: KeyValues | None,
        cache: KeyValues | None,
        valid: jax.Array,
        slot: jax.Array,
    ) -> tuple[jax.Array, KeyValues]:
        """Attends ``[B, N, R, D]``; returns the result and the row's own keys and values."""
        q, k, v = (
            projection(x).reshape(*x.shape[:-1], -1, self.head_dim)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = (rotate(y, *rotary) for y in (q, k))
        if cache is not None:
            start = (0, 0, slot, 0, 0)
            k = jax.lax.dynamic_update_slice(cache.keys, k, start)
            v = jax.lax.dynamic_update_slice(cache.values, v, start)
        own = KeyValues(k, v, valid)
        slots = jnp.broadcast_to(slot + jnp.arange(x.shape[2])[None, None], x.shape[:3])
        out = attend(q, own, prefix, query_slots=slots)
        return self.o_proj(out.reshape(*x.shape[:-1], -1)), own


class TextLayer(nnx.Module):
    """Pre-norm attention and gated MLP."""

    def __init__(self, config: TextConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        width, epsilon = config.hidden_size, config.rms_norm_eps
        self.input_layernorm = RMSNorm(width, epsilon, dtype=dtype)
        self.post_attention_layernorm = RMSNorm(width, epsilon, dtype=dtype)
        self.self_attn = TextAttention(config, dtype=dtype, rngs=rngs)
        self.mlp = GatedMLP(width, config.intermediate_size, bias=False, dtype=dtype, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        rotary: tuple[jax.Array, jax.Array],
        prefix: KeyValues | None,
        cache: KeyValues | None,
        valid: jax.Array,
        slot: jax.Array,
    ) -> tuple[jax.Array, KeyValues]:
        """Maps ``[B, N, R, D]``; returns also the row's own keys and values."""
        attended, own = self.self_attn(self.input_layernorm(x), rotary, prefix, cache, valid, slot)
        x = x + attended
        return x + self.mlp(self.post_attention_layernorm(x)), own


class TextModel(nnx.Module):
    """Embedding, layers, final norm."""

    def __init__(self, config: TextConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        self.config = config
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, dtype=dtype, rngs=rngs)
        self.layers = stack(
            config.num_layers, rngs, lambda rngs: TextLayer(config, dtype=dtype, rngs=rngs)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, dtype=dtype)

    def __call__(
        self,
        embeddings: jax.Array,
        positions: jax.Array,
        *,
        valid: jax.Array,
        prefix: KeyValues | None = None,
        cache: KeyValues | None = None,
        slot: jax.Array | int = 0,
    ) -> tuple[jax.Array, KeyValues]:
        """Runs the decoder over N rows for each of B prefixes.

        Args:
            embeddings: ``[B, N, R, D]``.
            positions: int ``[3, B, N, R]``: temporal, height, width.
            valid: bool ``[B, N, S]`` of the rows' own tokens: S = R without a cache, else the
                slots of the cache, those written by this call included.
            prefix: keys and values ``[L, B, T, J, F]``, valid ``[B, T]``.
            cache: keys and values ``[L, B, N, S, J, F]`` of the rows' earlier tokens.
            slot: Where in the cache this call's R tokens are written.

        Returns:
            Normalised hidden states ``[B, N, R, D]``, and the rows' own keys and values
            ``[L, B, N, S, J, F]`` with ``valid``.
        """
        rotary = rotary_angles(positions, self.config, embeddings.dtype)
        slot = jnp.asarray(slot, jnp.int32)

        def apply(
            layer: TextLayer, x: jax.Array, stored: tuple[KeyValues | None, KeyValues | None]
        ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            x, own = layer(x, rotary, *stored, valid, slot)
            return x, (own.keys, own.values)

        stored = (_per_layer(prefix, self.config), _per_layer(cache, self.config))
        x, (keys, values) = scan_layers(self.layers, apply, embeddings, stored)
        return self.norm(x), KeyValues(keys, values, valid)


def _per_layer(stored: KeyValues | None, config: TextConfig) -> KeyValues | None:
    """Gives ``valid``, which is the same for every layer, the layer axis of keys and values."""
    if stored is None:
        return None
    valid = jnp.broadcast_to(stored.valid[None], (config.num_layers, *stored.valid.shape))
    return stored._replace(valid=valid)


def rotary_angles(
    positions: jax.Array, config: TextConfig, dtype: jnp.dtype
) -> tuple[jax.Array, jax.Array]:
    """Cosine and sine ``[..., F]`` of multimodal rotary positions ``[3, ...]``.

    Frequency i turns with the temporal, height or width position according to the section that i
    falls into. The angles are float32, their cosines in the dtype of the activations, as published.
    """
    half = config.head_dim // 2
    frequencies = config.rope_theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    axis = np.repeat(np.arange(3), config.mrope_section)
    turning = jnp.moveaxis(jnp.asarray(positions)[axis], 0, -1).astype(jnp.float32)
    angles = turning * jnp.broadcast_to(frequencies, turning.shape)
    angles = jnp.concatenate([angles, angles], axis=-1)
    return jnp.cos(angles).astype(dtype), jnp.sin(angles).astype(dtype)
