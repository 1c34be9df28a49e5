"""The model's configuration, read from a config.json in the hub's layout or in transformers 5's.

Every number comes from the file: published files differ from the defaults of transformers' classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

from jax.sharding import PartitionSpec

from perl_jax.models.config_file import Section
from perl_jax.models.patches import padded_sizes
from perl_jax.models.policy import Traffic
from perl_jax.models.qwen3_vl.inputs import ImageSizes
from perl_jax.models.qwen3_vl.sharding import SHARDING
from perl_jax.models.qwen3_vl.sizes import VisionConfig
from perl_jax.models.sizes import (
    TextConfig,
    VisionLanguageConfig,
    check_widths,
    read_text_config,
    read_vision_sizes,
)


@dataclass(frozen=True)
class Qwen3VLConfig(VisionLanguageConfig):
    """The whole model: a `perl_jax.models.policy.PolicyConfig`."""

    vision: VisionConfig
    model_type: str = "qwen3_vl"

    sharding_table: ClassVar[Mapping[str, PartitionSpec]] = SHARDING

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """``(1 + K, D)``, with K features of DeepStack."""
        return (1 + len(self.vision.deepstack_blocks), self.text.hidden_size)

    def image_sizes(
        self,
        rows: Sequence[Sequence[tuple[int, int]]],
        *,
        num_patches: int | None = None,
        num_images: int | None = None,
    ) -> ImageSizes:
        """The padded sizes that hold each of several rows of images, as `padded_sizes`."""
        sizes = padded_sizes(rows, self.patches_per_unit, num_patches, num_images)
        return ImageSizes(self.vision, *sizes)

    def image_operations(self, grid: tuple[int, int]) -> int:
        """Floating-point operations of encoding one image."""
        patches, mergers = grid[0] * grid[1], self.feature_shape[0]
        return self.vision.operations(patches, self.image_pairs(grid), mergers)

    def image_pairs(self, grid: tuple[int, int]) -> int:
        """Pairs of patches that see each other, in all blocks together."""
        return self.vision.depth * (grid[0] * grid[1]) ** 2

    def traffic(self, tensor: int) -> Traffic:
        """The memory traffic of a pass on one chip; DeepStack's mergers count as blocks do."""
        of_blocks = super().traffic(tensor)
        deep = len(self.vision.deepstack_blocks) * self.vision.merger_weights
        return replace(of_blocks, vision_weights=of_blocks.vision_weights + deep)


def parse_config(content: Mapping[str, Any], where: str = "config.json") -> Qwen3VLConfig:
    """Builds the configuration from a config.json of either layout; ValueError names the field."""
    root = Section(content, where)
    text_section = root.section("text_config")
    text = _text(text_section)
    vision = _vision(root.section("vision_config"))
    check_widths(text, vision, where)
    if len(vision.deepstack_blocks) > text.num_layers:
        raise ValueError(
            f"{where}: vision_config.deepstack_visual_indexes: expected at most as many as the "
            f"text model has layers, {text.num_layers}, got {len(vision.deepstack_blocks)}"
        )
    # The root counts, as in transformers; the 2B and 4B say it in both places.
    tied = root.get("tie_word_embeddings", text_section.get("tie_word_embeddings", False))
    return Qwen3VLConfig(
        text=text, vision=vision, tied=bool(tied), image_token=root.integer("image_token_id")
    )


def _text(section: Section) -> TextConfig:
    section.only("attention_bias", False)
    if "rope_parameters" in section.content:
        rope = section.section("rope_parameters")
        theta = rope.number("rope_theta")
    else:
        rope = section.section("rope_scaling")
        theta = section.number("rope_theta")
    rope.only("type", "default", "mrope")
    rope.only("rope_type", "default", "mrope")
    # transformers ignores the field and always interleaves.
    rope.only("mrope_interleaved", True)
    head_dim = section.size("head_dim")
    return read_text_config(section, rope, rope_theta=theta, head_dim=head_dim)


def _vision(section: Section) -> VisionConfig:
    section.only("hidden_act", "gelu_pytorch_tanh")
    config = VisionConfig(
        **read_vision_sizes(section, channels="in_channels"),
        num_position_embeddings=section.size("num_position_embeddings"),
        deepstack_blocks=section.integers("deepstack_visual_indexes"),
    )
    if config.positions_side**2 != config.num_position_embeddings:
        raise ValueError(
            f"{section.where}: num_position_embeddings: expected the square of a whole number, "
            f"got {config.num_position_embeddings}"
        )
    blocks = config.deepstack_blocks
    rising = all(low < high for low, high in pairwise((-1, *blocks, config.depth)))
    if not blocks or not rising:
        raise ValueError(
            f"{section.where}: deepstack_visual_indexes: expected ascending numbers below the "
            f"depth {config.depth}, at least one, got {list(blocks)}"
        )
    return config
