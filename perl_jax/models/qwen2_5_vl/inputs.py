"""Packing images into the padded arrays that the vision tower reads, on the host with NumPy.

Patch order, windows and images are data, not control flow: one compiled program serves every
combination of image sizes that fits its padded sizes.
"""

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
from perl_jax.models.qwen2_5_vl.sizes import VisionConfig
from perl_jax.types import ImagePatches


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class WindowedImages:
    """A batch's images as one row of patches, in the order of the attention windows.

    Attributes:
        patches: float32 ``[P, frame_width]``.
        coordinates: int32 ``[P, 2]``, row and column of each patch in its image.
        reading_order: int32 ``[M]``: feature m (image after image, units in raster order) is
            computed at this unit of the window order.
    """

    patches: Array
    coordinates: Array
    windows: Segments
    images: Segments
    reading_order: Array


def window_order(grid: tuple[int, int], vision: VisionConfig) -> tuple[np.ndarray, np.ndarray]:
    """Orders the units of one image (a grid of patches) by attention window.

    Windows tile the image from its top left corner; those at the right and bottom edges may be
    smaller. Windows are in raster order, and so are the units of a window. Returns int ``[M]``, the
    raster number of the unit at each place, and int ``[windows]``, the units in each window.
    """
    rows, columns = (side // vision.spatial_merge_size for side in grid)
    side = vision.window_units
    row, column = np.divmod(np.arange(rows * columns), columns)
    window = row // side * -(-columns // side) + column // side
    return np.argsort(window, kind="stable"), np.bincount(window)


@dataclass(frozen=True)
class ImageSizes:
    """The padded sizes of packed images.

    Attributes:
        patches: P, a multiple of the patches in a unit.
        images: The most images.
        windows: The most attention windows.
        longest: The most patches of an image; attention over whole images is padded to it.
    """

    vision: VisionConfig
    patches: int
    images: int
    windows: int
    longest: int

    def pack(self, images: Sequence[ImagePatches]) -> WindowedImages:
        """Packs images, in the order of their features, into one padded row of patches.

        Raises:
            ValueError: An image's patches do not fit its grid, the vision tower or these sizes.
        """
        vision = self.vision
        check_images(images, vision.spatial_merge_size, vision.patch_width)
        unit = vision.patches_per_unit
        check_room(images, self.patches, unit)
        lengths = [len(image.patches) for image in images]
        patches = np.zeros((self.patches, vision.frame_width), np.float32)
        coordinates = np.zeros((self.patches, 2), np.int32)
        reading_order = np.arange(self.patches // unit, dtype=np.int32)
        windows: list[int] = []
        bounds = np.cumsum([0, *lengths])
        for image, (start, stop) in zip(images, pairwise(bounds), strict=True):
            order, window_units = window_order(image.grid, vision)
            windows += (window_units * unit).tolist()
            by_unit = one_frame(image, vision).reshape(len(order), unit, -1)
            patches[start:stop] = by_unit[order].reshape(stop - start, -1)
            where = patch_coordinates(image.grid, vision.spatial_merge_size)
            coordinates[start:stop] = where.reshape(-1, unit, 2)[order].reshape(-1, 2)
            reading_order[start // unit : stop // unit] = start // unit + np.argsort(order)
        return WindowedImages(
            patches=patches,
            coordinates=coordinates,
            windows=segments(windows, self.patches, self.windows, vision.window_units**2 * unit),
            images=segments(lengths, self.patches, self.images, self.longest),
            reading_order=reading_order,
        )
