"""Exchanges groups between hosts, see `Group.feed`.

Every host knows every prompt, as all hosts sample and learn from all groups. Images, which are most
of the bytes, stay where they were prepared until another host's devices work on them.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from flax.serialization import msgpack_restore, msgpack_serialize

from perl_jax import hosts
from perl_jax.mesh import BatchSharding
from perl_jax.types import Group, ImagePatches, Prompt
from perl_jax.update.assignment import assign_groups, groups_to_move


def gather_groups(
    groups: Sequence[Group | None],
    notes: Sequence[Any],
    sharding: BatchSharding,
    feeds: Sequence[int],
) -> tuple[list[Group], list[Any]]:
    """Sends all groups, and a JSON-able note on each, to every host; all hosts must call it.

    ``groups`` and ``notes`` are this host's; a group of another feed is None. With a single feed
    the result is what was given; otherwise groups have their ``feed``.
    """
    if sharding.num_feeds == 1:
        return [group for group in groups if group is not None], list(notes)
    told = [(group, notes[n]) for n, group in enumerate(groups) if group is not None]
    data = _pack(told) if sharding.is_leader else b""
    heard = hosts.gather_bytes(data, "groups of a draw")
    found = [iter(_unpack(heard[leader])) for leader in sharding.leaders]
    all_groups, all_notes = [], []
    for group, feed in zip(groups, feeds, strict=True):
        other, note = next(found[feed])
        all_groups.append(replace(other if group is None else group, feed=feed))
        all_notes.append(note)
    return all_groups, all_notes


def move_images(
    groups: Sequence[Group], sharding: BatchSharding, sizes: Sequence[int] | None = None
) -> tuple[Group, ...]:
    """Sends images to the hosts whose devices work on their groups; all hosts must call it.

    In the result each group has the feed that works on it, so `assign_groups` with the same
    ``sizes`` moves none again.
    """
    moved = groups_to_move(groups, assign_groups(groups, sharding, sizes), sharding)
    result = list(groups)
    queues = [
        [number for number in sorted(moved) if groups[number].feed == feed]
        for feed in range(sharding.num_feeds)
    ]
    # One group of every feed at a time, as every host receives what any host sends.
    for turn in range(max(map(len, queues))):
        sent = {feed: queue[turn] for feed, queue in enumerate(queues) if turn < len(queue)}
        number = sent.get(sharding.own_feed) if sharding.is_leader else None
        data = b"" if number is None else _pack_images(groups[number])
        heard = hosts.gather_bytes(data, "images of a mini-batch")
        for feed, number in sent.items():
            group = replace(groups[number], feed=moved[number])
            if group.feed == sharding.own_feed:
                group = _with_images(group, heard[sharding.leaders[feed]])
            result[number] = group
    return tuple(result)


def _pack(told: Sequence[tuple[Group, Any]]) -> bytes:
    """The groups without their images' patches, and the notes."""
    rows = [
        {
            "id": group.id,
            "note": note,
            "images": [[image.key, list(image.grid)] for image in group.images],
            "slots": [list(slots) for slots in group.slots],
            "asked": list(group.asked),
            "prompts": [[p.tokens, p.positions, int(p.rope_delta)] for p in group.prompts],
        }
        for group, note in told
    ]
    return msgpack_serialize(rows)


def _unpack(data: bytes) -> list[tuple[Group, Any]]:
    found, no_patches = [], np.empty((0, 0), np.float32)
    for row in msgpack_restore(data):
        images = [ImagePatches(no_patches, tuple(grid), key) for key, grid in row["images"]]
        prompts = tuple(Prompt(*prompt) for prompt in row["prompts"])
        slots = tuple(map(tuple, row["slots"]))
        group = Group(row["id"], prompts, (), slots, tuple(row["asked"]))
        found.append((_showing(group, images), row["note"]))
    return found


def _pack_images(group: Group) -> bytes:
    return msgpack_serialize([image.patches for image in group.images])


def _with_images(group: Group, data: bytes) -> Group:
    patches = zip(group.images, msgpack_restore(data), strict=True)
    return _showing(group, [replace(image, patches=array) for image, array in patches])


def _showing(group: Group, images: Sequence[ImagePatches]) -> Group:
    """The group with other images."""
    prompts = tuple(
        replace(prompt, images=tuple(images[slot] for slot in slots))
        for prompt, slots in zip(group.prompts, group.slots, strict=True)
    )
    return replace(group, images=tuple(images), prompts=prompts)
