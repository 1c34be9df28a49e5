"""Assigns the groups of a mini-batch to shards and to micro-batches."""

from collections.abc import Sequence

from perl_jax.mesh import BatchSharding
from perl_jax.types import Group, Responses
from perl_jax.update.layout import spread
from perl_jax.update.packing import num_read


def assign_groups(
    groups: Sequence[Group], sharding: BatchSharding, sizes: Sequence[int] | None = None
) -> list[list[int]]:
    """Gives each shard the numbers of its groups, ascending; their counts differ by at most one.

    A group stays with the feed that holds its images as long as that feed has room; otherwise its
    images must be moved. Within this, the sums of the groups' ``sizes`` are even, by default their
    counts. The result depends on feeds and sizes only, so all hosts assign alike.
    """
    sizes = [1] * len(groups) if sizes is None else sizes
    least, more = divmod(len(groups), sharding.num_shards)
    room = [least + (shard < more) for shard in range(sharding.num_shards)]
    assigned: list[list[int]] = [[] for _ in room]

    def place(number: int, candidates: Sequence[int]) -> bool:
        free = [shard for shard in candidates if len(assigned[shard]) < room[shard]]
        if free:
            sums = {shard: sum(sizes[other] for other in assigned[shard]) for shard in free}
            assigned[min(free, key=lambda shard: sums[shard])].append(number)
        return bool(free)

    left = []
    for number in sorted(range(len(groups)), key=lambda number: -sizes[number]):
        feed = groups[number].feed
        if feed is None or not place(number, sharding.shards_of_feed[feed]):
            left.append(number)
    for number in left:
        place(number, range(sharding.num_shards))
    return [sorted(numbers) for numbers in assigned]


def groups_to_move(
    groups: Sequence[Group], assigned: Sequence[Sequence[int]], sharding: BatchSharding
) -> dict[int, int]:
    """The groups whose images are held by another feed than works on them: number -> that feed."""
    return {
        number: feed
        for feed, shards in enumerate(sharding.shards_of_feed)
        for shard in shards
        for number in assigned[shard]
        if groups[number].feed not in (None, feed)
    }


def tokens_of(groups: Sequence[Group], responses: Responses) -> list[int]:
    """The tokens that are read of each group and of the responses to it."""
    lengths = responses.lengths
    return [num_read([group], of_group) for group, of_group in zip(groups, lengths, strict=True)]


def cut_shards(
    assigned: Sequence[Sequence[int]],
    sizes: Sequence[int],
    most: int,
    budget: int | None = None,
) -> list[list[list[int]]]:
    """Cuts the groups of all shards into as few micro-batches as may be.

    In each of them a shard has at most ``most`` groups, whose ``sizes`` add up to the ``budget`` at
    most, unless it is a single group. Returns, for each micro-batch, the groups of each shard.
    """
    longest = max(map(len, assigned))
    count = -(-longest // most)
    while True:
        of_shards = [cut(numbers, sizes, count) for numbers in assigned]
        parts = [part for of_shard in of_shards for part in of_shard if len(part) > 1]
        fullest = max((sum(sizes[number] for number in part) for part in parts), default=0)
        if budget is None or fullest <= budget:
            return [list(of_micro_batch) for of_micro_batch in zip(*of_shards, strict=True)]
        count += 1


def cut(numbers: Sequence[int], sizes: Sequence[int], count: int) -> list[list[int]]:
    """A shard's groups in ``count`` micro-batches of even sizes, the fullest first.

    Every shard has its fullest ones first, as the fullest shard decides how large a pass is.
    """
    of_groups = [sizes[number] for number in numbers]
    parts = spread(of_groups, count, most=-(-len(numbers) // count))
    parts.sort(key=lambda part: -sum(of_groups[place] for place in part))
    return [[numbers[place] for place in part] for part in parts]
