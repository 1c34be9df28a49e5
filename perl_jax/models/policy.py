"""What the rest of the project may use of a policy, whichever model family it belongs to.

Nothing outside `perl_jax.models` imports a family. It sees a `Policy` and its `PolicyConfig`, which
mypy checks each family against, and the functions of `perl_jax.models`: `load_model`, `save_model`,
`read_config`, `parse_config` and `abstract_model`. The names of parameters that others rely on are
in `perl_jax.models.paths`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from perl_jax.models.cache import CacheSizes, PromptCache, ResponseCache
from perl_jax.models.source import Source
from perl_jax.types import ImagePatches, Prompt

# NumPy on the host, traced arrays inside a compiled program.
Array = jax.Array | np.ndarray

# What the backward pass of a layer computes again instead of keeping it: nothing, everything but
# the results of the linear maps, everything.
Remat = Literal["none", "activations", "layers"]


class ImageInputs(Protocol):
    """Packed images: a registered dataclass of arrays, of which only the patches are known here.

    Devices that each encode images of their own have a row each: all arrays then have a leading
    axis of shards.
    """

    @property
    def patches(self) -> Array:
        """float32 ``[P, patch_width]``, padding included."""


class ImageSizes(Protocol):
    """The padded sizes of packed images."""

    def pack(self, images: Sequence[ImagePatches]) -> ImageInputs:
        """Packs images in the order in which their features shall come out.

        Raises:
            ValueError: an image's patches do not fit its grid, the vision tower or the sizes.
        """


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PromptInputs:
    """A batch of prompts, padded on the right.

    Attributes:
        tokens: int32 ``[B, T]``.
        positions: int32 ``[3, B, T]``; 0 at padding.
        valid: bool ``[B, T]``, False at padding.
        feature_rows: int32 ``[B, T]``, the row of the image features that stands at a token, or -1.
        images: The batch's images in reading order, or None if there are none.
    """

    tokens: Array
    positions: Array
    valid: Array
    feature_rows: Array
    images: ImageInputs | None


@dataclass(frozen=True)
class Traffic:
    """How many numbers one pass moves between a chip and its memory at least.

    Attributes:
        text_weights: The matrices of the language model.
        of_token: Inputs and results of its matrix products, for one token.
        of_pair: Attention scores, for one pair of tokens.
        vision_weights: The matrices of the vision tower's blocks.
        of_patch: Inputs and results of its matrix products, for one patch.
    """

    text_weights: float
    of_token: float
    of_pair: float
    vision_weights: float
    of_patch: float


class PolicyConfig(Protocol):
    """The sizes of a policy. Hashable: programs take it as a static argument."""

    @property
    def model_type(self) -> str:
        """The key of its family in `perl_jax.models.families.FAMILIES`."""

    @property
    def vocab_size(self) -> int:
        """V: rows of the unembedding."""

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """The shape of what the vision tower gives for one image token."""

    @property
    def image_token(self) -> int:
        """The id that stands for one image feature."""

    @property
    def patch_size(self) -> int:
        """Side of a patch, in pixels."""

    @property
    def merge_size(self) -> int:
        """Side of the square of patches that becomes one image token."""

    @property
    def patches_per_unit(self) -> int:
        """Patches of that square."""

    @property
    def patch_width(self) -> int:
        """Numbers in one flattened patch."""

    @property
    def cache_sizes(self) -> CacheSizes:
        """Sizes of the keys, and of the values, of one token."""

    def image_sizes(
        self,
        rows: Sequence[Sequence[tuple[int, int]]],
        *,
        num_patches: int | None = None,
        num_images: int | None = None,
    ) -> ImageSizes:
        """The padded sizes that hold each of several rows of images.

        Args:
            rows: The grids of the images of each row; a row may be empty.
            num_patches: P; by default the `bucket` of the longest row.
            num_images: By default the `bucket` of the most.
        """

    def sharding(self, path: str, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
        """How the parameter at a dotted path lies on a mesh."""

    def image_operations(self, grid: tuple[int, int]) -> int:
        """Floating-point operations of encoding one image of this grid of patches."""

    def text_operations(self, *, tokens: int, pairs: int, predicted: int) -> int:
        """Floating-point operations of reading tokens and predicting some.

        Args:
            tokens: How many are read.
            pairs: How many pairs of a token and one that it attends to, itself included.
            predicted: For how many tokens the whole vocabulary is scored.
        """

    def traffic(self, tensor: int) -> Traffic:
        """What a pass moves on one chip, where layers are split into ``tensor`` parts."""


class Policy(Protocol):
    """A Flax NNX module: ``nnx.split`` gives its static definition and its parameters."""

    @property
    def config(self) -> PolicyConfig:
        """Its sizes."""

    @property
    def source(self) -> Source | None:
        """Where it was loaded from; None for a model with fresh weights."""

    @property
    def compute_dtype(self) -> jax.numpy.dtype:
        """The dtype of activations; parameters are cast to it where they are used."""

    @property
    def unembedding(self) -> jax.Array:
        """``[V, D]``."""

    def encode_shards(
        self, images: ImageInputs, remat: Remat = "none", mesh: Mesh | None = None
    ) -> jax.Array:
        """Features ``[S, M, *feature_shape]`` of S rows of packed images, each row by itself.

        Args:
            images: The rows.
            remat: What the backward pass computes again; with ``layers`` the whole tower, too.
            mesh: The devices, each of which encodes the rows of its own shard.
        """

    def prefill(
        self, prompts: PromptInputs, features: jax.Array | None = None, mesh: Mesh | None = None
    ) -> tuple[jax.Array, PromptCache]:
        """Reads whole prompts.

        Args:
            prompts: B of them.
            features: ``[S, M, *feature_shape]``: a prompt among the s-th of S equal parts of B
                shows rows of part s. None: ``prompts.images`` are encoded.
            mesh: The devices, each of which reads the prompts of its own shard.

        Returns:
            Hidden states ``[B, T, D]``, and the prefix that responses to these prompts take.
        """

    def read_with_responses(
        self,
        prompts: PromptInputs,
        tokens: jax.Array,
        start: Array,
        valid: Array,
        remat: Remat = "none",
        mesh: Mesh | None = None,
        running: Sequence[jax.Array] | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Reads B whole prompts, and N whole responses to each of them beside it.

        Args:
            prompts: Their ``images`` are of S shards, ``[S, ...]``; see `encode_shards`.
            tokens: int ``[B, N, R]``.
            start: int ``[B]``, the position of a response's first token.
            valid: bool ``[B, N, R]``, False at padding.
            remat: What the backward pass computes again.
            mesh: The devices, each of which reads the prompts of its own shard.
            running: Where the gradients of the text layers are added up, an array for each of their
                parameters; see `perl_jax.models.layers.scan_layers_adding`.

        Returns:
            Hidden states ``[B, T, D]`` and ``[B, N, R, D]``.
        """

    def decode(
        self,
        tokens: jax.Array,
        positions: jax.Array,
        valid: jax.Array,
        prefix: PromptCache,
        cache: ResponseCache,
        slot: jax.Array | int,
    ) -> tuple[jax.Array, ResponseCache]:
        """Reads the next token of N responses to each of B prompts.

        Args:
            tokens: int ``[B, N]``.
            positions: int ``[B, N]``.
            valid: bool ``[B, N, S]``, the slots of the cache that a response attends to, this
                token's among them.
            prefix: What `prefill` returned.
            cache: `ResponseCache.empty`, or what the last call returned.
            slot: Where in the cache this token's keys and values are written.

        Returns:
            Hidden states ``[B, N, D]``, and the cache.
        """

    def unembed(self, hidden: jax.Array) -> jax.Array:
        """Logits, float32 ``[..., V]``, of hidden states ``[..., D]``."""

    def logits(self, prompt: Prompt) -> jax.Array:
        """Next-token logits at every token of one prompt: float32 ``[T, V]``."""
