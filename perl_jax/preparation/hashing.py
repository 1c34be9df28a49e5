"""Rows with the hashes of their images, computed in threads."""

from collections.abc import Iterator

import numpy as np

from perl_jax.data.pipeline.rows import Skipped
from perl_jax.data.sources.source import Source
from perl_jax.preparation.image_hash import WORDS, image_hash
from perl_jax.preparation.stage import ordered_map, read_rows
from perl_jax.processing import ImageError
from perl_jax.types import Example

# Decoding and resizing leave the interpreter to others.
_THREADS = 4


def hashed_rows(source: Source) -> Iterator[tuple[Example, np.ndarray] | Skipped]:
    """All rows in order: an example and uint64 ``[I, WORDS]``, or why it cannot be used."""
    for row, hashes in ordered_map(_hashes, read_rows(source), _THREADS):
        if isinstance(row, Skipped):
            yield row
        elif isinstance(hashes, Skipped):
            yield hashes
        else:
            yield row, hashes


def _hashes(row: Example | Skipped) -> np.ndarray | Skipped:
    if isinstance(row, Skipped):
        return row
    hashes = np.empty((len(row.images), WORDS), np.uint64)
    for number, image in enumerate(row.images):
        try:
            hashes[number] = image_hash(image)
        except ImageError as error:
            return Skipped("bad_image", row.id, f"image {number + 1}: {error}")
    return hashes
