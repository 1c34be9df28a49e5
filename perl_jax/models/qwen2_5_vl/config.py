"""The model's configuration, read from a config.json in the hub's layout or in transformers 5's.

Every number of the text model comes from the file: published files differ from the defaults of
transformers' classes. Of the vision tower, transformers 4.49 leaves out what equals these defaults.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

from jax.sharding import PartitionSpec

from perl_jax.buckets import bucket
from perl_jax.models.config_file import Section
from perl_jax.models.patches import padded_sizes
from perl_jax.models.qwen2_5_vl.inputs import ImageSizes, window_order
from perl_jax.models.qwen2_5_vl.sharding import SHARDING
from perl_jax.models.qwen2_5_vl.sizes import VisionConfig
from perl_jax.models.sizes import (
    TextConfig,
    VisionLanguageConfig,
    check_widths,
    read_text_config,
    read_vision_sizes,
)

# The defaults of transformers' Qwen2_5_VLVisionConfig, the same in 4.49 to 5.
_VISION_DEFAULTS: Mapping[str, Any] = {
    "depth": 32,
    "hidden_size": 3584,
    "hidden_act": "silu",
    "intermediate_size": 3420,
    "num_heads": 16,
    "in_channels": 3,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "window_size": 112,
    "out_hidden_size": 3584,
    "fullatt_block_indexes": [7, 15, 23, 31],
}


@dataclass(frozen=True)
class Qwen2_5_VLConfig(VisionLanguageConfig):
    """The whole model: a `perl_jax.models.policy.PolicyConfig`."""

    vision: VisionConfig
    model_type: str = "qwen2_5_vl"

    sharding_table: ClassVar[Mapping[str, PartitionSpec]] = SHARDING

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """``(1, D)``: what stands in the place of a token, and nothing that is added later."""
        return (1, self.text.hidden_size)

    def image_sizes(
        self,
        rows: Sequence[Sequence[tuple[int, int]]],
        *,
        num_patches: int | None = None,
        num_images: int | None = None,
    ) -> ImageSizes:
        """The padded sizes that hold each of several rows of images.

        With given patches, there is room for as many images and windows as they can hold, so that
        calls of fewer images have the same shapes.
        """
        unit, side = self.patches_per_unit, self.vision.window_units
        patches, images, longest = padded_sizes(rows, unit, num_patches, num_images)
        windows = [sum(len(window_order(grid, self.vision)[1]) for grid in row) for row in rows]
        fewest = max((num_patches or 0) // (side**2 * unit), images if num_patches else 1)
        return ImageSizes(
            vision=self.vision,
            patches=patches,
            images=images,
            windows=bucket(max(windows), minimum=fewest),
            longest=longest,
        )

    def image_operations(self, grid: tuple[int, int]) -> int:
        """Floating-point operations of encoding one image."""
        return self.vision.operations(grid[0] * grid[1], self.image_pairs(grid))

    def image_pairs(self, grid: tuple[int, int]) -> int:
        """Pairs of patches that see each other, in all blocks together."""
        vision = self.vision
        patches = grid[0] * grid[1]
        # Sides of the windows, in units; the last one of a row or column may be shorter.
        step, sides = vision.window_units, (side // self.merge_size for side in grid)
        windows = ([min(step, n - start) for start in range(0, n, step)] for n in sides)
        unit = vision.patches_per_unit
        in_windows = sum((unit * rows * columns) ** 2 for rows, columns in product(*windows))
        full = len(vision.full_attention_blocks)
        return full * patches**2 + (vision.depth - full) * in_windows


def parse_config(content: Mapping[str, Any], where: str = "config.json") -> Qwen2_5_VLConfig:
    """Builds the configuration from a config.json of either layout; ValueError names the field."""
    root = Section(content, where)
    # The hub's layout has text fields at the top level and rope_scaling; that of transformers 5 has
    # text_config and rope_parameters.
    text_section = root.section("text_config") if "text_config" in content else root
    text = _text(text_section)
    vision = _vision(root.section("vision_config").over(_VISION_DEFAULTS))
    check_widths(text, vision, where)
    # Saves of transformers 4.5x have the flag inside text_config.
    flags = [root.get("tie_word_embeddings", False), text_section.get("tie_word_embeddings", False)]
    return Qwen2_5_VLConfig(
        text=text, vision=vision, tied=any(flags), image_token=root.integer("image_token_id")
    )


def _text(section: Section) -> TextConfig:
    section.only("use_sliding_window", False)
    section.divides("num_attention_heads", "hidden_size")
    head_dim = section.size("hidden_size") // section.size("num_attention_heads")
    if "rope_parameters" in section.content:
        rope = section.section("rope_parameters")
        theta = rope.number("rope_theta")
    else:
        rope = section.section("rope_scaling")
        theta = section.number("rope_theta")
    # "mrope" is the hub's name for the plain frequencies; transformers renames it to "default".
    rope.only("type", "mrope", "default")
    rope.only("rope_type", "default", "mrope")
    return read_text_config(section, rope, rope_theta=theta, head_dim=head_dim)


def _vision(section: Section) -> VisionConfig:
    section.only("hidden_act", "silu")
    # The hub's files say in_chans, transformers' class in_channels.
    channels = "in_chans" if "in_chans" in section.content else "in_channels"
    config = VisionConfig(
        **read_vision_sizes(section, channels=channels),
        window_size=section.size("window_size"),
        full_attention_blocks=section.integers("fullatt_block_indexes"),
    )
    if config.window_units == 0:
        raise ValueError(
            f"{section.where}: window_size: expected at least patch_size x spatial_merge_size, "
            f"got {config.window_size}"
        )
    outside = [n for n in config.full_attention_blocks if not 0 <= n < config.depth]
    if outside:
        raise ValueError(
            f"{section.where}: fullatt_block_indexes: expected numbers below the depth "
            f"{config.depth}, got {outside}"
        )
    return config
