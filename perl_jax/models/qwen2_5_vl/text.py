"""The language model: a decoder over embeddings with multimodal rotary positions."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from perl_jax.attention import KeyValues, attend
from perl_jax.mesh import num_shards, split_first_axis
from perl_jax.models.qwen2_5_vl.cache import PromptCache, ResponseCache, of_layer
from perl_jax.models.qwen2_5_vl.config import TextConfig
from perl_jax.models.qwen2_5_vl.layers import (
    GatedMLP,
    Linear,
    Remat,
    RMSNorm,
    rotate,
    scan_layers,
    scan_layers_adding,
    stack,
)


class Embedding(nnx.Module):
    """One row per token of the vocabulary."""

    def __init__(self, count: int, width: int, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        normal = jax.nn.initializers.normal(0.02)
        self.weight = nnx.Param(normal(rngs.params(), (count, width), dtype))


class TextAttention(nnx.Module):
    """The projections of grouped-query attention."""

    def __init__(self, config: TextConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        width, head = config.hidden_size, config.head_dim
        self.head_dim = head
        self.q_proj = Linear(width, config.num_heads * head, dtype=dtype, rngs=rngs)
        self.k_proj = Linear(width, config.num_kv_heads * head, dtype=dtype, rngs=rngs)
        self.v_proj = Linear(width, config.num_kv_heads * head, dtype=dtype, rngs=rngs)
        self.o_proj = Linear(config.num_heads * head, width, bias=False, dtype=dtype, rngs=rngs)

    def project(
        self, x: jax.Array, rotary: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
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

    def project(
        self, x: jax.Array, rotary: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """What the layer asks with, offers and tells: queries, keys, values of ``[..., D]``."""
        return self.self_attn.project(self.input_layernorm(x), rotary)

    def finish(self, x: jax.Array, attended: jax.Array) -> jax.Array:
        """The layer's output, of its input ``[..., D]`` and what it attended to ``[..., H, F]``."""
        x = x + self.self_attn.o_proj(attended.reshape(*x.shape[:-1], -1))
        return x + self.mlp(self.post_attention_layernorm(x))


