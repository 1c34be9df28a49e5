"""Distinct images cut into encoding calls, and where each image's features come to stand."""

from collections.abc import Sequence
from dataclasses import dataclass

from perl_jax.buckets import Ladder
from perl_jax.types import ImagePatches


@dataclass(frozen=True)
class EncodingPlan:
    """Calls of the vision tower whose results, one after the other, are the table of features.

    Attributes:
        calls: The images of each call, and its padded number of patches.
        first_row: By the image object's id, the row of its first feature in the table.
        num_rows: Of the table, the padding of each call included.
    """

    calls: list[tuple[list[ImagePatches], int]]
    first_row: dict[int, int]
    num_rows: int


def plan_encoding(images: Sequence[ImagePatches], ladder: Ladder, unit: int) -> EncodingPlan:
    """Fills calls with images in order; an image object that comes twice is encoded once.

    Args:
        images: Of all groups.
        ladder: Patches of a call.
        unit: Patches that become one feature.

    Raises:
        ValueError: an image has more patches than the largest call.
    """
    distinct = list({id(image): image for image in images}.values())
    batches: list[list[ImagePatches]] = []
    filled = ladder.rungs[-1]
    for image in distinct:
        size = len(image.patches)
        ladder.fit(size, "patches of an image")
        if filled + size > ladder.rungs[-1]:
            batches.append([])
            filled = 0
        batches[-1].append(image)
        filled += size
    calls = []
    first_row = {}
    base = 0
    for batch in batches:
        row = base
        for image in batch:
            first_row[id(image)] = row
            row += len(image.patches) // unit
        num_patches = ladder.fit((row - base) * unit, "patches of a call")
        calls.append((batch, num_patches))
        base += num_patches // unit
    return EncodingPlan(calls, first_row, base)
