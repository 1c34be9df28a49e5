"""Device meshes and the tables that say how arrays lie on them."""

import contextlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import (
    AxisType,
    Mesh,
    NamedSharding,
    PartitionSpec,
    Sharding,
    SingleDeviceSharding,
)

from perl_jax.settings import Checked, Count

Tree = TypeVar("Tree")

AXES = ("data", "fsdp", "tensor")
# What is split by examples is split over everything that is not split within a layer.
SHARD_AXES = ("data", "fsdp")


@dataclass(frozen=True)
class MeshConfig(Checked):
    """How the devices are laid out; the product is their number. See `make_mesh`."""

    data: Count = 1
    fsdp: Count = 1
    tensor: Count = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """The sizes of the axes."""
        return self.data, self.fsdp, self.tensor

    @property
    def devices(self) -> int:
        """How many there are."""
        return math.prod(self.shape)


def make_mesh(
    data: int = 1, fsdp: int = 1, tensor: int = 1, *, devices: Sequence[jax.Device] | None = None
) -> Mesh:
    """Makes a mesh over all devices.

    On several hosts the devices of one follow each other, the tensor axis first: so one that
    divides the devices of a host stays within it, every host feeds shards of its own, and
    `rearranged` finds other meshes that do so too.

    Args:
        data: Copies of the parameters.
        fsdp: Parts that parameters, gradients and optimizer state are split into.
        tensor: Parts that heads and hidden units are split into.
        devices: Others than all of the run, such as those of a topology that is not at hand.

    Raises:
        ValueError: the product is not the number of devices.
    """
    shape = (data, fsdp, tensor)
    count = jax.device_count() if devices is None else len(devices)
    if data * fsdp * tensor != count:
        raise ValueError(
            f"mesh: expected data x fsdp x tensor = {count} devices, got "
            f"{data} x {fsdp} x {tensor} = {data * fsdp * tensor}"
        )
    found = jax.devices() if devices is None else devices
    types = (AxisType.Auto,) * len(AXES)
    if len({device.process_index for device in found}) == 1:
        # Not every shape can be laid out along the links.
        with contextlib.suppress(NotImplementedError):
            return jax.make_mesh(shape, AXES, axis_types=types, devices=devices)
    ordered = sorted(found, key=lambda device: (device.process_index, device.id))
    return Mesh(np.array(ordered).reshape(shape), AXES, axis_types=types)


def rearranged(mesh: Mesh, data: int, fsdp: int, tensor: int) -> Mesh:
    """Another mesh over the same devices in the same order, as arrays can move between the two.

    Raises:
        ValueError: the product is not the number of devices.
    """
    if data * fsdp * tensor != mesh.devices.size:
        raise ValueError(
            f"rollout.mesh: expected data x fsdp x tensor = {mesh.devices.size} devices, as mesh "
            f"has; got {data} x {fsdp} x {tensor} = {data * fsdp * tensor}"
        )
    return Mesh(
        mesh.devices.reshape(data, fsdp, tensor), AXES, axis_types=(AxisType.Auto,) * len(AXES)
    )


def num_shards(mesh: Mesh | None) -> int:
    """The parts that a batch is split into: the devices beside each other within no layer."""
    return 1 if mesh is None else math.prod(mesh.shape[axis] for axis in SHARD_AXES)


@dataclass(frozen=True)
class Feeds:
    """Which hosts provide for which shards of a batch.

    A feed is all hosts that hold the same shards: one alone, but where the tensor axis spans hosts.
    They read the same rows; the first of them speaks for all.

    Attributes:
        shards: The shards of each feed.
        of_host: The feed of each host.
        host: The number of this one.
    """

    shards: tuple[tuple[int, ...], ...]
    of_host: tuple[int, ...]
    host: int

    @classmethod
    def of(cls, mesh: Mesh | None) -> "Feeds":
        """The feeds of a mesh.

        Raises:
            ValueError: two hosts share some shards and not others.
        """
        if mesh is None:
            return cls(((0,),), (0,), 0)
        held: dict[int, set[int]] = {}
        by_shard = mesh.devices.reshape(num_shards(mesh), -1)
        for (shard, _), device in np.ndenumerate(by_shard):
            held.setdefault(device.process_index, set()).add(shard)
        shards = sorted({tuple(sorted(of_host)) for of_host in held.values()})
        if sum(map(len, shards)) != num_shards(mesh):
            raise ValueError(
                f"mesh: expected hosts that hold the same shards of a batch, or none in common; "
                f"got {shards}: a tensor axis of {mesh.shape['tensor']} that divides the devices "
                "of a host, or is a multiple of them, has no such overlap"
            )
        of_host = tuple(shards.index(tuple(sorted(held[host]))) for host in sorted(held))
        return cls(tuple(shards), of_host, mesh.devices.flat[0].client.process_index())

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.shards)

    @property
    def here(self) -> int:
        """The feed of this host."""
        return self.of_host[self.host]

    @property
    def speakers(self) -> tuple[int, ...]:
        """The host that speaks for each feed."""
        return tuple(self.of_host.index(feed) for feed in range(self.count))

    @property
    def speaks(self) -> bool:
        """Whether this host speaks for its feed."""
        return self.speakers[self.here] == self.host


