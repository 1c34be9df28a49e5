"""Near-duplicates: rows that ask the same of images that look the same."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from perl_jax.data.pipeline.rows import Skipped
from perl_jax.data.sources.source import Source
from perl_jax.preparation.image_hash import Distance, distances, hashed_rows
from perl_jax.preparation.stage import Context, KeptRow, Outcome, dropped
from perl_jax.settings import Checked
from perl_jax.types import Example, prompt_text


@dataclass(frozen=True)
class DeduplicateConfig(Checked):
    """What counts as the same.

    Attributes:
        max_distance: Images look the same where their hashes (`image_hash`) differ in at most so
            many bits.
    """

    max_distance: Distance = 6


@dataclass
class _Alike:
    """The rows kept so far that have one text and one number of images."""

    ids: list[str] = field(default_factory=list)
    hashes: list[np.ndarray] = field(default_factory=list)

    def first_near(self, hashes_IxW: np.ndarray, max_distance: int) -> str | None:
        """The id of the first row of which every image is near."""
        if not self.ids:
            return None
        far = np.zeros(len(self.ids), bool)
        # One image at a time: most rows differ in the first.
        stacked = np.stack(self.hashes)
        for place, hash_W in enumerate(hashes_IxW):
            far |= distances(stacked[:, place], hash_W) > max_distance
        return None if far.all() else self.ids[int(np.argmin(far))]


def deduplicate_rows(
    source: Source, config: DeduplicateConfig, context: Context
) -> Iterator[Outcome]:
    """Keeps the first of several rows that say the same; the others are a ``duplicate``.

    Two rows do where question, options and answer are the same words, and the images look the same,
    one by one. The detail of a duplicate is the id of the row that it repeats.
    """
    kept: dict[tuple[str, int], _Alike] = {}
    for row in hashed_rows(source):
        if isinstance(row, Skipped):
            yield row
            continue
        example, hashes = row
        alike = kept.setdefault((normalised_text(example), len(hashes)), _Alike())
        twin = alike.first_near(hashes, config.max_distance)
        if twin is not None:
            yield dropped(example, "duplicate", twin)
            continue
        alike.ids.append(example.id)
        alike.hashes.append(hashes)
        yield KeptRow(example)


def normalised_text(example: Example) -> str:
    """Question, options and answer, without what only changes their looks: case and spacing."""
    text = unicodedata.normalize("NFKC", f"{prompt_text(example)}\n{example.answer}")
    return re.sub(r"\s+", " ", text).strip().casefold()
