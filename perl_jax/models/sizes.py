"""The sizes that all families have, and what follows from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from jax.sharding import Mesh, NamedSharding, PartitionSpec

from perl_jax.models.cache import CacheSizes
from perl_jax.models.config_file import Section
from perl_jax.models.policy import Traffic
from perl_jax.models.sharding import sharding_by_table


@dataclass(frozen=True)
class TextConfig:
    """The language model."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    mrope_section: tuple[int, ...]  # three: temporal, height, width

    @property
    def layer_weights(self) -> int:
        """Numbers in the matrices of one layer."""
        heads = 2 * (self.num_heads + self.num_kv_heads) * self.head_dim
        return self.hidden_size * (heads + 3 * self.intermediate_size)


@dataclass(frozen=True)
class VisionSizes:
    """A vision tower of equal blocks. ``patch_size`` is in pixels."""

    depth: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    out_hidden_size: int
    patch_size: int
    temporal_patch_size: int
    in_channels: int
    spatial_merge_size: int

    # Constants of the published models, in no config.json.
    rope_theta: ClassVar[float] = 10000.0
    norm_eps: ClassVar[float] = 1e-6
    # The matrices of a block's MLP.
    mlp_matrices: ClassVar[int]

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def patch_width(self) -> int:
        """Numbers in one flattened patch."""
        return self.temporal_patch_size * self.frame_width

    @property
    def frame_width(self) -> int:
        """Numbers in one frame of a patch; all frames of a still image are the same."""
        return self.in_channels * self.patch_size**2

    @property
    def patches_per_unit(self) -> int:
        """Patches of a unit, which is merged into one language-model token."""
        return self.spatial_merge_size**2

    @property
    def block_weights(self) -> int:
        """Numbers in the matrices of one block."""
        mlp = self.mlp_matrices * self.hidden_size * self.intermediate_size
        return 4 * self.hidden_size**2 + mlp

    @property
    def merger_weights(self) -> int:
        """Numbers in the matrices that make a feature of a unit."""
        joined = self.hidden_size * self.patches_per_unit
        return joined**2 + joined * self.out_hidden_size

    def operations(self, patches: int, pairs: int, mergers: int = 1) -> int:
        """Floating-point operations of encoding so many patches.

        ``pairs`` counts each patch with every one it attends to, in all blocks together.
        """
        per_patch = self.frame_width * self.hidden_size + self.depth * self.block_weights
        merged = patches // self.patches_per_unit * mergers * self.merger_weights
        return 2 * (patches * per_patch + merged) + self.attention(pairs)

    def attention(self, pairs: int) -> int:
        """Floating-point operations of attention that compares so many pairs."""
        return 4 * self.hidden_size * pairs


