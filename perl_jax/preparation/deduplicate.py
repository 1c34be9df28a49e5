"""Drops near-duplicates: rows that ask the same about images that look the same."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from perl_jax.data.pipeline.rows import Skipped
from perl_jax.data.sources.source import Source
from perl_jax.preparation.image_hash import Distance, distances, hashed_rows
from perl_jax.preparation.stage import Context, KeptRow, Outcome, dropped
from perl_jax.settings import Checked
from perl_jax.types import Example, conversation_text


@dataclass(frozen=True)
class DeduplicateConfig(Checked):
    """When images look the same.

    Attributes:
        max_distance: The most bits in which the hashes (`image_hash`) of same images differ.
    """

    max_distance: Distance = 6


def deduplicate_rows(
    source: Source, config: DeduplicateConfig, context: Context
) -> Iterator[Outcome]:
    """Keeps the first of several equal rows and drops the others as ``duplicate``, with its id.

    Equal rows have the same words as question, options and answer, and images that look the same,
    one by one.
    """
    # The ids and hashes of kept rows, by text and number of images.
    kept: dict[tuple[str, int], tuple[list[str], list[np.ndarray]]] = {}
    for row in hashed_rows(source):
        if isinstance(row, Skipped):
            yield row
            continue
        example, hashes = row
        ids, others = kept.setdefault((_normalised_text(example), len(hashes)), ([], []))
        if others:
            near = (distances(np.stack(others), hashes) <= config.max_distance).all(axis=1)
            if near.any():
                yield dropped(example, "duplicate", ids[int(np.argmax(near))])
                continue
        ids.append(example.id)
        others.append(hashes)
        yield KeptRow(example)


def _normalised_text(example: Example) -> str:
    """Question, options and answer, without case, extra spaces and compatibility forms."""
    text = unicodedata.normalize("NFKC", f"{conversation_text(example)}\n{example.answer}")
    return " ".join(text.split()).casefold()
