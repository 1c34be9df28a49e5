"""Splits rows into training and held-out rows that share no image."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval

from perl_jax.data.pipeline.rows import Skipped
from perl_jax.data.sources.source import Source
from perl_jax.preparation.image_hash import Distance, NearImages, hashed_rows
from perl_jax.preparation.stage import Context, KeptRow, Outcome, read_rows
from perl_jax.settings import Checked, Expects

TRAIN, HELD_OUT = "train", "held_out"
_HeldOut = Annotated[float, Interval(gt=0, lt=1), Expects("a share above 0 and below 1")]


@dataclass(frozen=True)
class SplitConfig(Checked):
    """How rows are split.

    Attributes:
        held_out: The largest share of held-out rows.
        max_distance: The most bits in which the hashes (`image_hash`) of same images differ.
    """

    held_out: _HeldOut = 0.02
    max_distance: Distance = 6


def split_rows(source: Source, config: SplitConfig, context: Context) -> Iterator[Outcome]:
    """Puts every row into the shard set ``train`` or ``held_out``.

    Rows that are connected by images that look the same stay together. Groups of such rows are held
    out in an order drawn by the seed, as long as the share allows.

    Raises:
        ValueError: Every group is larger than the share allows.
    """
    groups = _groups(source, config.max_distance)
    held = _held_out(groups, config.held_out, context.seed)
    for row, group in zip(read_rows(source), groups, strict=True):
        if isinstance(row, Skipped):
            yield row
        elif isinstance(group, Skipped):
            yield group
        else:
            folder = HELD_OUT if group in held else TRAIN
            yield KeptRow(row, folder, folder)


def _groups(source: Source, max_distance: int) -> list[int | Skipped]:
    """Each row's group, the number of the group's first row; or why it has none."""
    near = NearImages(max_distance)
    of_image: dict[int, int] = {}
    rows = list[int | Skipped]()
    # The rows of each row's group: one shared list per group.
    together = list[list[int]]()
    for row in hashed_rows(source):
        if isinstance(row, Skipped):
            rows.append(row)
            continue
        number = len(together)
        together.append([number])
        for hash_W in row[1]:
            image, others = near.add(hash_W)
            of_image.setdefault(image, number)
            for other in (image, *others):
                _join(together, number, of_image[other])
        rows.append(number)
    return [row if isinstance(row, Skipped) else min(together[row]) for row in rows]


def _join(together: list[list[int]], a: int, b: int) -> None:
    if together[a] is not together[b]:
        fewer, more = sorted((together[a], together[b]), key=len)
        more += fewer
        for row in fewer:
            together[row] = more


def _held_out(groups: Sequence[int | Skipped], share: float, seed: int) -> set[int]:
    sizes = Counter(group for group in groups if not isinstance(group, Skipped))
    room = allowed = int(share * sum(sizes.values()))
    held = set()
    for group in sorted(sizes, key=lambda one: hashlib.sha256(f"{seed} {one}".encode()).digest()):
        if sizes[group] <= room:
            held.add(group)
            room -= sizes[group]
    if not held:
        raise ValueError(
            f"split.held_out: expected some rows to hold out; got {len(sizes)} groups of rows that "
            f"share images, the smallest of {min(sizes.values(), default=0)} rows, where at most "
            f"{allowed} rows may be held out"
        )
    return held
