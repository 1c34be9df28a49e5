"""What hosts tell each other of groups whose images only some of them hold.

All hosts sample and learn from all groups alike, so each of them knows every prompt; images, which
are most of the bytes, stay where they were prepared until another host's devices work on them.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from perl_jax import hosts
from perl_jax.mesh import Feeds
from perl_jax.types import Group, ImagePatches, Prompt
from perl_jax.update.assignment import assign, moves


def share(
    groups: Sequence[Group | None], notes: Sequence[Any], feeds: Feeds, owners: Sequence[int]
) -> tuple[list[Group], list[Any]]:
    """All groups and a note on each, on every host; all must call it.

    Args:
        groups: Of this host; None where another feed holds them.
        notes: JSON-able, on each of this host's groups; what stands beside None is not read.
        feeds: Which hosts hold what.
        owners: The feed of each group.

    Returns:
        The groups with their ``feed``; those of another have images without patches. On a single
        feed, what was given.
    """
    if feeds.count == 1:
        return [group for group in groups if group is not None], list(notes)
    mine = [(number, group) for number, group in enumerate(groups) if group is not None]
    told = [(group, notes[number]) for number, group in mine] if feeds.speaks else []
    heard = hosts.gather_bytes(_pack(told), "groups of a draw")
    found = {owner: iter(_unpack(heard[host])) for owner, host in enumerate(feeds.speakers)}
    all_groups, all_notes = [], []
    for group, owner in zip(groups, owners, strict=True):
        other, note = next(found[owner])
        all_groups.append(replace(other if group is None else group, feed=owner))
        all_notes.append(note)
    return all_groups, all_notes


def spread(groups: Sequence[Group], feeds: Feeds) -> tuple[Group, ...]:
    """Brings images to the hosts whose devices work on their groups; all must call it.

    Args:
        groups: Of a mini-batch.
        feeds: Which hosts hold what.

    Returns:
        The groups, of which `assign` keeps every one with the hosts that hold its images.
    """
    moved = moves(groups, assign(groups, feeds), feeds)
    result = list(groups)
    queues = [[n for n in sorted(moved) if groups[n].feed == feed] for feed in range(feeds.count)]
    # One group of each at a time, as all hosts take in what each of them sends.
    for turn in range(max(map(len, queues), default=0)):
        sent = [queue[turn] if turn < len(queue) else None for queue in queues]
        number = sent[feeds.here] if feeds.speaks else None
        data = b"" if number is None else _patches(groups[number])
        heard = hosts.gather_bytes(data, "images of a mini-batch")
        for feed, number in enumerate(sent):
            if number is not None:
                group = replace(groups[number], feed=moved[number])
                if moved[number] == feeds.here:
                    group = _with_patches(group, heard[feeds.speakers[feed]])
                result[number] = group
    return tuple(result)


def _pack(told: Iterable[tuple[Group, Any]]) -> bytes:
    """A header as JSON, and the integers of all prompts after it."""
    rows: list[dict[str, Any]] = []
    numbers = []
    for group, note in told:
        prompts = [[len(prompt.tokens), int(prompt.rope_delta)] for prompt in group.prompts]
        images = [(image.key, image.grid) for image in group.images]
        rows.append(
            {
                "id": group.id,
                "note": note,
                "prompts": prompts,
                "images": images,
                "slots": group.slots,
            }
        )
        for prompt in group.prompts:
            numbers += [prompt.tokens, np.ravel(prompt.positions)]
    header = json.dumps(rows).encode()
    body = np.concatenate([np.zeros(0, np.int32), *numbers]).astype(np.int32).tobytes()
    return len(header).to_bytes(8, "little") + header + body


def _unpack(data: bytes) -> list[tuple[Group, Any]]:
    size = 8 + int.from_bytes(data[:8], "little")
    numbers = np.frombuffer(data[size:], np.int32)
    found = []
    for row in json.loads(data[8:size]):
        images = tuple(_stub(key, tuple(grid)) for key, grid in row["images"])
        slots = tuple(map(tuple, row["slots"]))
        prompts = []
        for (length, delta), shown in zip(row["prompts"], slots, strict=True):
            tokens, positions, numbers = np.split(numbers, [length, 4 * length])
            of_order = tuple(images[slot] for slot in shown)
            prompts.append(Prompt(tokens, positions.reshape(3, length), delta, of_order))
        found.append((Group(row["id"], tuple(prompts), images, slots), row["note"]))
    return found


def _stub(key: str, grid: tuple[int, int]) -> ImagePatches:
    """An image whose patches another host has."""
    return ImagePatches(np.empty((0, 0), np.float32), grid, key)


def _patches(group: Group) -> bytes:
    return b"".join(image.patches.astype(np.float32).tobytes() for image in group.images)


def _with_patches(group: Group, data: bytes) -> Group:
    values = np.frombuffer(data, np.float32)
    sizes = [height * width for height, width in (image.grid for image in group.images)]
    width = len(values) // sum(sizes)
    bounds = np.cumsum(sizes)[:-1] * width
    images = tuple(
        replace(image, patches=part.reshape(-1, width))
        for image, part in zip(group.images, np.split(values, bounds), strict=True)
    )
    prompts = tuple(
        replace(prompt, images=tuple(images[slot] for slot in slots))
        for prompt, slots in zip(group.prompts, group.slots, strict=True)
    )
    return replace(group, images=images, prompts=prompts)
