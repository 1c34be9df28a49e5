"""Qwen2.5-VL (arXiv 2502.13923)."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from perl_jax.mesh import SHARD_AXES, split_first_axis
from perl_jax.models.beside import Beside
from perl_jax.models.cache import PromptCache, ResponseCache
from perl_jax.models.layers import Linear
from perl_jax.models.policy import Array, ImageInputs, PromptInputs, Remat
from perl_jax.models.prompts import pack_prompts
from perl_jax.models.qwen2_5_vl.config import Qwen2_5_VLConfig
from perl_jax.models.qwen2_5_vl.inputs import WindowedImages
from perl_jax.models.qwen2_5_vl.text import TextModel
from perl_jax.models.qwen2_5_vl.vision import VisionTower
from perl_jax.models.source import Source
from perl_jax.types import Prompt


class Qwen2_5_VL(nnx.Module):
    """A `perl_jax.models.policy.Policy`."""

    def __init__(
        self,
        config: Qwen2_5_VLConfig,
        *,
        dtype: jnp.dtype,
        compute_dtype: jnp.dtype | None = None,
        source: Source | None = None,
        rngs: nnx.Rngs,
    ) -> None:
        self.config = config
        self.source = source
        self.compute_dtype = jnp.dtype(compute_dtype or dtype)
        self.vision = VisionTower(config.vision, dtype=dtype, rngs=rngs)
        self.text = TextModel(config.text, dtype=dtype, rngs=rngs)
        width, vocab = config.text.hidden_size, config.text.vocab_size
        self.lm_head = (
            None if config.tied else Linear(width, vocab, bias=False, dtype=dtype, rngs=rngs)
        )

    @property
    def unembedding(self) -> jax.Array:
        """``[V, D]``; where the model ties them, the embedding."""
        return (self.lm_head or self.text.embed_tokens).weight[...]

    def encode_images(
        self, images: ImageInputs, remat: Remat = "none", mesh: Mesh | None = None
    ) -> jax.Array:
        """Features ``[M, D]`` of the packed images, one per image token, in reading order."""
        assert isinstance(images, WindowedImages), "images: expected those that the config packs"
        return self.vision(images, self.compute_dtype, remat, mesh)

    def encode_shards(
        self, images: ImageInputs, remat: Remat = "none", mesh: Mesh | None = None
    ) -> jax.Array:
        """Features ``[S, M, D]`` of S rows of packed images, each row by itself."""

        def encode(images: ImageInputs) -> jax.Array:
            if images.patches.shape[0] == 1:
                return self.encode_images(jax.tree.map(lambda part: part[0], images), remat)[None]
            images = jax.tree.map(lambda part: split_first_axis(jnp.asarray(part), mesh), images)
            of_rows = jax.vmap(
                lambda row: self.encode_images(row, remat, mesh),
                spmd_axis_name=None if mesh is None else SHARD_AXES,
            )
            return split_first_axis(of_rows(images), mesh)

        # Otherwise, what the layers keep stays in memory for the whole backward pass of the text.
        return (jax.checkpoint(encode) if remat == "layers" else encode)(images)

    def embed(
        self, tokens: Array, features: jax.Array | None = None, feature_rows: Array | None = None
    ) -> jax.Array:
        """Embeds tokens ``[B, ...]`` as ``[B, ..., D]``.

        Where ``feature_rows`` (int ``[B, ...]``) is not negative, this row of ``features``
        ``[S, M, D]`` replaces the token's: the s-th of S equal parts of B reads shard s, so nothing
        moves between shards. Several tokens may show one row; its gradient is their sum.
        """
        x = self.text.embed_tokens.weight[...][tokens].astype(self.compute_dtype)
        if features is None or feature_rows is None:
            return x
        rows = jnp.maximum(feature_rows, 0).reshape(len(features), -1)
        shown = jax.vmap(lambda of_shard, row: of_shard[row])(features, rows)
        return jnp.where((feature_rows >= 0)[..., None], shown.reshape(x.shape).astype(x.dtype), x)

    def prefill(
        self, prompts: PromptInputs, features: jax.Array | None = None, mesh: Mesh | None = None
    ) -> tuple[jax.Array, PromptCache]:
        """Reads whole prompts: hidden states ``[B, T, D]``, and the prefix of their responses."""
        if features is None and prompts.images is not None:
            features = self.encode_images(prompts.images)[None]
        x = split_first_axis(self.embed(prompts.tokens, features, prompts.feature_rows), mesh)
        positions, valid = jnp.asarray(prompts.positions), jnp.asarray(prompts.valid)
        hidden, own = self.text.read(x[:, None], positions[:, :, None], valid[:, None], mesh)
        return hidden[:, 0], PromptCache.of(own)

    def read_with_responses(
        self,
        prompts: PromptInputs,
        tokens: jax.Array,
        start: Array,
        valid: Array,
        remat: Remat = "none",
        mesh: Mesh | None = None,
        running: Sequence[jax.Array] | None = None,
        prompt_of: Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Reads P prompts and O rows of N responses: ``[P, T, D]`` and ``[O, N, R, D]``."""
        features = None
        if prompts.images is not None:
            features = self.encode_shards(prompts.images, remat, mesh)
        beside = Beside.of(prompts.valid, valid, prompt_of, mesh)
        follow = jnp.asarray(start)[:, None, None] + jnp.arange(tokens.shape[-1])[None, None]
        follow = jnp.broadcast_to(follow[None], (3, *tokens.shape))
        no_rows = jnp.full(tokens.shape, -1, jnp.int32)
        # One look-up for all: the gradient of the embeddings is then added up once.
        x = self.embed(
            beside.join(jnp.asarray(prompts.tokens), tokens),
            features,
            beside.join(jnp.asarray(prompts.feature_rows), no_rows),
        )
        positions = jax.vmap(beside.join)(jnp.asarray(prompts.positions), follow)
        masks = (jnp.asarray(prompts.valid), jnp.asarray(valid))
        asked = None if prompt_of is None else jnp.asarray(prompt_of)
        return self.text.read_with_responses(x, positions, *masks, remat, mesh, running, asked)

    def decode(
        self,
        tokens: jax.Array,
        positions: jax.Array,
        valid: jax.Array,
        prefix: PromptCache,
        cache: ResponseCache,
        slot: jax.Array | int,
    ) -> tuple[jax.Array, ResponseCache]:
        """Reads the next token of N responses to B prompts: ``[B, N, D]``, and the cache."""
        # Text has the same position on all three axes.
        positions = jnp.broadcast_to(positions[None], (3, *positions.shape))
        return self.text.extend(self.embed(tokens), positions, valid, prefix, cache, slot)

    def unembed(self, hidden: jax.Array) -> jax.Array:
        """Logits, float32 ``[..., V]``, of hidden states ``[..., D]``."""
        weight = self.unembedding.astype(hidden.dtype)
        return jnp.einsum("...d,vd->...v", hidden, weight, preferred_element_type=jnp.float32)

    def logits(self, prompt: Prompt) -> jax.Array:
        """Next-token logits at every token of one prompt: float32 ``[T, V]``."""
        inputs = pack_prompts([prompt], self.config)
        definition, parameters = nnx.split(self)
        return _logits(definition, parameters, inputs)[0, : len(prompt.tokens)]


@partial(jax.jit, static_argnums=0)
def _logits(definition: Any, parameters: Any, inputs: PromptInputs) -> jax.Array:
    model = nnx.merge(definition, parameters)
    return model.unembed(model.prefill(inputs)[0])