@dataclass(frozen=True)
class VisionLanguageConfig:
    """What of a `perl_jax.models.policy.PolicyConfig` is the same for all families."""

    text: TextConfig
    vision: VisionSizes
    tied: bool
    image_token: int

    # See `perl_jax.models.sharding`.
    sharding_table: ClassVar[Mapping[str, PartitionSpec]]

    @property
    def vocab_size(self) -> int:
        """Rows of the unembedding."""
        return self.text.vocab_size

    @property
    def patch_size(self) -> int:
        """Side of a patch, in pixels."""
        return self.vision.patch_size

    @property
    def merge_size(self) -> int:
        """Side of a unit, in patches."""
        return self.vision.spatial_merge_size

    @property
    def patches_per_unit(self) -> int:
        """Patches of a unit, which is merged into one image token."""
        return self.vision.patches_per_unit

    @property
    def patch_width(self) -> int:
        """Numbers in one flattened patch."""
        return self.vision.patch_width

    @property
    def cache_sizes(self) -> CacheSizes:
        """Layers, key/value heads, and numbers per head."""
        return self.text.num_layers, self.text.num_kv_heads, self.text.head_dim

    @property
    def attention_heads(self) -> tuple[int, int, int]:
        """Heads of queries, heads of keys and values, and numbers per head."""
        return self.text.num_heads, self.text.num_kv_heads, self.text.head_dim

    @property
    def image_attention_heads(self) -> tuple[int, int, int]:
        """As `attention_heads`, of the vision tower."""
        return self.vision.num_heads, self.vision.num_heads, self.vision.head_dim

    def image_pairs(self, grid: tuple[int, int]) -> int:
        """Pairs of patches that see each other, in all blocks together."""
        raise NotImplementedError

    def image_attention(self, grid: tuple[int, int]) -> int:
        """The part of the operations of encoding an image that attention takes."""
        return self.vision.attention(self.image_pairs(grid))

    def image_scores(self, grid: tuple[int, int]) -> int:
        """Attention scores of encoding an image, of all blocks and heads together."""
        return self.vision.num_heads * self.image_pairs(grid)

    def sharding(self, path: str, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
        """The sharding of the parameter at a dotted path."""
        heads = {
            r"text\..*\.(q_proj|o_proj)\..*": self.text.num_heads,
            r"text\..*\.(k_proj|v_proj)\..*": self.text.num_kv_heads,
            r"vision\..*\.attn\.proj\..*": self.vision.num_heads,
            r"vision\..*\.attn\.qkv\..*": 1,
        }
        return sharding_by_table(path, shape, self.sharding_table, heads, mesh)

    def text_operations(self, *, tokens: int, pairs: int, predicted: int) -> int:
        """Floating-point operations of reading tokens and predicting some."""
        text = self.text
        attention = 2 * text.num_heads * text.head_dim * pairs
        layers = text.num_layers * (tokens * text.layer_weights + attention)
        return 2 * (layers + predicted * text.hidden_size * text.vocab_size)

    def traffic(self, tensor: int) -> Traffic:
        """The memory traffic of a pass on one chip."""
        text, vision = self.text, self.vision
        unembedding = text.vocab_size * text.hidden_size / tensor
        # The products of a layer have (weights / width) results per token.
        split = text.layer_weights / text.hidden_size / tensor
        of_mlp = vision.mlp_matrices * vision.intermediate_size
        return Traffic(
            text_weights=text.num_layers * (text.layer_weights / tensor) + unembedding,
            of_token=text.num_layers * (4 * text.hidden_size + split),
            of_pair=text.num_layers * text.num_heads / tensor,
            vision_weights=vision.depth * vision.block_weights,
            of_patch=vision.depth * (8 * vision.hidden_size + of_mlp),
        )


def read_text_config(
    section: Section, rope: Section, *, rope_theta: float, head_dim: int
) -> TextConfig:
    """The sizes of the language model; ``rope`` holds its ``mrope_section``."""
    section.only("hidden_act", "silu")
    section.divides("num_key_value_heads", "num_attention_heads")
    config = TextConfig(
        vocab_size=section.size("vocab_size"),
        hidden_size=section.size("hidden_size"),
        intermediate_size=section.size("intermediate_size"),
        num_layers=section.size("num_hidden_layers"),
        num_heads=section.size("num_attention_heads"),
        num_kv_heads=section.size("num_key_value_heads"),
        head_dim=head_dim,
        rms_norm_eps=section.number("rms_norm_eps"),
        rope_theta=rope_theta,
        mrope_section=rope.integers("mrope_section"),
    )
    if len(config.mrope_section) != 3 or 2 * sum(config.mrope_section) != config.head_dim:
        raise ValueError(
            f"{rope.where}: mrope_section: expected three numbers that sum to "
            f"{config.head_dim // 2}, half the head width, got {list(config.mrope_section)}"
        )
    return config


def read_vision_sizes(section: Section, *, channels: str) -> dict[str, Any]:
    """The fields of `VisionSizes`; ``channels`` is the name of the number of channels."""
    section.divides("num_heads", "hidden_size")
    names = ("depth", "hidden_size", "intermediate_size", "num_heads", "out_hidden_size",
             "patch_size", "temporal_patch_size", "spatial_merge_size")  # fmt: skip
    sizes = {name: section.size(name) for name in names}
    head_dim = sizes["hidden_size"] // sizes["num_heads"]
    if head_dim % 4:
        raise ValueError(
            f"{section.where}: num_heads: expected a head width that is a multiple of 4 "
            f"(row and column angles, each in pairs), got {head_dim}"
        )
    return {**sizes, "in_channels": section.size(channels)}


def check_widths(text: TextConfig, vision: VisionSizes, where: str) -> None:
    """Refuses features of another width than the language model's."""
    if vision.out_hidden_size != text.hidden_size:
        raise ValueError(
            f"{where}: vision_config.out_hidden_size: expected the text model's hidden_size "
            f"{text.hidden_size}, got {vision.out_hidden_size}"
        )
