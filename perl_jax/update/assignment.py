"""Which group of a mini-batch is worked on in which shard."""

from collections.abc import Sequence

from perl_jax.mesh import Feeds
from perl_jax.types import Group


def assign(groups: Sequence[Group], feeds: Feeds) -> list[list[int]]:
    """Deals groups out to the shards, equally many to each but for one.

    A group stays with the hosts that hold its images as long as they have room; what is left over
    goes where there is room, and its images have to follow.

    Args:
        groups: Of a mini-batch.
        feeds: The shards of each host.

    Returns:
        For every shard the numbers of its groups, ascending.
    """
    shards = sum(len(of_feed) for of_feed in feeds.shards)
    least, more = divmod(len(groups), shards)
    room = [least + (shard < more) for shard in range(shards)]
    assigned: list[list[int]] = [[] for _ in range(shards)]

    def place(number: int, candidates: Sequence[int]) -> bool:
        """Into the emptiest of some shards, if one has room."""
        free = [shard for shard in candidates if len(assigned[shard]) < room[shard]]
        if free:
            assigned[min(free, key=lambda shard: len(assigned[shard]))].append(number)
        return bool(free)

    left = [
        number
        for number, group in enumerate(groups)
        if group.feed is None or not place(number, feeds.shards[group.feed])
    ]
    for number in left:
        place(number, range(shards))
    return [sorted(numbers) for numbers in assigned]


def moves(
    groups: Sequence[Group], assigned: Sequence[Sequence[int]], feeds: Feeds
) -> dict[int, int]:
    """The groups whose images are not where they are worked on: number -> feed that needs them."""
    return {
        number: feed
        for feed, shards in enumerate(feeds.shards)
        for shard in shards
        for number in assigned[shard]
        if groups[number].feed not in (None, feed)
    }
