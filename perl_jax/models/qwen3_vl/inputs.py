"""Packing images into the padded arrays that the vision tower reads, on the host with NumPy."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import jax
import numpy as np

from perl_jax.models.patches import (
    Segments,
    check_images,
    check_room,
    one_frame,
    patch_coordinates,
    segments,
)
from perl_jax.models.policy import Array
from perl_jax.models.qwen3_vl.sizes import VisionConfig
from perl_jax.types import ImagePatches


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PackedImages:
    """A batch's images as one row of patches, unit after unit.

    Attributes:
        patches: float32 ``[P, frame_width]``.
        coordinates: int32 ``[P, 2]``, row and column of each patch in its image.
        neighbours: int32 ``[P, 4]``, the rows of the table of learned positions around a patch.
        shares: float32 ``[P, 4]``, the share of each; they sum to 1, and to 0 at padding.
        images: Which patches attend to each other.
    """

    patches: Array
    coordinates: Array
    neighbours: Array
    shares: Array
    images: Segments


def learned_positions(
    coordinates: np.ndarray, grid: tuple[int, int], side: int
) -> tuple[np.ndarray, np.ndarray]:
    """The neighbours and shares of an image's patches ``[P, 2]``; see `PackedImages`.

    The table is a square of ``side`` rows, resampled linearly so that its corners lie on those of
    the image.
    """
    spans = np.maximum(np.array(grid) - 1, 1).astype(np.float32)
    where = coordinates.astype(np.float32) * np.float32(side - 1) / spans
    low = np.floor(where).astype(np.int32)
    high = np.minimum(low + 1, side - 1)
    (y0, x0), (y1, x1), (b, a) = low.T, high.T, (where - low).T
    neighbours = np.stack([y0 * side + x0, y0 * side + x1, y1 * side + x0, y1 * side + x1], axis=-1)
    shares = np.stack([(1 - b) * (1 - a), (1 - b) * a, b * (1 - a), b * a], axis=-1)
    return neighbours, shares.astype(np.float32)


@dataclass(frozen=True)
class ImageSizes:
    """The padded sizes of packed images.

    Attributes:
        patches: P, a multiple of the patches in a unit.
        images: The most images.
        longest: The most patches of an image; attention is padded to it.
    """

    vision: VisionConfig
    patches: int
    images: int
    longest: int

    def pack(self, images: Sequence[ImagePatches]) -> PackedImages:
        """Packs images, in the order of their features, into one padded row of patches.

        Raises:
            ValueError: An image's patches do not fit its grid, the vision tower or these sizes.
        """
        vision = self.vision
        check_images(images, vision.spatial_merge_size, vision.patch_width)
        check_room(images, self.patches, vision.patches_per_unit)
        patches = np.zeros((self.patches, vision.frame_width), np.float32)
        coordinates = np.zeros((self.patches, 2), np.int32)
        neighbours = np.zeros((self.patches, 4), np.int32)
        shares = np.zeros((self.patches, 4), np.float32)
        lengths = [len(image.patches) for image in images]
        for image, bounds in zip(images, pairwise(np.cumsum([0, *lengths])), strict=True):
            own = slice(*bounds)
            patches[own] = one_frame(image, vision)
            coordinates[own] = patch_coordinates(image.grid, vision.spatial_merge_size)
            neighbours[own], shares[own] = learned_positions(
                coordinates[own], image.grid, vision.positions_side
            )
        packed = segments(lengths, self.patches, self.images, self.longest)
        return PackedImages(patches, coordinates, neighbours, shares, packed)
