"""Perceptual hashes: images that look alike have hashes that differ in few bits.

ImageHash is not used: it needs PyWavelets and SciPy, and its 64 bits confuse line drawings on
white.
"""

from array import array
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval
from PIL import Image

from perl_jax.data.pipeline.rows import Skipped
from perl_jax.data.sources.source import BadRow, Source
from perl_jax.preparation.stage import map_rows
from perl_jax.processing import ImageError, load_rgb
from perl_jax.settings import Expects
from perl_jax.types import Example

_SIDE = 16
WORDS = 2 * _SIDE * _SIDE // 64
"""The number of 64-bit words of a hash."""
Distance = Annotated[int, Interval(ge=0, le=WORDS - 1), Expects(f"0 to {WORDS - 1} bits")]
"""The most bits in which the hashes of near images differ."""

_FLAT = 4  # compression makes such steps of brightness in flat areas
_THREADS = 4  # decoding and resizing release the GIL


def image_hash(image: Any) -> np.ndarray:
    """The difference hash of an image, uint64 ``[WORDS]``: where it gets brighter, on 16 x 16.

    An image saved as JPEG of quality 95 differs in up to 5 bits (6 at quality 75, for photographs
    of at least 200 pixels); different photographs, drawings and handwritten digits differ in 10 or
    more. Drawings that differ only in a small label may have one hash.

    Raises:
        ImageError: The image cannot be read.
    """
    grey = Image.fromarray(load_rgb(image)).convert("L")
    bits = []
    for size, axis in (((_SIDE + 1, _SIDE), 1), ((_SIDE, _SIDE + 1), 0)):
        pixels = np.asarray(grey.resize(size, Image.Resampling.BOX), np.int16)
        bits.append((np.diff(pixels, axis=axis) > _FLAT).ravel())
    return np.packbits(np.concatenate(bits)).view(np.uint64)


def distances(hashes_NxW: np.ndarray, hash_W: np.ndarray) -> np.ndarray:
    """The bits in which each of N hashes differs from one: int64 ``[N]``; ``[N, I]`` of I each."""
    return np.bitwise_count(hashes_NxW ^ hash_W).sum(axis=-1, dtype=np.int64)


def hashed_rows(source: Source) -> Iterator[tuple[Example, np.ndarray] | Skipped]:
    """Each row's example and hashes, uint64 ``[I, WORDS]``, in order; or why it is unusable."""
    return map_rows(source, _hashed, _THREADS)


def _hashed(row: Example) -> tuple[Example, np.ndarray] | Skipped:
    hashes = np.empty((len(row.images), WORDS), np.uint64)
    for number, image in enumerate(row.images):
        try:
            hashes[number] = image_hash(image)
        except ImageError as error:
            return Skipped.of(BadRow.of(row, "bad_image", f"image {number + 1}: {error}"))
    return row, hashes


class NearImages:
    """Numbers different hashes, and finds earlier ones within ``max_distance`` bits.

    Hashes that differ in fewer bits than they have words share a whole word, so only those that
    share a word are compared.
    """

    def __init__(self, max_distance: int) -> None:
        self._max_distance = max_distance
        self._numbers: dict[bytes, int] = {}
        self._hashes = np.empty((1024, WORDS), np.uint64)
        self._buckets: dict[tuple[int, int], array[int]] = {}

    def add(self, hash_W: np.ndarray) -> tuple[int, tuple[int, ...]]:
        """The number of a hash, and those of earlier near hashes; none if it is not new."""
        key = hash_W.tobytes()
        if key in self._numbers:
            return self._numbers[key], ()
        number = self._numbers[key] = len(self._numbers)
        if number == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.empty_like(self._hashes)])
        self._hashes[number] = hash_W
        near: set[int] = set()
        for place in enumerate(hash_W.tolist()):
            bucket = self._buckets.setdefault(place, array("q"))
            # A copy, as an array with a view cannot grow.
            others = np.array(bucket, np.int64)
            close = distances(self._hashes[others], hash_W) <= self._max_distance
            near.update(others[close].tolist())
            bucket.append(number)
        return number, tuple(sorted(near))
