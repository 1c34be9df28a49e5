"""Images as rows of patches, for the vision towers of all families."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from perl_jax.attention import KeyValues, attend
from perl_jax.buckets import bucket
from perl_jax.kernels import Bounds, Kernel
from perl_jax.models.policy import Array
from perl_jax.models.sizes import VisionSizes
from perl_jax.types import ImagePatches


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Segments:
    """S runs of at most n consecutive patches, each attending within itself.

    Attributes:
        patches: int32 ``[S, n]``, the patch at each place of a run; 0 beyond its end.
        valid: bool ``[S, n]``, False beyond a run's end.
        place: int32 ``[P]``, the place of each patch in the flattened ``[S * n]``.
    """

    patches: Array
    valid: Array
    place: Array

    def bounds(self) -> Bounds:
        """The first and the last patch that a patch attends to: int32 ``[P]``; no run: none."""
        valid, place = jnp.asarray(self.valid), jnp.asarray(self.place)
        sizes = jnp.sum(valid, axis=1, dtype=jnp.int32)
        ends = jnp.cumsum(sizes)
        run = place // valid.shape[1]
        in_run = jnp.arange(len(place)) < ends[-1]
        first = jnp.where(in_run, (ends - sizes)[run], 0)
        return Bounds(first, jnp.where(in_run, ends[run] - 1, -1))


def segments(
    lengths: Sequence[int] | np.ndarray, num_patches: int, num_segments: int, longest: int
) -> Segments:
    """Cuts P patches into S runs of these lengths, padded to n = ``longest`` patches.

    Runs follow each other from patch 0 on. Patches beyond the last run belong to none; runs beyond
    ``lengths`` are empty.
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


def attend_within(segments: Segments, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Attention of patches ``[P, H, F]`` to the patches of their own segment."""
    q, k, v = (x[segments.patches][:, None] for x in (q, k, v))
    out = attend(q, KeyValues(k, v, jnp.asarray(segments.valid)[:, None]))
    return out.reshape(-1, *out.shape[-2:])[segments.place]


def attend_in_a_row(
    bounds: Bounds, seen: float, kernel: Kernel, q: jax.Array, k: jax.Array, v: jax.Array
) -> jax.Array:
    """Attention of patches ``[P, H, F]`` to those between bounds ``[P]``, in one row.

    A kernel reads only what it compares, so that no run is padded. ``seen`` is the number of
    patches that a patch is expected to see.
    """
    kernel = kernel.seeing(seen / len(k))
    own = KeyValues(k[None, None], v[None, None], jnp.ones((1, 1, len(k)), bool))
    first, last = (bound[None, None] for bound in bounds)
    out = attend(q[None, None], own, query_slots=last, query_starts=first, kernel=kernel)
    return out[0, 0]


def patch_coordinates(grid: tuple[int, int], merge: int) -> np.ndarray:
    """Row and column of each patch of an image, unit after unit: int ``[P, 2]``."""
    rows, columns = grid
    raster = np.stack(np.divmod(np.arange(rows * columns), columns), axis=-1)
    units = raster.reshape(rows // merge, merge, columns // merge, merge, 2)
    return units.transpose(0, 2, 1, 3, 4).reshape(-1, 2)


def one_frame(image: ImagePatches, vision: VisionSizes) -> np.ndarray:
    """The first frame of each patch of a still image, ``[P, frame_width]``; the others equal it."""
    frames = (len(image.patches), vision.in_channels, vision.temporal_patch_size, -1)
    return image.patches.reshape(frames)[:, :, 0].reshape(-1, vision.frame_width)


def padded_sizes(
    rows: Sequence[Sequence[tuple[int, int]]],
    unit: int,
    num_patches: int | None,
    num_images: int | None,
) -> tuple[int, int, int]:
    """Sizes that hold each of several rows of images: patches, images, patches of the longest.

    With given patches, there is room for as many images as they can hold, so that calls of fewer
    images have the same shapes. ``unit`` patches become one image token.
    """
    patches = [[height * width for height, width in row] for row in rows]
    # Attention over whole images is quadratic in the longest: padding it costs twice.
    longest = bucket(max(max(row, default=0) for row in patches) // unit, steps=8) * unit
    least = max(1, (num_patches or 0) // longest)
    return (
        num_patches or bucket(max(map(sum, patches)) // unit) * unit,
        num_images or bucket(max(map(len, rows)), minimum=least),
        longest,
    )


def check_room(images: Sequence[ImagePatches], patches: int, unit: int) -> None:
    """Raises ValueError if images have more patches, or the patches are no whole units."""
    count = sum(len(image.patches) for image in images)
    if count > patches or patches % unit:
        raise ValueError(
            f"sizes.patches: expected a multiple of {unit}, at least {count}, got {patches}"
        )


def check_images(images: Sequence[ImagePatches], merge: int, patch_width: int) -> None:
    """Raises ValueError for an image whose patches do not fit its grid or the vision tower."""
    for number, image in enumerate(images, start=1):
        rows, columns = image.grid
        if rows % merge or columns % merge or rows * columns == 0:
            raise ValueError(
                f"image {number}: grid: expected positive multiples of {merge}, got {image.grid}"
            )
        expected = (rows * columns, patch_width)
        if image.patches.shape != expected:
            raise ValueError(
                f"image {number}: patches: expected {expected} for a grid of {image.grid}, "
                f"got {image.patches.shape}"
            )
