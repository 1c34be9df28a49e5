"""The model's configuration, read from a config.json in the hub's layout or in transformers 5's.

Every number of the text model comes from the file: published files differ from the defaults of
transformers' classes. Of the vision tower, transformers 4.49 leaves out what equals these defaults.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from jax.sharding import Mesh, NamedSharding

from perl_jax.buckets import bucket
from perl_jax.models.cache import CacheSizes
from perl_jax.models.config_file import Section
from perl_jax.models.policy import Traffic
from perl_jax.models.qwen2_5_vl.inputs import ImageSizes, window_order
from perl_jax.models.qwen2_5_vl.sharding import SHARDING
from perl_jax.models.qwen2_5_vl.sizes import TextConfig, VisionConfig
from perl_jax.models.sharding import sharding_by_table

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
class Qwen2_5_VLConfig:
    """The whole model: a `perl_jax.models.policy.PolicyConfig`."""

    text: TextConfig
    vision: VisionConfig
    tied: bool
    image_token: int
    model_type: str = "qwen2_5_vl"

    @property
    def vocab_size(self) -> int:
        """Rows of the unembedding."""
        return self.text.vocab_size

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """``(D,)``."""
        return (self.text.hidden_size,)

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
        patches = [[height * width for height, width in row] for row in rows]
        windows = [sum(len(window_order(grid, self.vision)[1]) for grid in row) for row in rows]
        # Attention over whole images is quadratic in the longest: padding it costs twice.
        longest = bucket(max(max(row, default=0) for row in patches) // unit, steps=8) * unit
        held = num_patches or 0
        images = num_images or bucket(max(map(len, rows)), minimum=max(1, held // longest))
        fewest = max(held // (side**2 * unit), images if held else 1)
        return ImageSizes(
            vision=self.vision,
            patches=num_patches or bucket(max(map(sum, patches)) // unit) * unit,
            images=images,
            windows=bucket(max(windows), minimum=fewest),
            longest=longest,
        )

    def sharding(self, path: str, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
        """The sharding of the parameter at a dotted path."""
        heads = {
            r"text\..*\.(q_proj|o_proj)\..*": self.text.num_heads,
            r"text\..*\.(k_proj|v_proj)\..*": self.text.num_kv_heads,
            r"vision\..*\.attn\.proj\..*": self.vision.num_heads,
            r"vision\..*\.attn\.qkv\..*": 1,
        }
        return sharding_by_table(path, shape, SHARDING, heads, mesh)

    def image_operations(self, grid: tuple[int, int]) -> int:
        """Floating-point operations of encoding one image."""
        vision = self.vision
        width, unit = vision.hidden_size, vision.patches_per_unit
        patches = grid[0] * grid[1]
        # Sides of the windows, in units; the last one of a row or column may be shorter.
        step, sides = vision.window_units, (side // self.merge_size for side in grid)
        windows = ([min(step, n - start) for start in range(0, n, step)] for n in sides)
        in_windows = sum((unit * rows * columns) ** 2 for rows, columns in product(*windows))
        full = len(vision.full_attention_blocks)
        pairs = full * patches**2 + (vision.depth - full) * in_windows
        per_patch = vision.patch_width * width + vision.depth * vision.block_weights
        joined = width * unit
        merger = joined**2 + joined * vision.out_hidden_size
        return 2 * (patches * per_patch + 2 * width * pairs + patches // unit * merger)

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
        return Traffic(
            text_weights=text.num_layers * (text.layer_weights / tensor) + unembedding,
            of_token=text.num_layers * (4 * text.hidden_size + split),
            of_pair=text.num_layers * text.num_heads / tensor,
            vision_weights=vision.depth * vision.block_weights,
            of_patch=vision.depth * (8 * vision.hidden_size + 3 * vision.intermediate_size),
        )


def parse_config(content: Mapping[str, Any], where: str = "config.json") -> Qwen2_5_VLConfig:
    """Builds the configuration from a config.json of either layout; ValueError names the field."""
    root = Section(content, where)
    # The hub's layout has text fields at the top level and rope_scaling; that of transformers 5 has
    # text_config and rope_parameters.
    text_section = root.section("text_config") if "text_config" in content else root
    text = _text(text_section)
    vision = _vision(root.section("vision_config").over(_VISION_DEFAULTS))
    if vision.out_hidden_size != text.hidden_size:
        raise ValueError(
            f"{where}: vision_config.out_hidden_size: expected the text model's hidden_size "
            f"{text.hidden_size}, got {vision.out_hidden_size}"
        )
    # Saves of transformers 4.5x have the flag inside text_config.
    flags = [root.get("tie_word_embeddings", False), text_section.get("tie_word_embeddings", False)]
    return Qwen2_5_VLConfig(
        text=text, vision=vision, tied=any(flags), image_token=root.integer("image_token_id")
    )


def _text(section: Section) -> TextConfig:
    section.only("hidden_act", "silu")
    section.only("use_sliding_window", False)
    section.divides("num_attention_heads", "hidden_size")
    section.divides("num_key_value_heads", "num_attention_heads")
    if "rope_parameters" in section.content:
        rope = section.section("rope_parameters")
        theta = rope.number("rope_theta")
    else:
        rope = section.section("rope_scaling")
        theta = section.number("rope_theta")
    # "mrope" is the hub's name for the plain frequencies; transformers renames it to "default".
    rope.only("type", "mrope", "default")
    rope.only("rope_type", "default", "mrope")
    config = TextConfig(
        vocab_size=section.size("vocab_size"),
        hidden_size=section.size("hidden_size"),
        intermediate_size=section.size("intermediate_size"),
        num_layers=section.size("num_hidden_layers"),
        num_heads=section.size("num_attention_heads"),
        num_kv_heads=section.size("num_key_value_heads"),
        rms_norm_eps=section.number("rms_norm_eps"),
        rope_theta=theta,
        mrope_section=rope.integers("mrope_section"),
    )
    if len(config.mrope_section) != 3 or 2 * sum(config.mrope_section) != config.head_dim:
        raise ValueError(
            f"{rope.where}: mrope_section: expected three numbers that sum to "
            f"{config.head_dim // 2}, half the head width, got {list(config.mrope_section)}"
        )
    return config


def _vision(section: Section) -> VisionConfig:
    section.only("hidden_act", "silu")
    section.divides("num_heads", "hidden_size")
    config = VisionConfig(
        depth=section.size("depth"),
        hidden_size=section.size("hidden_size"),
        intermediate_size=section.size("intermediate_size"),
        num_heads=section.size("num_heads"),
        out_hidden_size=section.size("out_hidden_size"),
        patch_size=section.size("patch_size"),
        temporal_patch_size=section.size("temporal_patch_size"),
        # The hub's files say in_chans, transformers' class in_channels.
        in_channels=section.size("in_chans" if "in_chans" in section.content else "in_channels"),
        spatial_merge_size=section.size("spatial_merge_size"),
        window_size=section.size("window_size"),
        full_attention_blocks=section.integers("fullatt_block_indexes"),
    )
    if config.head_dim % 4:
        raise ValueError(
            f"{section.where}: num_heads: expected a head width that is a multiple of 4 "
            f"(row and column angles, each in pairs), got {config.head_dim}"
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
