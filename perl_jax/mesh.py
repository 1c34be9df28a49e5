"""Device meshes, and how batches and parameters are split over them."""

import contextlib
import logging
import math
import os
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

from perl_jax.settings import Checked, Count

Tree = TypeVar("Tree")

AXES = ("data", "fsdp", "tensor")
# The axes that a batch is split over; "tensor" splits the layers instead.
SHARD_AXES = ("data", "fsdp")
TENSOR_AXIS = "tensor"
_AXIS_TYPES = (AxisType.Auto,) * len(AXES)

# Constrains an array of a program, such as `split_first_axis`.
Split = Callable[[jax.Array, Mesh | None], jax.Array]


_log = logging.getLogger(__name__)


def find_devices() -> list[jax.Device]:
    """The devices of this run, found before anything else needs them.

    Logs a warning if JAX was installed for GPUs and finds none.

    Raises:
        ValueError: There is no device of the kind that JAX_PLATFORMS asks for.
    """
    asked = os.environ.get("JAX_PLATFORMS")
    try:
        devices = jax.devices()
    # For a platform that is not installed JAX raises an AssertionError without words.
    except (RuntimeError, AssertionError) as error:
        cause = " ".join(str(error).split()) or "JAX is not installed for it"
        raise ValueError(
            f"JAX_PLATFORMS={asked}: expected devices of this kind; got none ({cause}): unset "
            "JAX_PLATFORMS, or install perl_jax[cuda] or perl_jax[tpu] on a machine that has them"
        ) from error
    plugins = (plugin.name for plugin in entry_points(group="jax_plugins"))
    if not asked and devices[0].platform == "cpu" and any("cuda" in name for name in plugins):
        _log.warning(
            "JAX is installed for GPUs and finds none, so this runs on the CPU; nvidia-smi shows "
            "whether the driver sees one (JAX_PLATFORMS=cpu asks for the CPU)"
        )
    return devices


@dataclass(frozen=True)
class MeshConfig(Checked):
    """The sizes of the mesh axes, whose product is the number of devices. See `make_mesh`.

    Attributes:
        data: Copies of the parameters.
        fsdp: Parts that parameters, gradients and optimizer state are split into.
        tensor: Parts that heads and hidden units are split into.
    """

    data: Count = 1
    fsdp: Count = 1
    tensor: Count = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """The sizes of the axes."""
        return self.data, self.fsdp, self.tensor

    @property
    def devices(self) -> int:
        """The number of devices."""
        return math.prod(self.shape)


