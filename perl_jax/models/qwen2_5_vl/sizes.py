"""The sizes of the vision tower and of the language model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VisionConfig:
    """The vision tower. ``patch_size`` and ``window_size`` are in pixels."""

    depth: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    out_hidden_size: int
    patch_size: int
    temporal_patch_size: int
    in_channels: int
    spatial_merge_size: int
    window_size: int
    full_attention_blocks: tuple[int, ...]
    # Constants of the published model, in no config.json.
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-6

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def patch_width(self) -> int:
        """Numbers in one flattened patch."""
        return self.in_channels * self.temporal_patch_size * self.patch_size**2

    @property
    def patches_per_unit(self) -> int:
        """Patches of a unit, which is merged into one language-model token."""
        return self.spatial_merge_size**2

    @property
    def block_weights(self) -> int:
        """Numbers in the matrices of one block."""
        return 4 * self.hidden_size**2 + 3 * self.hidden_size * self.intermediate_size

    @property
    def window_units(self) -> int:
        """Side of an attention window, in units."""
        return self.window_size // self.patch_size // self.spatial_merge_size


@dataclass(frozen=True)
class TextConfig:
    """The language model."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    rms_norm_eps: float
    rope_theta: float
    mrope_section: tuple[int, ...]  # three: temporal, height, width

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def layer_weights(self) -> int:
        """Numbers in the matrices of one layer."""
        heads = 2 * (self.num_heads + self.num_kv_heads) * self.head_dim
        return self.hidden_size * (heads + 3 * self.intermediate_size)
