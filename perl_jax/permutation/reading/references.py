"""Finds the words of a text that name images by their place."""

from perl_jax.permutation.reading.doubts import find_doubts
from perl_jax.permutation.reading.gapped import read_gapped
from perl_jax.permutation.reading.numbered import read_numbers
from perl_jax.permutation.reading.places import read_places
from perl_jax.permutation.reading.scan import Reader, Scan


def read_references(text: str, reader: Reader) -> Scan:
    """Reads a text whose placeholders and captions are masked.

    Returns:
        Its mentions and runs, which a new order rewrites, and its doubts, which may forbid one.
    """
    scan = Scan(text, reader)
    read_places(scan)
    read_numbers(scan)
    read_gapped(scan)
    find_doubts(scan)
    return scan
