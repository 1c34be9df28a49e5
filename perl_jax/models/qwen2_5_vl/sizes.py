"""The sizes of the vision tower."""

from dataclasses import dataclass
from typing import ClassVar

from perl_jax.models.sizes import VisionSizes


@dataclass(frozen=True)
class VisionConfig(VisionSizes):
    """The vision tower. ``window_size`` is in pixels."""

    window_size: int
    full_attention_blocks: tuple[int, ...]

    mlp_matrices: ClassVar[int] = 3

    @property
    def window_units(self) -> int:
        """Side of an attention window, in units."""
        return self.window_size // self.patch_size // self.spatial_merge_size