class Shards:
    """Puts the shards of a batch on the devices, each host those that it provides for.

    Attributes:
        mesh: The devices; None: the first one alone.
        feeds: Which host provides for which shards.
        count: How many there are.
        everywhere: The sharding of what every device holds a whole copy of.
    """

    def __init__(self, mesh: Mesh | None) -> None:
        self.mesh = mesh
        self.feeds = Feeds.of(mesh)
        self.count = num_shards(mesh)
        self.everywhere: Sharding = (
            SingleDeviceSharding(jax.local_devices()[0])
            if mesh is None
            else NamedSharding(mesh, PartitionSpec())
        )

    def sharding(self, axis: int = 0) -> Sharding:
        """Of an array along one axis of which the shards follow each other."""
        if self.mesh is None:
            return self.everywhere
        return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, SHARD_AXES))

    def put(self, make: Callable[[int], Tree], axes: Callable[[Tree], Any] | None = None) -> Tree:
        """The arrays of a batch, made of those of its shards.

        Args:
            make: Makes the NumPy arrays of the shard of this number, of the same shapes for each;
                called for the shards of this host, once each.
            axes: Gives, for such arrays, the axes along which shards follow each other; None: 0.
        """
        pieces = {shard: make(shard) for shard in self.feeds.shards[self.feeds.here]}
        one = next(iter(pieces.values()))
        along = jax.tree.map(lambda _: 0, one) if axes is None else axes(one)
        leaves = {shard: jax.tree.leaves(piece) for shard, piece in pieces.items()}
        joined = [
            self._join({shard: of_shard[n] for shard, of_shard in leaves.items()}, axis)
            for n, axis in enumerate(jax.tree.leaves(along))
        ]
        return jax.tree.unflatten(jax.tree.structure(one), joined)

    def shapes(self, one: Tree, axes: Callable[[Tree], Any] | None = None) -> Tree:
        """The shapes of what `put` makes of shards whose arrays are like these; axes as there."""

        def of_all(piece: Any, axis: int) -> jax.ShapeDtypeStruct:
            size = piece.shape[axis] * self.count
            shape = (*piece.shape[:axis], size, *piece.shape[axis + 1 :])
            return jax.ShapeDtypeStruct(shape, piece.dtype, sharding=self.sharding(axis))

        along = jax.tree.map(lambda _: 0, one) if axes is None else axes(one)
        return jax.tree.map(of_all, one, along)

    def _join(self, pieces: Mapping[int, np.ndarray], axis: int) -> jax.Array:
        piece = next(iter(pieces.values()))
        if self.mesh is None:
            return jax.device_put(piece, self.everywhere)
        size = piece.shape[axis]
        shape = (*piece.shape[:axis], size * self.count, *piece.shape[axis + 1 :])

        def of_device(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None
            return pieces[(index[axis].start or 0) // size]

        return jax.make_array_from_callback(shape, self.sharding(axis), of_device)


def sharding_of(
    path: str, shape: tuple[int, ...], table: Mapping[str, PartitionSpec], mesh: Mesh
) -> NamedSharding:
    """The sharding of the parameter at a dotted path.

    The first pattern of the table that matches the whole path is taken. Its partition applies to
    the last axes of the shape, so that a leading layer axis is whole. An axis whose size the mesh
    does not divide is left whole.

    Raises:
        KeyError: no pattern matches.
    """
    return fit_sharding(shape, partition_of(path, shape, table), mesh)


def partition_of(
    path: str, shape: tuple[int, ...], table: Mapping[str, PartitionSpec]
) -> PartitionSpec:
    """What the table has for the parameter at a dotted path, an entry for each axis of the shape.

    Raises:
        KeyError: no pattern matches.
    """
    spec = next((spec for pattern, spec in table.items() if re.fullmatch(pattern, path)), None)
    if spec is None:
        raise KeyError(f"{path}: no pattern of the sharding table matches")
    return PartitionSpec(*(None,) * (len(shape) - len(spec)), *spec)


def split_first_axis(x: jax.Array, mesh: Mesh | None) -> jax.Array:
    """The array, its first axis split as a batch is and the others whole; unchanged without a mesh.

    Left to itself the compiler may keep a batch whole on every device and split the weights'
    products instead.
    """
    if mesh is None:
        return x
    spec = PartitionSpec(SHARD_AXES, *[None] * (x.ndim - 1))
    return jax.lax.with_sharding_constraint(x, fit_sharding(x.shape, spec, mesh))


def whole(x: jax.Array, mesh: Mesh | None) -> jax.Array:
    """The array, no axis of it split; but for that of a `jax.vmap` with an ``spmd_axis_name``."""
    if mesh is None:
        return x
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec()))


def fit_sharding(shape: tuple[int, ...], spec: PartitionSpec, mesh: Mesh) -> NamedSharding:
    """The sharding of an array with this shape; an axis that does not divide is left whole.

    Args:
        shape: Of the array.
        spec: For each axis, a mesh axis, several, or None.
        mesh: The devices.
    """

    def fits(size: int, axes: str | tuple[str, ...] | None) -> bool:
        names = (axes,) if isinstance(axes, str) else axes or ()
        return size % math.prod(mesh.shape[name] for name in names) == 0

    whole = [axes if fits(size, axes) else None for size, axes in zip(shape, spec, strict=True)]
    return NamedSharding(mesh, PartitionSpec(*whole))
