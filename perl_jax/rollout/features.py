"""Plans the calls that encode distinct images, and the rows of each image's features."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from perl_jax.buckets import Ladder, bucket
from perl_jax.mesh import BatchSharding
from perl_jax.types import Group, ImagePatches


@dataclass(frozen=True)
class EncodingPlan:
    """Calls of the vision tower. Each shard concatenates its results to its table of features.

    Attributes:
        calls: The images of every shard, and the padded number of patches a shard, of each call.
        place: The shard and the first row of an image, by its key.
        num_rows: Rows of a shard's table, padding within calls included.
        unit: Patches that become one feature.
        least_rows: Tables are padded to as many rows at least.
    """

    calls: list[tuple[list[list[ImagePatches]], int]]
    place: dict[str, tuple[int, int]]
    num_rows: int
    unit: int
    least_rows: int = 0

    @property
    def padded_rows(self) -> int:
        """The padded rows of a table, at least one more: batches without images have one too."""
        return bucket(max(self.num_rows, self.least_rows) + 1)

    def rows_of(self, image: ImagePatches) -> np.ndarray:
        """The rows of an image in the concatenated tables of all shards."""
        shard, first = self.place[image.key]
        return shard * self.padded_rows + first + np.arange(image.num_patches // self.unit)


def plan_encoding(
    groups: Sequence[Group],
    ladder: Ladder,
    unit: int,
    sharding: BatchSharding | None = None,
    *,
    least_rows: int = 0,
) -> EncodingPlan:
    """Assigns each distinct image to a shard and a call, in order.

    An image goes to the shard with the fewest patches so far, among those of its feed. The plan
    depends on keys, grids and feeds only, so all hosts make the same one. ``ladder`` has the padded
    numbers of patches of a shard in one call; ``unit`` patches become one feature. Without
    ``sharding`` there is one shard. A table has ``least_rows`` rows at least.

    Raises:
        ValueError: An image has more patches than the largest call.
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
    return replace(_placed(queues, ladder, unit), least_rows=least_rows)


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
