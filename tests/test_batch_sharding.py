"""Which hosts provide which shard of a batch and which rows, and which devices hold it."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from perl_jax.mesh import BatchSharding, make_mesh


def mesh_of_hosts(hosts, devices, *, host=0, **shape):
    """A mesh as `make_mesh` lays it out over hosts, of so many devices each, seen from a host."""
    client = SimpleNamespace(process_index=lambda: host)
    found = [
        SimpleNamespace(process_index=process, client=client)
        for process in range(hosts)
        for _ in range(devices)
    ]
    shape = {"data": 1, "fsdp": 1, "tensor": 1} | shape
    return SimpleNamespace(devices=np.array(found).reshape(*shape.values()), shape=shape)


@pytest.mark.parametrize(
    ("shape", "shards_of_feed", "feed_of_host", "leaders"),
    [
        ({"data": 4, "tensor": 2}, ((0, 1), (2, 3)), (0, 1), (0, 1)),
        ({"data": 2, "fsdp": 2, "tensor": 2}, ((0, 1), (2, 3)), (0, 1), (0, 1)),
        ({"fsdp": 2, "tensor": 4}, ((0,), (1,)), (0, 1), (0, 1)),
        ({"tensor": 8}, ((0,),), (0, 0), (0,)),
    ],
)
def test_a_feed_is_all_hosts_whose_devices_hold_the_same_shards(
    shape, shards_of_feed, feed_of_host, leaders
):
    for host in range(2):
        sharding = BatchSharding.of(mesh_of_hosts(2, 4, host=host, **shape))
        assert (sharding.shards_of_feed, sharding.feed_of_host) == (shards_of_feed, feed_of_host)
        assert sharding.num_shards == sum(map(len, shards_of_feed))
        assert sharding.host == host
        assert sharding.own_feed == feed_of_host[host]
        assert sharding.own_shards == shards_of_feed[feed_of_host[host]]
        assert sharding.leaders == leaders
        assert sharding.is_leader == (host in leaders)


def test_a_tensor_axis_over_some_hosts_makes_one_feed_of_them():
    sharding = BatchSharding.of(mesh_of_hosts(4, 2, host=3, fsdp=2, tensor=4))
    assert (sharding.shards_of_feed, sharding.feed_of_host) == (((0,), (1,)), (0, 0, 1, 1))
    assert (sharding.leaders, sharding.is_leader) == ((0, 2), False)


def test_hosts_that_hold_some_shards_together_and_others_not_are_refused():
    with pytest.raises(ValueError, match=r"or none in common; got \[\(0, 1\), \(1, 2\)\]: a tens"):
        BatchSharding.of(mesh_of_hosts(2, 3, fsdp=3, tensor=2))


def test_without_a_mesh_there_is_one_shard_on_one_device():
    sharding = BatchSharding.of(None)
    assert sharding == BatchSharding()
    assert (sharding.num_shards, sharding.num_feeds, sharding.num_hosts) == (1, 1, 1)
    assert sharding.is_leader
    batch = sharding.put(lambda shard: {"rows": np.arange(4) + shard})
    assert batch["rows"].tolist() == [0, 1, 2, 3]
    assert batch["rows"].sharding.device_set == {jax.local_devices()[0]}


@pytest.mark.reliability("49")
@pytest.mark.parametrize(
    "feeds", [((0,),), ((0, 1, 2, 3),), ((0,), (1,)), ((0, 3), (1, 2)), ((0, 1, 2), (3,))]
)
def test_rows_are_dealt_out_to_the_shards_in_turn(feeds):
    shards = sum(map(len, feeds))
    hosts = [BatchSharding(feeds, tuple(range(len(feeds))), host) for host in range(len(feeds))]
    for row in range(23):
        feed = hosts[0].feed_of_row(row)
        assert row % shards in feeds[feed]
        assert [host for host, one in enumerate(hosts) if one.is_own_row(row)] == [feed]
    for sharding in hosts:
        own = [row for row in range(40) if sharding.is_own_row(row)]
        assert [sharding.own_row(number) for number in range(len(own))] == own
        assert [sharding.own_rows_before(row) for row in range(40)] == [
            sum(other < row for other in own) for row in range(40)
        ]


@pytest.mark.parametrize("shape", [(2, 2, 2), (1, 8, 1), (1, 1, 8), (4, 1, 2)])
def test_every_device_holds_the_shard_of_its_place(shape):
    mesh = make_mesh(*shape)
    sharding = BatchSharding.of(mesh)
    made = []

    def make(shard):
        made.append(shard)
        rows = np.arange(10 * shard, 10 * shard + 3, dtype=np.int32)
        return {"rows": rows, "columns": np.stack([rows, -rows]), "none": None}

    axes = lambda one: {"rows": 0, "columns": 1, "none": None}  # noqa: E731
    batch = sharding.put(make, axes)
    assert made == list(range(sharding.num_shards))
    whole = np.concatenate([10 * shard + np.arange(3) for shard in made])
    np.testing.assert_array_equal(batch["rows"], whole)
    np.testing.assert_array_equal(batch["columns"], np.stack([whole, -whole]))
    by_shard = mesh.devices.reshape(sharding.num_shards, -1)
    for piece in batch["columns"].addressable_shards:
        ((shard, _),) = np.argwhere(by_shard == piece.device)
        np.testing.assert_array_equal(piece.data[0], 10 * shard + np.arange(3))

    def shapes_of(tree):
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.sharding), tree)

    assert shapes_of(sharding.shapes(make(0), axes)) == shapes_of(batch)


def test_what_is_replicated_is_whole_on_every_device():
    sharding = BatchSharding.of(make_mesh(2, 2, 2))
    assert sharding.replicated.spec == P()
    assert sharding.along(2).spec == P(None, None, ("data", "fsdp"))
    array = sharding.replicate(np.arange(3))
    assert array.sharding == sharding.replicated
    assert [piece.data.tolist() for piece in array.addressable_shards] == [[0, 1, 2]] * 8


@pytest.mark.parametrize("mesh", [None, (4, 2, 1)])
def test_what_is_fetched_is_whole_on_the_host(mesh):
    sharding = BatchSharding.of(mesh and make_mesh(*mesh))
    rows = sharding.num_shards
    split = sharding.put(lambda shard: np.full((2, 3), shard))
    fetched = sharding.fetch(split)
    assert isinstance(fetched, np.ndarray)
    np.testing.assert_array_equal(fetched, np.repeat(np.arange(rows), 2)[:, None] * np.ones((1, 3)))
    assert sharding.fetch(sharding.replicate(np.array(7))) == 7
