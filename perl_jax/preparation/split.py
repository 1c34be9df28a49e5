"""The split into training and held-out rows, which share no image."""

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
        held_out: The share of the rows that is held out, at most.
        max_distance: Two images are the same where their hashes (`image_hash`) differ in at most so
            many bits.
    """

    held_out: _HeldOut = 0.02
    max_distance: Distance = 6


class _Sets:
    """Numbers in disjoint sets, which are joined: a union-find."""

    def __init__(self) -> None:
        self._parents: list[int] = []

    def add(self) -> int:
        self._parents.append(len(self._parents))
        return self._parents[-1]

    def find(self, number: int) -> int:
        while self._parents[number] != number:
            # Halves the way of the next search.
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def join(self, a: int, b: int) -> None:
        # The smaller number leads: the result does not depend on the order of joining.
        low, high = sorted((self.find(a), self.find(b)))
        self._parents[high] = low


def split_rows(source: Source, config: SplitConfig, context: Context) -> Iterator[Outcome]:
    """Puts every row into the shard set ``train`` or ``held_out``.

    Rows that show one image, or two that look the same, go to one side, and so do rows that others
    connect in this way. Such groups of rows are held out in an order drawn by the seed, as long as
    the share allows.

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
    """For each row the number of its group, or why it has none."""
    near, sets = NearImages(max_distance), _Sets()
    of_image: dict[int, int] = {}
    rows: list[int | Skipped] = []
    for row in hashed_rows(source):
        if isinstance(row, Skipped):
            rows.append(row)
            continue
        number = sets.add()
        for hash_W in row[1]:
            image, others = near.add(hash_W)
            of_image.setdefault(image, number)
            for other in (image, *others):
                sets.join(number, of_image[other])
        rows.append(number)
    return [row if isinstance(row, Skipped) else sets.find(row) for row in rows]


def _held_out(groups: Sequence[int | Skipped], share: float, seed: int) -> set[int]:
    """The groups that are held out."""
    sizes = Counter(group for group in groups if not isinstance(group, Skipped))
    room = allowed = int(share * sum(sizes.values()))
    held = set()
    for group in sorted(sizes, key=lambda group: _draw(seed, group)):
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


def _draw(seed: int, group: int) -> bytes:
    return hashlib.sha256(f"{seed} {group}".encode()).digest()
