"""Perceptual hashes: images that look alike have hashes that differ in few bits.

A difference hash of our own: ImageHash would bring PyWavelets and SciPy for the same dozen lines,
and its 64 bits take line drawings on white for each other.
"""

from array import array
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval
from PIL import Image

from perl_jax.data.pipeline.rows import Skipped
from perl_jax.data.sources.source import Source
from perl_jax.preparation.stage import map_rows
from perl_jax.processing import ImageError, load_rgb
from perl_jax.settings import Expects
from perl_jax.types import Example

_SIDE = 16
WORDS = 2 * _SIDE * _SIDE // 64
"""A hash has so many 64-bit words."""
Distance = Annotated[int, Interval(ge=0, le=WORDS - 1), Expects(f"0 to {WORDS - 1} bits")]
"""Bits in which hashes may differ and still be found."""

# Steps of brightness that count as none: compression makes as many in flat areas.
_FLAT = 4
# Decoding and resizing leave the interpreter to others.
_THREADS = 4


def image_hash(image: Any) -> np.ndarray:
    """The hash of an image: where it becomes brighter, to the right and downwards, on 16 x 16.

    An image saved again as JPEG of quality 95 differs in up to 5 bits (in up to 6 at quality 75, if
    it is a photograph of 200 pixels or more); different photographs, drawings and handwritten
    digits differ in 10 or more. Drawings that differ in a small label alone may have one hash.

    Returns:
        uint64 ``[WORDS]``.

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
    """The bits in which each of N hashes differs from one: int64 ``[N]``.

    N hashes of I images each are compared with those of I images: ``[N, I]``.
    """
    return np.bitwise_count(hashes_NxW ^ hash_W).sum(axis=-1, dtype=np.int64)


def hashed_rows(source: Source) -> Iterator[tuple[Example, np.ndarray] | Skipped]:
    """All rows in order: an example and uint64 ``[I, WORDS]``, or why it cannot be used."""
    return map_rows(source, _hashed, _THREADS)


def _hashed(row: Example) -> tuple[Example, np.ndarray] | Skipped:
    hashes = np.empty((len(row.images), WORDS), np.uint64)
    for number, image in enumerate(row.images):
        try:
            hashes[number] = image_hash(image)
        except ImageError as error:
            return Skipped("bad_image", row.id, f"image {number + 1}: {error}")
    return row, hashes


class NearImages:
    """Numbers different hashes, and finds the earlier ones near each.

    Hashes that differ in fewer bits than they have words agree in a whole word: only hashes that
    share a word are compared.

    Args:
        max_distance: The most bits in which near hashes differ, a `Distance`.
    """

    def __init__(self, max_distance: int) -> None:
        self._max_distance = max_distance
        self._numbers: dict[bytes, int] = {}
        self._hashes = np.empty((1024, WORDS), np.uint64)
        self._buckets: dict[tuple[int, int], array[int]] = {}

    def add(self, hash_W: np.ndarray) -> tuple[int, tuple[int, ...]]:
        """The number of a hash, and those of earlier near ones; none where it is not new."""
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
            # A copy: an array that is looked into cannot grow.
            others = np.array(bucket, np.int64)
            close = distances(self._hashes[others], hash_W) <= self._max_distance
            near.update(others[close].tolist())
            bucket.append(number)
        return number, tuple(sorted(near))
