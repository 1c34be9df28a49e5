"""A vision tower whose features stand among the tokens of a language model."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from perl_jax.kernels import Kernel
from perl_jax.mesh import SHARD_AXES, TENSOR_AXIS, mesh_of, num_shards, split_first_axis
from perl_jax.models.cache import Cache, PromptCache
from perl_jax.models.image_features import ImageFeatures
from perl_jax.models.layers import Linear
from perl_jax.models.policy import Array, ImageInputs, PromptInputs, Remat
from perl_jax.models.prompts import pack_prompts
from perl_jax.models.rows import Rows
from perl_jax.models.sizes import VisionLanguageConfig
from perl_jax.models.source import Source
from perl_jax.types import Prompt


class VisionLanguageModel(nnx.Module):
    """A `perl_jax.models.policy.Policy`; a family builds its two parts and narrows ``config``."""

    config: Any

    def __init__(
        self,
        config: VisionLanguageConfig,
        *,
        vision: Callable[..., nnx.Module],
        text: Callable[..., nnx.Module],
        dtype: jnp.dtype,
        compute_dtype: jnp.dtype | None,
        source: Source | None,
        rngs: nnx.Rngs,
    ) -> None:
        self.config = config
        self.source = source
        self.compute_dtype = jnp.dtype(compute_dtype or dtype)
        self.vision: Any = vision(config.vision, dtype=dtype, rngs=rngs)
        self.text: Any = text(config.text, dtype=dtype, rngs=rngs)
        width, vocab = config.text.hidden_size, config.text.vocab_size
        self.lm_head = (
            None if config.tied else Linear(width, vocab, bias=False, dtype=dtype, rngs=rngs)
        )

    def attend_by(self, kernel: Kernel | None) -> None:
        """Lets a kernel attend in place of XLA; None, as at first: XLA does."""
        self.text.kernel = self.vision.kernel = kernel

    def take_apart(self) -> None:
        """Lets `decode` go through the layers one by one; for a CPU, see `Decoder.take_apart`."""
        self.text.take_apart()

    @property
    def kernel(self) -> Kernel | None:
        """What attends in place of XLA; None: XLA does."""
        return self.text.kernel

    @property
    def unembedding(self) -> jax.Array:
        """``[V, D]``; where the model ties them, the embedding."""
        if self.lm_head is None:
            return self.text.embed_tokens.weight[...]
        return self.lm_head.whole_weight()

    def encode_images(
        self,
        images: ImageInputs,
        remat: Remat = "none",
        mesh: Mesh | None = None,
        devices: Mesh | None = None,
    ) -> jax.Array:
        """Features ``[M, 1 + K, D]`` of the packed images, a row per image token, in order.

        ``mesh`` holds several rows of images, if there are any; ``devices`` are all devices.
        """
        kernel = self.vision.kernel and self.vision.kernel.on(devices, (), TENSOR_AXIS)
        return self.vision(images, self.compute_dtype, remat, mesh, kernel)

    def encode_shards(
        self, images: ImageInputs, remat: Remat = "none", mesh: Mesh | None = None
    ) -> jax.Array:
        """Features ``[S, M, 1 + K, D]`` of S rows of packed images, each row by itself."""

        def encode(images: ImageInputs) -> jax.Array:
            if images.patches.shape[0] == 1:
                row = jax.tree.map(lambda part: part[0], images)
                return self.encode_images(row, remat, devices=mesh)[None]
            images = jax.tree.map(lambda part: split_first_axis(jnp.asarray(part), mesh), images)
            of_rows = jax.vmap(
                lambda row: self.encode_images(row, remat, mesh, devices=mesh),
                spmd_axis_name=None if mesh is None else SHARD_AXES,
            )
            return split_first_axis(of_rows(images), mesh)

        # Otherwise, what the layers keep stays in memory for the whole backward pass of the text.
        return (jax.checkpoint(encode) if remat == "layers" else encode)(images)

    def embed(self, tokens: Array, features: ImageFeatures | None = None) -> jax.Array:
        """Embeds tokens ``[B, ...]`` as ``[B, ..., D]``, images with their features."""
        x = self.text.embed_tokens.weight[...][tokens].astype(self.compute_dtype)
        return x if features is None else features.embed(x)

    def prefill(
        self,
        prompts: PromptInputs,
        features: jax.Array | None = None,
        mesh: Mesh | None = None,
        wanted: Array | None = None,
    ) -> tuple[jax.Array, PromptCache]:
        """Reads whole prompts: hidden states ``[B, T, D]``, and the prefix of their responses."""
        if features is None and prompts.images is not None:
            features = self.encode_images(prompts.images, devices=mesh)[None]
        shown = _shown(features, prompts.feature_rows)
        x = split_first_axis(self.embed(prompts.tokens, shown), mesh)
        positions, valid = jnp.asarray(prompts.positions), jnp.asarray(prompts.valid)
        added = None if shown is None else shown.added
        at = None if wanted is None else jnp.asarray(wanted)
        return self.text.read(x, positions, valid, mesh, added, at)

    def read_with_responses(
        self,
        prompts: PromptInputs,
        tokens: Array,
        start: Array,
        rows: Rows,
        remat: Remat = "none",
        mesh: Mesh | None = None,
        running: Sequence[jax.Array] | None = None,
        prompt_of: Array | None = None,
    ) -> jax.Array:
        """Reads prompts and the responses to them, as flat tokens: ``[S, W, D]``."""
        features = None
        if prompts.images is not None:
            features = self.encode_shards(prompts.images, remat, mesh)
        follow = jnp.asarray(start)[:, None, None] + jnp.arange(tokens.shape[-1])[None, None]
        follow = jnp.broadcast_to(follow, tokens.shape)
        no_features = jnp.full(tokens.shape, -1, jnp.int32)
        shown = _shown(features, rows.flat(prompts.feature_rows, no_features, fill=-1))
        # One look-up for all: the gradient of the embeddings is then added up once.
        x = self.embed(rows.flat(prompts.tokens, tokens), shown)
        positions = jnp.stack([rows.flat(axis, follow) for axis in prompts.positions])
        asked = None if prompt_of is None else jnp.asarray(prompt_of)
        (p, t), added = prompts.tokens.shape, None if shown is None else shown.added
        return self.text.read_with_responses(
            x, positions, rows, (p, t), remat, mesh, running, asked, added
        )

    def decode(
        self,
        tokens: jax.Array,
        positions: jax.Array,
        valid: jax.Array,
        prefix: PromptCache,
        cache: Cache,
        slot: jax.Array | int,
        mesh: Mesh | None = None,
    ) -> tuple[jax.Array, Cache]:
        """Reads the next token of N responses to B prompts: ``[B, N, D]``, and the cache."""
        # Text has the same position on all three axes.
        positions = jnp.broadcast_to(positions[None], (3, *positions.shape))
        return self.text.extend(self.embed(tokens), positions, valid, prefix, cache, slot, mesh)

    def unembed(self, hidden: jax.Array) -> jax.Array:
        """Logits, float32 ``[..., V]``, of hidden states ``[..., D]``."""
        weight = self.unembedding.astype(hidden.dtype)
        return jnp.einsum("...d,vd->...v", hidden, weight, preferred_element_type=jnp.float32)

    def logits(self, prompt: Prompt) -> jax.Array:
        """Next-token logits at every token of one prompt: float32 ``[T, V]``."""
        definition, parameters = nnx.split(self)
        inputs = pack_prompts([prompt], self.config)
        return _logits(definition, mesh_of(parameters), parameters, inputs)[: len(prompt.tokens)]


def _shown(features: jax.Array | None, rows: Array) -> ImageFeatures | None:
    return None if features is None else ImageFeatures(features, jnp.asarray(rows))


@partial(jax.jit, static_argnums=(0, 1))
def _logits(definition: Any, mesh: Mesh | None, parameters: Any, inputs: PromptInputs) -> jax.Array:
    """Logits, float32 ``[T, V]``, of a single padded prompt.

    On a mesh each shard reads it, as all of them have rows in the programs of a run: XLA of jaxlib
    0.11 ends the process where one row of images is for several shards.
    """

    def for_each_shard(part: Array, axis: int = 0) -> jax.Array:
        return jnp.repeat(jnp.asarray(part), num_shards(mesh), axis)

    model = nnx.merge(definition, parameters)
    features = None
    if inputs.images is not None:
        rows = jax.tree.map(lambda part: for_each_shard(part[None]), inputs.images)
        features = model.encode_shards(rows, mesh=mesh)
    prompts = PromptInputs(
        for_each_shard(inputs.tokens),
        for_each_shard(inputs.positions, axis=1),
        for_each_shard(inputs.valid),
        for_each_shard(inputs.feature_rows),
        images=None,
    )
    return model.unembed(model.prefill(prompts, features, mesh)[0][0])
