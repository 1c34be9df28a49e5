"""The interface of a policy, the same for every model family.

Nothing outside `perl_jax.models` imports a family. It uses `Policy` and `PolicyConfig`, which mypy
checks each family against, the functions that `perl_jax.models` exports, and the parameter names in
`perl_jax.models.paths`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from perl_jax.kernels import Kernel
from perl_jax.models.cache import Cache, CacheSizes, PromptCache
from perl_jax.models.rows import Rows
from perl_jax.models.source import Source
from perl_jax.types import ImagePatches, Prompt

# NumPy on the host, traced arrays inside a compiled program.
Array = jax.Array | np.ndarray

# What the backward pass of a layer recomputes instead of keeping: nothing, everything but the
# results of linear maps, also those of maps that are wider than their inputs, everything within a
# layer, also the inputs of the vision tower's layers.
Remat = Literal["none", "activations", "wide", "inputs", "layers"]


class ImageInputs(Protocol):
    """Packed images: a registered dataclass of arrays.

    Where each device encodes its own images, all arrays have a leading axis of shards.
    """

    @property
    def patches(self) -> Array:
        """float32 ``[P, F]``, one frame of each patch, padding included."""


class ImageSizes(Protocol):
    """The padded sizes of packed images."""

    def pack(self, images: Sequence[ImagePatches]) -> ImageInputs:
        """Packs images in the order of their features.

        Raises:
            ValueError: An image's patches do not fit its grid, the vision tower or the sizes.
        """


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PromptInputs:
    """A batch of prompts, padded on the right.

    Attributes:
        tokens: int32 ``[B, T]``.
        positions: int32 ``[3, B, T]``; 0 at padding.
        valid: bool ``[B, T]``, False at padding.
        feature_rows: int32 ``[B, T]``, the row of the image features at each token, or -1.
        images: The batch's images in reading order; None: there are none, or they are encoded.
    """

    tokens: Array
    positions: Array
    valid: Array
    feature_rows: Array
    images: ImageInputs | None


@dataclass(frozen=True)
class Traffic:
    """The least numbers that one pass moves between a chip and its memory.

    Attributes:
        text_weights: The language model's matrices.
        of_token: Inputs and results of its matrix products, per token.
        of_pair: Attention scores, per pair of tokens.
        vision_weights: The matrices of the vision tower's blocks.
        of_patch: Inputs and results of their matrix products, per patch.
    """

    text_weights: float
    of_token: float
    of_pair: float
    vision_weights: float
    of_patch: float


class PolicyConfig(Protocol):
    """The sizes of a policy; hashable, so that programs take it as a static argument."""

    @property
    def model_type(self) -> str:
        """The name of its family in `perl_jax.models.families.FAMILIES`."""

    @property
    def vocab_size(self) -> int:
        """V, the number of rows of the unembedding."""

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """The shape of one image token's feature, ``(1 + K, D)``.

        The first row stands in the place of the token's embedding; the others are added to its
        hidden state after the first K layers, one after each.
        """

    @property
    def image_token(self) -> int:
        """The token id that stands for one image feature."""

    @property
    def patch_size(self) -> int:
        """Side of a patch, in pixels."""

    @property
    def merge_size(self) -> int:
        """Side of a unit (the square that becomes one image token), in patches."""

    @property
    def patches_per_unit(self) -> int:
        """Patches of one unit."""

    @property
    def patch_width(self) -> int:
        """Numbers in one flattened patch."""

    @property
    def cache_sizes(self) -> CacheSizes:
        """Layers, key/value heads, and numbers per head."""

    @property
    def attention_heads(self) -> tuple[int, int, int]:
        """Heads of queries, heads of keys and values, and numbers per head."""

    @property
    def image_attention_heads(self) -> tuple[int, int, int]:
        """As `attention_heads`, of the vision tower."""

    def image_sizes(
        self,
        rows: Sequence[Sequence[tuple[int, int]]],
        *,
        num_patches: int | None = None,
        num_images: int | None = None,
    ) -> ImageSizes:
        """The padded sizes that hold each of several rows of images, given by their grids.

        By default, patches and images are padded to the `bucket` of the row with the most.
        """

    def sharding(self, path: str, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
        """The sharding of the parameter at a dotted path."""

    def image_operations(self, grid: tuple[int, int]) -> int:
        """Floating-point operations of encoding one image of this grid of patches."""

    def image_attention(self, grid: tuple[int, int]) -> int:
        """The part of `image_operations` that attention takes."""

    def image_scores(self, grid: tuple[int, int]) -> int:
        """Attention scores of encoding one image, of all blocks and heads together."""

    def text_operations(self, *, tokens: int, pairs: int, predicted: int) -> int:
        """Floating-point operations of reading ``tokens``.

        ``pairs`` counts each token with every token it attends to, itself included; ``predicted``
        counts the tokens that get logits over the whole vocabulary.
        """

    def traffic(self, tensor: int) -> Traffic:
        """The memory traffic of a pass on one chip with layers split into ``tensor`` parts."""


class Policy(Protocol):
    """A Flax NNX module: ``nnx.split`` gives its static definition and its parameters.

    Reading B prompts of T tokens, and N responses of R tokens to each, gives hidden states of D
    numbers. A mesh splits B: each device reads the prompts of its own shard.
    """

    @property
    def config(self) -> PolicyConfig:
        """The policy's sizes."""

    @property
    def source(self) -> Source | None:
        """The directory it was loaded from; None for a model with fresh weights."""

    @property
    def compute_dtype(self) -> jax.numpy.dtype:
        """The dtype of activations; parameters are cast to it when used."""

    @property
    def unembedding(self) -> jax.Array:
        """``[V, D]``."""

    def attend_by(self, kernel: Kernel | None) -> None:
        """Lets a kernel attend in place of XLA; None, as at first: XLA does."""

    def take_apart(self) -> None:
        """Lets `decode` go through the layers one by one, where that is faster on a CPU."""

    @property
    def kernel(self) -> Kernel | None:
        """What attends in place of XLA; None: XLA does."""

    def encode_shards(
        self, images: ImageInputs, remat: Remat = "none", mesh: Mesh | None = None
    ) -> jax.Array:
        """Features ``[S, M, *feature_shape]`` of S rows of packed images, each row by itself.

        With remat ``layers``, the backward pass also recomputes the tower as a whole.
        """

    def prefill(
        self,
        prompts: PromptInputs,
        features: jax.Array | None = None,
        mesh: Mesh | None = None,
        wanted: Array | None = None,
    ) -> tuple[jax.Array, PromptCache]:
        """Reads whole prompts: hidden states ``[B, T, D]``, and the prefix of their responses.

        The s-th of S equal parts of B shows rows of the s-th of the features
        ``[S, M, *feature_shape]``; None: ``prompts.images`` are encoded. ``wanted``, int
        ``[B, C]``, are the tokens whose hidden states are returned, ``[B, C, D]``: the last layer
        computes no others. None: all.
        """

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
        """Reads P prompts and N responses to each of O orders, as flat tokens: ``[S, W, D]``.

        Args:
            prompts: Their ``images`` have a leading axis of shards; see `encode_shards`.
            tokens: int ``[O, N, R]``.
            start: int ``[O]``, the position of a response's first token.
            rows: Where the tokens stand.
            remat: What the backward pass recomputes.
            mesh: The devices over which P and O are split.
            running: Arrays to which the gradients of the text layers' parameters are added; see
                `perl_jax.models.layers.scan_layers_adding`.
            prompt_of: int ``[O]``, the prompt that an order asks, counted within its shard.
                None: O is P, and each order asks the prompt of its number.
        """

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
        """Reads the next token of N responses to B prompts: ``[B, N, D]``, and the cache.

        Args:
            tokens: int ``[B, N]``.
            positions: int ``[B, N]``.
            valid: bool ``[B, N, S]``, the cache slots that each response attends to, this token's
                included.
            prefix: The prefix that `prefill` returned.
            cache: `ResponseCache.empty`, or the cache that the last call returned. In either of
                its orders.
            slot: The cache slot that this token's keys and values are written to.
            mesh: The devices over which B is split.
        """

    def unembed(self, hidden: jax.Array) -> jax.Array:
        """Logits, float32 ``[..., V]``, of hidden states ``[..., D]``."""

    def logits(self, prompt: Prompt) -> jax.Array:
        """Next-token logits at every token of one prompt: float32 ``[T, V]``."""