def make_mesh(
    data: int = 1, fsdp: int = 1, tensor: int = 1, *, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """Makes a mesh over all devices.

    On several hosts, devices are ordered by host, with the tensor axis fastest: if it divides the
    devices of a host, every host has its own shards of a batch. See `BatchSharding`.

    Args:
        data: Copies of the parameters.
        fsdp: Parts that parameters, gradients and optimizer state are split into.
        tensor: Parts that heads and hidden units are split into.
        devices: The devices, such as those of a topology that is only compiled for; None: all.

    Raises:
        ValueError: The product is not the number of devices.
    """
    shape = (data, fsdp, tensor)
    found = jax.devices() if devices is None else devices
    if math.prod(shape) != len(found):
        raise ValueError(
            f"mesh: expected data x fsdp x tensor = {len(found)} devices, got "
            f"{data} x {fsdp} x {tensor} = {math.prod(shape)}"
        )
    if len({device.process_index for device in found}) == 1:
        # Not every shape fits the links between devices.
        with contextlib.suppress(NotImplementedError):
            return jax.make_mesh(shape, AXES, axis_types=_AXIS_TYPES, devices=devices)
    ordered = sorted(found, key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(ordered).reshape(shape), AXES, axis_types=_AXIS_TYPES)


def rearranged(mesh: Mesh, data: int, fsdp: int, tensor: int) -> Mesh:
    """A mesh of another shape over the same devices in order; programs may use both.

    Raises:
        ValueError: The product is not the number of devices.
    """
    shape = (data, fsdp, tensor)
    if math.prod(shape) != mesh.devices.size:
        raise ValueError(
            f"rollout.mesh: expected data x fsdp x tensor = {mesh.devices.size} devices, as mesh "
            f"has; got {data} x {fsdp} x {tensor} = {math.prod(shape)}"
        )
    return Mesh(mesh.devices.reshape(shape), AXES, axis_types=_AXIS_TYPES)


def mesh_of(parameters: Any) -> Mesh | None:
    """The devices that a model's parameters lie on; None if it is a single one."""
    sharding = jax.tree.leaves(parameters)[0].sharding
    if not isinstance(sharding, NamedSharding):
        return None
    assert isinstance(sharding.mesh, Mesh)
    return sharding.mesh


def num_shards(mesh: Mesh | None) -> int:
    """The number of shards of a batch, see `BatchSharding`; 1 without a mesh."""
    return 1 if mesh is None else math.prod(mesh.shape[axis] for axis in SHARD_AXES)


def first_axes(tree: Tree) -> Tree:
    """0 in place of every array: the axis along which it is split into shards."""
    return jax.tree.map(lambda _: 0, tree)


@dataclass(frozen=True)
class BatchSharding:
    """How a batch is split into shards: which devices hold each shard, and which hosts provide it.

    There is one shard for each place along the mesh axes ``data`` and ``fsdp``. Devices that differ
    only along ``tensor`` hold the same shard. A *feed* is all hosts whose devices hold the same
    shards: one, or several if the tensor axis spans hosts. Its hosts read the same rows and make
    the same arrays; the first one, its leader, sends what other feeds need. On two hosts of four
    devices each, d0 to d3 and d4 to d7::

              data=4, tensor=2                  data=2, tensor=4
        shard  devices  host  feed        shard  devices      host  feed
        0      d0 d1    0     0           0      d0 d1 d2 d3  0     0
        1      d2 d3    0     0           1      d4 d5 d6 d7  1     1
        2      d4 d5    1     1
        3      d6 d7    1     1                 data=1, tensor=8
                                          shard  devices      host  feed
                                          0      d0 .. d7     0, 1  0

    The row at place r of the order of rows, from 0, belongs to shard r modulo the number of shards,
    so a host knows its rows without asking others. The defaults describe a single device.

    Attributes:
        shards_of_feed: The shards of each feed, ascending.
        feed_of_host: The feed of each host.
        host: The number of this host.
        mesh: The devices; None: the first local one.
    """

    shards_of_feed: tuple[tuple[int, ...], ...] = ((0,),)
    feed_of_host: tuple[int, ...] = (0,)
    host: int = 0
    mesh: Mesh | None = None

    @classmethod
    def of(cls, mesh: Mesh | None) -> "BatchSharding":
        """How a batch is split over a mesh.

        Raises:
            ValueError: Two hosts share only some of their shards.
        """
        if mesh is None:
            return cls()
        held: dict[int, set[int]] = {}
        by_shard = mesh.devices.reshape(num_shards(mesh), -1)
        for (shard, _), device in np.ndenumerate(by_shard):
            held.setdefault(device.process_index, set()).add(shard)
        feeds = sorted({tuple(sorted(shards)) for shards in held.values()})
        if sum(map(len, feeds)) != num_shards(mesh):
            raise ValueError(
                f"mesh: expected hosts that hold the same shards of a batch, or none in common; "
                f"got {feeds}: a tensor axis of {mesh.shape['tensor']} that divides the devices "
                "of a host, or is a multiple of them, has no such overlap"
            )
        feed_of_host = tuple(feeds.index(tuple(sorted(held[host]))) for host in sorted(held))
        return cls(tuple(feeds), feed_of_host, mesh.devices.flat[0].client.process_index(), mesh)

    @property
    def num_feeds(self) -> int:
        """The number of feeds."""
        return len(self.shards_of_feed)

    @property
    def num_hosts(self) -> int:
        """The number of hosts."""
        return len(self.feed_of_host)

    @cached_property
    def num_shards(self) -> int:
        """The number of shards."""
        return sum(map(len, self.shards_of_feed))

    @property
    def own_feed(self) -> int:
        """The feed of this host."""
        return self.feed_of_host[self.host]

    @property
    def own_shards(self) -> tuple[int, ...]:
        """The shards that this host provides, ascending."""
        return self.shards_of_feed[self.own_feed]

    @property
    def leaders(self) -> tuple[int, ...]:
        """The leading host of each feed."""
        return tuple(self.feed_of_host.index(feed) for feed in range(self.num_feeds))

    @property
    def is_leader(self) -> bool:
        """Whether this host leads its feed."""
        return self.leaders[self.own_feed] == self.host

    @cached_property
    def _feed_of_shard(self) -> dict[int, int]:
        return {shard: feed for feed, shards in enumerate(self.shards_of_feed) for shard in shards}

    def feed_of_row(self, place: int) -> int:
        """The feed whose hosts prepare the row at a place."""
        return self._feed_of_shard[place % self.num_shards]

    def own_row(self, number: int) -> int:
        """The place of the row that comes after ``number`` others of this host."""
        rounds, within = divmod(number, len(self.own_shards))
        return rounds * self.num_shards + self.own_shards[within]

    def own_rows_before(self, place: int) -> int:
        """The number of this host's rows before a place."""
        rounds, shard = divmod(place, self.num_shards)
        return rounds * len(self.own_shards) + bisect_left(self.own_shards, shard)

    def is_own_row(self, place: int) -> bool:
        """Whether this host prepares the row at a place."""
        return self.feed_of_row(place) == self.own_feed

    @property
    def replicated(self) -> Sharding:
        """The sharding of a whole copy on every device."""
        if self.mesh is None:
            return jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return NamedSharding(self.mesh, PartitionSpec())

    def along(self, axis: int) -> Sharding:
        """The sharding of an array whose shards are concatenated along this axis."""
        if self.mesh is None:
            return self.replicated
        return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, SHARD_AXES))

    def put(self, make: Callable[[int], Tree], axes: Callable[[Tree], Tree] = first_axes) -> Tree:
        """Puts the arrays of a batch on the devices; every host makes its own shards only.

        ``make`` gives the NumPy arrays of a shard, of the same shapes for all shards. ``axes``
        gives the axes along which the shards of such arrays are concatenated.
        """
        pieces = [make(shard) for shard in self.own_shards]
        return jax.tree.map(self._join, axes(pieces[0]), *pieces)

    def replicate(self, array: np.ndarray) -> jax.Array:
        """Puts an array on every device; it must be the same on all hosts."""
        if self.mesh is None:
            return jax.device_put(array, self.replicated)
        # On several hosts `jax.device_put` would gather the array from all of them, to compare:
        # each call would wait for the programs that the devices still run.
        return jax.make_array_from_callback(
            array.shape, self.replicated, lambda index: array[index]
        )

    def fetch(self, array: jax.Array) -> np.ndarray:
        """The whole of an array of the devices, on every host; all hosts must call it."""
        if array.is_fully_addressable:
            return np.asarray(jax.device_get(array))
        return np.asarray(multihost_utils.process_allgather(array, tiled=True))

    def shapes(self, one: Tree, axes: Callable[[Tree], Tree] = first_axes) -> Tree:
        """The shapes and shardings of the result of `put`, from the arrays of one shard."""

        def of_all(axis: int, piece: Any) -> jax.ShapeDtypeStruct:
            shape = self._joined_shape(piece, axis)
            return jax.ShapeDtypeStruct(shape, piece.dtype, sharding=self.along(axis))

        return jax.tree.map(of_all, axes(one), one)

    def _joined_shape(self, piece: Any, axis: int) -> tuple[int, ...]:
        size = piece.shape[axis] * self.num_shards
        return (*piece.shape[:axis], size, *piece.shape[axis + 1 :])

    def _join(self, axis: int, *pieces: np.ndarray) -> jax.Array:
        """One array from the pieces of all hosts."""
        if self.mesh is None:
            return jax.device_put(pieces[0], self.replicated)
        held = dict(zip(self.own_shards, pieces, strict=True))

        def of_device(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None
            return held[(index[axis].start or 0) // pieces[0].shape[axis]]

        shape = self._joined_shape(pieces[0], axis)
        return jax.make_array_from_callback(shape, self.along(axis), of_device)


def partition_of(
    path: str, shape: tuple[int, ...], table: Mapping[str, PartitionSpec]
) -> PartitionSpec:
    """The partition of the parameter at a dotted path, with an entry for each axis of its shape.

    The first pattern that matches the whole path counts. Its entries are for the last axes, so that
    a leading layer axis is not split.

    Raises:
        KeyError: No pattern matches.
    """
    spec = next((spec for pattern, spec in table.items() if re.fullmatch(pattern, path)), None)
    if spec is None:
        raise KeyError(f"{path}: no pattern of the sharding table matches")
    return PartitionSpec(*(None,) * (len(shape) - len(spec)), *spec)


def fit_sharding(shape: tuple[int, ...], spec: PartitionSpec, mesh: Mesh) -> NamedSharding:
    """The sharding of an array by ``spec``; axes that the mesh does not divide stay whole."""

    def fits(size: int, axes: str | tuple[str, ...] | None) -> bool:
        names = (axes,) if isinstance(axes, str) else axes or ()
        return size % math.prod(mesh.shape[name] for name in names) == 0

    fitted = [axes if fits(size, axes) else None for size, axes in zip(shape, spec, strict=True)]
    return NamedSharding(mesh, PartitionSpec(*fitted))


def split_first_axis(x: jax.Array, mesh: Mesh | None) -> jax.Array:
    """Constrains an array in a program to be split along its first axis, if there is a mesh.

    Otherwise the compiler may keep a batch whole on every device and split products with the
    weights instead.
    """
    return _split(x, mesh, [None] * (x.ndim - 1))


def split_two_axes(x: jax.Array, mesh: Mesh | None) -> jax.Array:
    """As `split_first_axis`, with the second axis split over the mesh's tensor axis."""
    return _split(x, mesh, [TENSOR_AXIS, *[None] * (x.ndim - 2)])


def split_heads(x: jax.Array, mesh: Mesh | None) -> jax.Array:
    """As `split_first_axis`, with the heads ``[..., H, F]`` split over the mesh's tensor axis.

    A mesh that does not divide them leaves them whole, as it does the parameters of their maps.
    """
    return _split(x, mesh, [*[None] * (x.ndim - 3), TENSOR_AXIS, None])


def _split(x: jax.Array, mesh: Mesh | None, others: Sequence[str | None]) -> jax.Array:
    """Constrains an array to be split along its first axis, and along the others as given."""
    if mesh is None:
        return x
    spec = PartitionSpec(SHARD_AXES, *others)
    return jax.lax.with_sharding_constraint(x, fit_sharding(x.shape, spec, mesh))


def take_within_shards(
    x: jax.Array, rows: jax.Array, mesh: Mesh | None, split: Split = split_first_axis
) -> jax.Array:
    """Rows ``[O, ...]`` of an array ``[P, ...]`` by their numbers, int ``[O]``, within a shard.

    Both first axes are split over the mesh: every device takes rows of its own part. ``split``
    constrains the result.
    """
    shards = num_shards(mesh)
    parts = x.reshape(shards, -1, *x.shape[1:])
    taken = jax.vmap(lambda part, numbers: part.at[numbers].get(mode="promise_in_bounds"))(
        parts, rows.reshape(shards, -1)
    )
    return split(taken.reshape(-1, *x.shape[1:]), mesh)


def whole(x: jax.Array, mesh: Mesh | None) -> jax.Array:
    """Constrains an array in a program to be whole on every device, if there is a mesh.

    The axis of a `jax.vmap` with an ``spmd_axis_name`` stays split.
    """
    if mesh is None:
        return x
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec()))
