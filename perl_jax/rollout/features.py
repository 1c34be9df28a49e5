"""Distinct images cut into encoding calls, and where each image's features come to stand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perl_jax.buckets import Ladder, bucket
from perl_jax.mesh import BatchSharding
from perl_jax.types import Group, ImagePatches


@dataclass(frozen=True)
class EncodingPlan:
    """Calls of the vision tower, whose results make the table of features.

    Every device that encodes images of its own has a part of the table: its results of all calls,
    one after the other.

    Attributes:
        calls: Of each call the images of every shard, and its padded number of patches a shard.
        place: By the image's key, its shard and the row of its first feature in the part.
        num_rows: Of a part, the padding of each call included.
        unit: Patches that become one feature.
    """

    calls: list[tuple[list[list[ImagePatches]], int]]
    place: dict[str, tuple[int, int]]
    num_rows: int
    unit: int

    @property
    def padded_rows(self) -> int:
        """Of a part, padded: one row more at least, so that text alone has a table too."""
        return bucket(self.num_rows + 1)

    def rows_of(self, image: ImagePatches) -> np.ndarray:
        """The rows of an image in the parts of all shards, one padded part after the other."""
        shard, first = self.place[image.key]
        return shard * self.padded_rows + first + np.arange(image.num_patches // self.unit)


def plan_encoding(
    groups: Sequence[Group], ladder: Ladder, unit: int, sharding: BatchSharding | None = None
) -> EncodingPlan:
    """Fills calls with images in order; an image that comes twice is encoded once.

    An image goes to the shard with the fewest patches so far, of those whose hosts hold it. All
    hosts make the same plan: it depends on the images' grids alone.

    Args:
        groups: Of all hosts.
        ladder: Patches of a call, for each shard.
        unit: Patches that become one feature.
        sharding: Says which shards a feed has; None: one shard.

    Raises:
        ValueError: an image has more patches than the largest call.
    """
    shards = (sharding or BatchSharding()).shards_of_feed
    everyone = [shard for of_feed in shards for shard in of_feed]
    queues: list[list[list[ImagePatches]]] = [[] for _ in everyone]
    filled = [ladder.rungs[-1]] * len(everyone)
    total = [0] * len(everyone)
    planned: set[str] = set()
    for group in groups:
        for image in group.images:
            if image.key in planned:
                continue
            planned.add(image.key)
            size = image.num_patches
            ladder.fit(size, "patches of an image")
            candidates = everyone if group.feed is None else shards[group.feed]
            shard = min(candidates, key=lambda shard: total[shard])
            if filled[shard] + size > ladder.rungs[-1]:
                queues[shard].append([])
                filled[shard] = 0
            queues[shard][-1].append(image)
            filled[shard] += size
            total[shard] += size
    return _placed(queues, ladder, unit)


def _placed(queues: Sequence[list[list[ImagePatches]]], ladder: Ladder, unit: int) -> EncodingPlan:
    calls = []
    place = {}
    base = 0
    for number in range(max(map(len, queues))):
        batches = [queue[number] if number < len(queue) else [] for queue in queues]
        longest = 0
        for shard, batch in enumerate(batches):
            row = base
            for image in batch:
                place[image.key] = (shard, row)
                row += image.num_patches // unit
            longest = max(longest, (row - base) * unit)
        padded = ladder.fit(longest, "patches of a call")
        calls.append((batches, padded))
        base += padded // unit
    return EncodingPlan(calls, place, base, unit)
