"""The sizes of the vision tower."""

import math
from dataclasses import dataclass
from typing import ClassVar

from perl_jax.models.sizes import VisionSizes


@dataclass(frozen=True)
class VisionConfig(VisionSizes):
    """The vision tower.

    Attributes:
        num_position_embeddings: Rows of the square table of learned positions.
        deepstack_blocks: The K blocks after which DeepStack takes features, ascending.
    """

    num_position_embeddings: int
    deepstack_blocks: tuple[int, ...]

    mlp_matrices: ClassVar[int] = 2

    @property
    def positions_side(self) -> int:
        """Side of the square that the learned positions cover."""
        return math.isqrt(self.num_position_embeddings)
