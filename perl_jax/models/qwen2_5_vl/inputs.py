"""From prompts to the padded arrays that the model reads, computed on the host with NumPy.

The order of patches, the windows and the images are data, not control flow: one compiled program
serves every combination of image sizes that fits its padded sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import jax
import numpy as np

from perl_jax.buckets import bucket
from perl_jax.models.qwen2_5_vl.config import Qwen2_5_VLConfig, VisionConfig
from perl_jax.types import ImagePatches, Prompt

# NumPy on the host, traced arrays inside a compiled program.
Array = jax.Array | np.ndarray


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Segments:
    """Runs of consecutive patches that attend within themselves, as a gather and its inverse.

    Attributes:
        patches: int32 ``[S, n]``, the patch at each place of each run; 0 beyond a run's end.
        valid: bool ``[S, n]``, False beyond a run's end.
        place: int32 ``[P]``, where in the flattened ``[S * n]`` each patch stands.
    """

    patches: Array
    valid: Array
    place: Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ImageInputs:
    """All images of a batch as one row of patches, in the order of the attention windows.

    Devices that each encode images of their own have a row each: all arrays then have a leading
    axis of shards.

    Attributes:
        patches: float32 ``[P, patch_width]``.
        coordinates: int32 ``[P, 2]``, row and column of each patch in its image.
        windows: The attention windows.
        images: The images.
        reading_order: int32 ``[M]``: merged feature m of the result (image after image, units in
            raster order) is computed at this unit of the window order.
    """

    patches: Array
    coordinates: Array
    windows: Segments
    images: Segments
    reading_order: Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PromptInputs:
    """A batch of prompts, padded on the right.

    Attributes:
        tokens: int32 ``[B, T]``.
        positions: int32 ``[3, B, T]``; 0 at padding.
        valid: bool ``[B, T]``, False at padding.
        feature_rows: int32 ``[B, T]``, the merged image feature that stands at a token, or -1.
        images: The batch's images in reading order, or None if there are none.
    """

    tokens: Array
    positions: Array
    valid: Array
    feature_rows: Array
    images: ImageInputs | None


def window_order(grid: tuple[int, int], vision: VisionConfig) -> tuple[np.ndarray, np.ndarray]:
    """Orders the units of one image by attention window.

    Windows tile the image from its top left corner; those at the right and bottom edges are
    smaller. Windows are in raster order, as are the units of a window.

    Args:
        grid: Rows and columns of the image in patches.
        vision: Gives the sides of a unit and of a window.

    Returns:
        int ``[M]``, the raster number of the unit at each place of the window order, and
        int ``[windows]``, the number of units in each window.
    """
    rows, columns = (side // vision.spatial_merge_size for side in grid)
    side = vision.window_units
    row, column = np.divmod(np.arange(rows * columns), columns)
    window = row // side * -(-columns // side) + column // side
    return np.argsort(window, kind="stable"), np.bincount(window)


def patch_coordinates(grid: tuple[int, int], merge: int) -> np.ndarray:
    """Row and column of every patch of an image, unit after unit: int ``[P, 2]``."""
    rows, columns = grid
    raster = np.stack(np.divmod(np.arange(rows * columns), columns), axis=-1)
    units = raster.reshape(rows // merge, merge, columns // merge, merge, 2)
    return units.transpose(0, 2, 1, 3, 4).reshape(-1, 2)


def segments(
    lengths: Sequence[int] | np.ndarray, num_patches: int, num_segments: int, longest: int
) -> Segments:
    """Builds the gather for consecutive runs of these lengths.

    Args:
        lengths: Patches of each run; the runs follow each other from patch 0 on.
        num_patches: P, at least the sum of ``lengths``; patches beyond it belong to no run.
        num_segments: S, at least the number of runs; runs beyond it are empty.
        longest: n, at least the longest run.
    """
    sizes = np.zeros(num_segments, np.int64)
    sizes[: len(lengths)] = lengths
    starts = np.cumsum(sizes) - sizes
    offsets = np.arange(longest)
    valid = offsets[None, :] < sizes[:, None]
    patches = np.where(valid, starts[:, None] + offsets[None, :], 0)
    place = np.zeros(num_patches, np.int64)
    place[patches[valid]] = np.flatnonzero(valid)
    return Segments(patches.astype(np.int32), valid, place.astype(np.int32))


@dataclass(frozen=True)
class ImageSizes:
    """The padded sizes of packed images.

    Attributes:
        patches: P, a multiple of the patches in a unit.
        images: How many images there is room for.
        windows: How many attention windows.
        longest: Patches of the largest image; attention over whole images is padded to it.
    """

    patches: int
    images: int
    windows: int
    longest: int

    @classmethod
    def of(
        cls,
        rows: Sequence[Sequence[tuple[int, int]]],
        vision: VisionConfig,
        *,
        num_patches: int | None = None,
        num_images: int | None = None,
    ) -> "ImageSizes":
        """The sizes that hold each of several rows of images.

        Args:
            rows: The grids of the images of each row; a row may be empty.
            vision: The vision tower's configuration.
            num_patches: P; by default the `bucket` of the longest row.
            num_images: By default the `bucket` of the most.
        """
        unit = vision.patches_per_unit
        patches = [[height * width for height, width in row] for row in rows]
        windows = [sum(len(window_order(grid, vision)[1]) for grid in row) for row in rows]
        return cls(
            patches=num_patches or bucket(max(map(sum, patches)) // unit) * unit,
            images=num_images or bucket(max(map(len, rows))),
            windows=bucket(max(windows), minimum=num_images or 1),
            # Attention over whole images is quadratic in the longest: padding it costs twice.
            longest=bucket(max(max(row, default=0) for row in patches) // unit, steps=8) * unit,
        )


def pack_images(
    images: Sequence[ImagePatches], vision: VisionConfig, sizes: ImageSizes | None = None
) -> ImageInputs:
    """Packs images of any sizes into one padded row of patches.

    Args:
        images: In the order in which their features shall come out; none give a row of padding.
        vision: The vision tower's configuration.
        sizes: The padded sizes; by default those that just hold the images.

    Raises:
        ValueError: an image's patches do not fit its grid or the vision tower, or the sizes.
    """
    for number, image in enumerate(images, start=1):
        _check_image(number, image, vision)
    unit = vision.patches_per_unit
    sizes = sizes or ImageSizes.of([[image.grid for image in images]], vision)
    lengths = [len(image.patches) for image in images]
    if sum(lengths) > sizes.patches or sizes.patches % unit:
        raise ValueError(
            f"sizes.patches: expected a multiple of {unit}, at least {sum(lengths)}, got "
            f"{sizes.patches}"
        )
    patches = np.zeros((sizes.patches, vision.patch_width), np.float32)
    coordinates = np.zeros((sizes.patches, 2), np.int32)
    reading_order = np.arange(sizes.patches // unit, dtype=np.int32)
    windows: list[int] = []
    bounds = np.cumsum([0, *lengths])
    for image, (start, stop) in zip(images, pairwise(bounds), strict=True):
        order, window_units = window_order(image.grid, vision)
        windows += (window_units * unit).tolist()
        by_unit = image.patches.reshape(len(order), unit, -1)
        patches[start:stop] = by_unit[order].reshape(stop - start, -1)
        where = patch_coordinates(image.grid, vision.spatial_merge_size)
        coordinates[start:stop] = where.reshape(-1, unit, 2)[order].reshape(-1, 2)
        reading_order[start // unit : stop // unit] = start // unit + np.argsort(order)
    return ImageInputs(
        patches=patches,
        coordinates=coordinates,
        windows=segments(windows, sizes.patches, sizes.windows, vision.window_units**2 * unit),
        images=segments(lengths, sizes.patches, sizes.images, sizes.longest),
        reading_order=reading_order,
    )


def pack_prompts(
    prompts: Sequence[Prompt], config: Qwen2_5_VLConfig, *, length: int | None = None
) -> PromptInputs:
    """Pads prompts to one length and packs their images.

    Args:
        prompts: At least one; with different numbers of images, or none.
        config: The model's configuration.
        length: T; by default the `bucket` of the longest prompt.

    Raises:
        ValueError: a prompt is empty, or its image tokens are not as many as its images' features.
    """
    if not prompts:
        raise ValueError("prompts: expected at least one, got none")
    shape = (len(prompts), length or bucket(max(len(prompt.tokens) for prompt in prompts)))
    tokens = np.zeros(shape, np.int32)
    positions = np.zeros((3, *shape), np.int32)
    valid = np.zeros(shape, bool)
    feature_rows = np.full(shape, -1, np.int32)
    next_row = 0
    for row, prompt in enumerate(prompts):
        end = len(prompt.tokens)
        rows = _feature_rows(row, prompt, config, next_row)
        next_row = max(next_row, rows.max() + 1)
        tokens[row, :end] = prompt.tokens
        positions[:, row, :end] = prompt.positions
        valid[row, :end] = True
        feature_rows[row, :end] = rows
    images = [image for prompt in prompts for image in prompt.images]
    packed = pack_images(images, config.vision) if images else None
    return PromptInputs(tokens, positions, valid, feature_rows, packed)


def _feature_rows(row: int, prompt: Prompt, config: Qwen2_5_VLConfig, next_row: int) -> np.ndarray:
    if len(prompt.tokens) == 0:
        raise ValueError(f"prompt {row}: expected at least one token, got none")
    is_image = np.asarray(prompt.tokens) == config.image_token
    features = sum(len(i.patches) for i in prompt.images) // config.vision.patches_per_unit
    if is_image.sum() != features:
        raise ValueError(
            f"prompt {row}: expected as many image tokens as image features, "
            f"got {is_image.sum()} tokens and {features} features of {len(prompt.images)} images"
        )
    return np.where(is_image, next_row + np.cumsum(is_image) - 1, -1)


def _check_image(number: int, image: ImagePatches, vision: VisionConfig) -> None:
    rows, columns = image.grid
    merge = vision.spatial_merge_size
    if rows % merge or columns % merge or rows * columns == 0:
        raise ValueError(
            f"image {number}: grid: expected positive multiples of {merge}, got {image.grid}"
        )
    expected = (rows * columns, vision.patch_width)
    if image.patches.shape != expected:
        raise ValueError(
            f"image {number}: patches: expected {expected} for a grid of {image.grid}, "
            f"got {image.patches.shape}"
        )