class TextModel(nnx.Module):
    """Embedding, layers, final norm."""

    def __init__(self, config: TextConfig, *, dtype: jnp.dtype, rngs: nnx.Rngs) -> None:
        self.config = config
        self.embed_tokens = Embedding(config.vocab_size, config.hidden_size, dtype=dtype, rngs=rngs)
        self.layers = stack(
            config.num_layers, rngs, lambda rngs: TextLayer(config, dtype=dtype, rngs=rngs)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps, dtype=dtype)

    def read(
        self,
        embeddings: jax.Array,
        positions: jax.Array,
        valid: jax.Array,
        mesh: Mesh | None = None,
    ) -> tuple[jax.Array, KeyValues]:
        """Reads whole rows.

        Args:
            embeddings: ``[B, N, R, D]``.
            positions: int ``[3, B, N, R]``: temporal, height, width.
            valid: bool ``[B, N, R]``, False at padding.
            mesh: The devices over which B is split.

        Returns:
            Normalised hidden states ``[B, N, R, D]``, and the rows' keys and values
            ``[L, B, N, R, J, F]`` with ``valid``.
        """
        shards = num_shards(mesh)
        rotary = rotary_angles(positions, self.config, embeddings.dtype)
        slots = jnp.broadcast_to(jnp.arange(valid.shape[-1])[None, None], valid.shape)

        def apply(
            layer: TextLayer, x: jax.Array, _: None
        ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            q, k, v = layer.project(x, rotary)
            attended = attend(q, KeyValues(k, v, valid), query_slots=slots, shards=shards)
            return split_first_axis(layer.finish(x, attended), mesh), (k, v)

        x, (keys, values) = scan_layers(self.layers, apply, embeddings, None)
        return self.norm(x), KeyValues(keys, values, valid)

    def read_with_responses(
        self,
        embeddings: jax.Array,
        positions: jax.Array,
        prompt_valid: jax.Array,
        valid: jax.Array,
        remat: Remat = "none",
        mesh: Mesh | None = None,
        running: Sequence[jax.Array] | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Reads B whole prompts, and N whole responses to each of them beside it.

        All tokens pass a layer together: each of its matrices is gathered from other devices once,
        and its gradient is complete when the layer is.

        Args:
            embeddings: ``[B, T + N * R, D]``: the prompt, then its responses one after the other.
            positions: int ``[3, B, T + N * R]``.
            prompt_valid: bool ``[B, T]``, False at padding.
            valid: bool ``[B, N, R]``, False at padding.
            remat: What the backward pass computes again.
            mesh: The devices over which prompts are split.
            running: Where gradients are added up, see `scan_layers_adding`; ``remat`` is then
                ``layers`` whatever it is.

        Returns:
            Normalised hidden states ``[B, T, D]`` and ``[B, N, R, D]``.
        """
        shards = num_shards(mesh)
        (b, t), (_, n, r) = prompt_valid.shape, valid.shape
        rotary = rotary_angles(positions, self.config, embeddings.dtype)
        prompt_slots = jnp.broadcast_to(jnp.arange(t)[None, None], (b, 1, t))
        slots = jnp.broadcast_to(jnp.arange(r)[None, None], valid.shape)

        def apply(layer: TextLayer, x: jax.Array, context: Any) -> jax.Array:
            rotary, prompt_slots, slots, prompt_valid, valid = context
            parts = layer.project(x, rotary)
            q, k, v = (part[:, t:].reshape(b, n, r, *part.shape[2:]) for part in parts)
            prompt_q, prompt_k, prompt_v = (part[:, :t] for part in parts)
            read = KeyValues(prompt_k[:, None], prompt_v[:, None], prompt_valid[:, None])
            prefix = KeyValues(prompt_k, prompt_v, prompt_valid)
            of_prompt = attend(prompt_q[:, None], read, query_slots=prompt_slots, shards=shards)
            own = attend(q, KeyValues(k, v, valid), prefix, query_slots=slots, shards=shards)
            heads = own.shape[-2:]
            attended = [of_prompt.reshape(b, t, *heads), own.reshape(b, n * r, *heads)]
            return split_first_axis(layer.finish(x, jnp.concatenate(attended, axis=1)), mesh)

        x = split_first_axis(embeddings, mesh)
        context = (rotary, prompt_slots, slots, prompt_valid, valid)
        if running is None:
            x, _ = scan_layers(
                self.layers, lambda layer, x, _: (apply(layer, x, context), None), x, None, remat
            )
        else:
            x = scan_layers_adding(self.layers, apply, x, context, running)
        x = self.norm(x)
        return x[:, :t], x[:, t:].reshape(b, n, r, x.shape[-1])

    def extend(
        self,
        embeddings: jax.Array,
        positions: jax.Array,
        valid: jax.Array,
        prefix: PromptCache,
        cache: ResponseCache,
        slot: jax.Array | int,
    ) -> tuple[jax.Array, ResponseCache]:
        """Reads the next token of N responses to each of B prompts.

        Args:
            embeddings: ``[B, N, D]``.
            positions: int ``[3, B, N]``.
            valid: bool ``[B, N, S]``, the slots of the cache that a response attends to, this
                token's among them.
            prefix: The prompts.
            cache: The responses' earlier tokens.
            slot: Where in the cache this token's keys and values are written.

        Returns:
            Normalised hidden states ``[B, N, D]``, and the cache.
        """
        rotary = rotary_angles(positions[..., None], self.config, embeddings.dtype)
        slot = jnp.asarray(slot, jnp.int32)

        def apply(
            layer: TextLayer,
            carry: tuple[jax.Array, ResponseCache],
            layer_input: tuple[jax.Array, jax.Array, jax.Array],
        ) -> tuple[tuple[jax.Array, ResponseCache], None]:
            x, cache = carry
            number, stored_keys, stored_values = layer_input
            shared = of_layer(stored_keys, stored_values, prefix.valid)
            q, k, v = layer.project(x, rotary)
            cache = cache.write(number, slot, k, v)
            attended = attend(q, cache.read(number, valid), shared)
            return (layer.finish(x, attended), cache), None

        inputs = (jnp.arange(self.config.num_layers), prefix.keys, prefix.values)
        carry = (embeddings[:, :, None], cache)
        (x, cache), _ = scan_layers(self.layers, apply, carry, inputs)
        return self.norm(x)[:, :, 0], cache


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
