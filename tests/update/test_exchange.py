"""What hosts send each other of groups; hosts are threads, which send by a table."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from flax.serialization import msgpack_restore

from perl_jax import hosts
from perl_jax.mesh import BatchSharding
from perl_jax.types import Group, ImagePatches, Prompt
from perl_jax.update.assignment import assign_groups, groups_to_move
from perl_jax.update.exchange import gather_groups, move_images
from tests.data.pipeline.many_hosts import LAYOUTS, Table

SEVERAL = [name for name, (shards, _) in LAYOUTS.items() if len(shards) > 1]


class ThreadHosts:
    """Runs something on all hosts of a layout at once.

    Attributes:
        shardings: Of each host.
        table: What the hosts sent.
    """

    def __init__(self, layout, monkeypatch):
        shards, feed_of_host = LAYOUTS[layout]
        count = len(feed_of_host)
        self.shardings = [BatchSharding(shards, feed_of_host, host) for host in range(count)]
        self.table = Table(count)
        self.tells = [self.table.exchange(host) for host in range(count)]
        self.current = threading.local()
        monkeypatch.setattr(hosts, "gather_bytes", self._gather_bytes)

    def _gather_bytes(self, data, what):
        told = self.tells[self.current.host](data.decode("latin-1"), what)
        return [text.encode("latin-1") for text in told]

    def do(self, action):
        """What ``action(sharding)`` gives on every host."""

        def on(sharding):
            self.current.host = sharding.host
            try:
                return action(sharding)
            finally:
                # Whoever waits for this host from now on would wait in vain.
                self.table.leave()

        self.table.gone = False
        with ThreadPoolExecutor(len(self.shardings)) as threads:
            return list(threads.map(on, self.shardings))

    def sent(self):
        """For every meeting, the bytes that each host sent, by host; none where it sent none."""
        read = lambda text: json.loads(text)[1].encode("latin-1")  # noqa: E731
        return [
            {host: data for host, text in laid.items() if (data := read(text))}
            for laid in self.table.meetings
        ]


def random_group(rng, number, num_images=None):
    """A group of one to three orders of zero to three images, one of which may come twice."""
    grids = rng.integers(1, 4, (rng.integers(0, 4) if num_images is None else num_images, 2)) * 2
    images = [
        ImagePatches(rng.normal(size=(height * width, 12)).astype(np.float32), (height, width))
        for height, width in grids.tolist()
    ]
    prompts = []
    for _ in range(rng.integers(1, 4)):
        tokens = rng.integers(0, 99, rng.integers(1, 9)).astype(np.int32)
        positions = rng.integers(0, 99, (3, len(tokens))).astype(np.int32)
        shown = rng.permutation([*range(len(images)), *([0] if images else [])])
        shown_images = tuple(images[slot] for slot in shown)
        prompts.append(Prompt(tokens, positions, int(rng.integers(-5, 5)), shown_images))
    return Group.of(f"{number}/é", prompts)


def draw(seed, count, num_feeds):
    """Groups and the feed of each, by chance."""
    rng = np.random.default_rng(seed)
    groups = [random_group(rng, number) for number in range(count)]
    return groups, rng.integers(0, num_feeds, count).tolist()


def note_on(group):
    return {"id": group.id, "orders": [[0, 1], [1, 0]], "drawn": True, "reason": None, "rate": 0.1}


def gathered(all_hosts, groups, feeds):
    """The groups as every host knows them after it was told."""

    def gather(sharding):
        mine = [
            group if feed == sharding.own_feed else None
            for group, feed in zip(groups, feeds, strict=True)
        ]
        notes = [None if group is None else note_on(group) for group in mine]
        return gather_groups(mine, notes, sharding, feeds)

    return all_hosts.do(gather)


def same_prompts(one, other):
    assert (one.id, one.slots, len(one.prompts)) == (other.id, other.slots, len(other.prompts))
    assert [image.grid for image in one.images] == [image.grid for image in other.images]
    for a, b in zip(one.prompts, other.prompts, strict=True):
        assert a.rope_delta == b.rope_delta
        assert a.tokens.dtype == a.positions.dtype == np.int32
        np.testing.assert_array_equal(a.tokens, b.tokens)
        np.testing.assert_array_equal(a.positions, b.positions)
    return True


def same_images(one, other):
    return all(
        a.patches.dtype == b.patches.dtype == np.float32 and np.array_equal(a.patches, b.patches)
        for a, b in zip(one.images, other.images, strict=True)
    )


def holds(group):
    return all(image.patches.size for image in group.images)


def shows_its_own_images(group):
    """Whether prompts show the objects in ``images``: the sampler encodes each object once."""
    return all(
        prompt.images[place] is group.images[slot]
        for prompt, slots in zip(group.prompts, group.slots, strict=True)
        for place, slot in enumerate(slots)
    )


@pytest.mark.parametrize("layout", SEVERAL)
def test_every_host_knows_every_prompt_and_note_and_holds_the_images_of_its_feed(
    layout, monkeypatch
):
    all_hosts = ThreadHosts(layout, monkeypatch)
    groups, feeds = draw(0, 11, all_hosts.shardings[0].num_feeds)
    results = gathered(all_hosts, groups, feeds)
    for sharding, (found, notes) in zip(all_hosts.shardings, results, strict=True):
        assert [group.feed for group in found] == feeds
        assert notes == [note_on(group) for group in groups]
        for group, original, feed in zip(found, groups, feeds, strict=True):
            assert same_prompts(group, original)
            assert shows_its_own_images(group)
            if feed == sharding.own_feed:
                assert same_images(group, original)
            else:
                assert not any(image.patches.size for image in group.images)
    (meeting,) = all_hosts.sent()
    assert sorted(meeting) == sorted(all_hosts.shardings[0].leaders)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in SEVERAL])
def test_hosts_of_a_single_feed_send_nothing(layout, monkeypatch):
    all_hosts = ThreadHosts(layout, monkeypatch)
    groups, feeds = draw(1, 5, 1)
    for found, notes in gathered(all_hosts, groups, feeds):
        assert found == groups
        assert notes == [note_on(group) for group in groups]
    for moved in all_hosts.do(lambda sharding: move_images(groups, sharding)):
        assert moved == tuple(groups)
    assert all_hosts.sent() == []


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("layout", SEVERAL)
def test_images_are_moved_bit_for_bit_to_where_their_group_is_worked_on(layout, seed, monkeypatch):
    all_hosts = ThreadHosts(layout, monkeypatch)
    groups, feeds = draw(seed, 13, all_hosts.shardings[0].num_feeds)
    known = [found for found, _ in gathered(all_hosts, groups, feeds)]
    moved = all_hosts.do(lambda sharding: move_images(known[sharding.host], sharding))
    assigned = assign_groups(moved[0], all_hosts.shardings[0])
    assert sorted(number for numbers in assigned for number in numbers) == list(range(13))
    shard_of = {number: shard for shard, numbers in enumerate(assigned) for number in numbers}
    for sharding, found in zip(all_hosts.shardings, moved, strict=True):
        assert assign_groups(found, sharding) == assigned
        assert groups_to_move(found, assigned, sharding) == {}
        for number, (group, original) in enumerate(zip(found, groups, strict=True)):
            assert same_prompts(group, original)
            assert shows_its_own_images(group)
            assert shard_of[number] in sharding.shards_of_feed[group.feed]
            if group.feed == sharding.own_feed:
                assert same_images(group, original)


@pytest.mark.parametrize("layout", SEVERAL)
def test_the_leader_of_the_feed_that_holds_them_sends_the_images_that_are_needed_elsewhere(
    layout, monkeypatch
):
    all_hosts = ThreadHosts(layout, monkeypatch)
    sharding = all_hosts.shardings[0]
    groups, _ = draw(2, 12, 1)
    feeds = [0] * 12
    known = [found for found, _ in gathered(all_hosts, groups, feeds)]
    all_hosts.do(lambda one: move_images(known[one.host], one))
    needed = sorted(groups_to_move(known[0], assign_groups(known[0], sharding), sharding))
    kept = 12 * len(sharding.shards_of_feed[0]) // sharding.num_shards
    assert needed == list(range(kept, 12))
    _, *meetings = all_hosts.sent()
    assert len(meetings) == len(needed)
    for meeting, number in zip(meetings, needed, strict=True):
        ((host, data),) = meeting.items()
        assert host == sharding.leaders[0]
        sent = msgpack_restore(data)
        assert len(sent) == len(groups[number].images)
        for patches, image in zip(sent, groups[number].images, strict=True):
            np.testing.assert_array_equal(patches, image.patches)


def test_groups_that_are_where_they_are_worked_on_cost_no_meeting(monkeypatch):
    all_hosts = ThreadHosts("four hosts", monkeypatch)
    rng = np.random.default_rng(3)
    groups = [random_group(rng, number, 1) for number in range(8)]
    feeds = [0, 1, 2, 3] * 2
    known = [found for found, _ in gathered(all_hosts, groups, feeds)]
    moved = all_hosts.do(lambda sharding: move_images(known[sharding.host], sharding))
    assert moved == [tuple(found) for found in known]
    assert len(all_hosts.sent()) == 1
    for sharding, found in zip(all_hosts.shardings, moved, strict=True):
        assert [holds(group) for group in found] == [feed == sharding.own_feed for feed in feeds]


def test_groups_that_every_host_holds_stay_as_they_are(monkeypatch):
    all_hosts = ThreadHosts("two hosts of unequal shards", monkeypatch)
    groups, _ = draw(4, 7, 1)
    for moved in all_hosts.do(lambda sharding: move_images(groups, sharding)):
        assert moved == tuple(groups)
    assert all_hosts.sent() == []


def test_no_groups_are_no_meeting(monkeypatch):
    all_hosts = ThreadHosts("two hosts", monkeypatch)
    assert all_hosts.do(lambda sharding: move_images([], sharding)) == [(), ()]
    assert all_hosts.sent() == []
