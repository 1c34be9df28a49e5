"""Where the arrays of the update lie: on one device, or spread over a mesh."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from perl_jax.mesh import SHARD_AXES, Feeds, num_shards
from perl_jax.training.packing import MicroBatch
from perl_jax.training.state import TrainState


class Placement:
    """Puts arrays where they belong, and knows where results belong.

    Attributes:
        mesh: The devices; None: one of them.
        feeds: Which host provides for which shards.
        everywhere: A whole copy on every device.
        shards: The parts that a micro-batch is split into.
    """

    def __init__(self, mesh: Mesh | None) -> None:
        self.mesh = mesh
        self.feeds = Feeds.of(mesh)
        self.shards = num_shards(mesh)
        self.everywhere: Sharding = (
            SingleDeviceSharding(jax.local_devices()[0])
            if mesh is None
            else NamedSharding(mesh, PartitionSpec())
        )

    def put(self, pack_shard: Callable[[int], MicroBatch]) -> MicroBatch:
        """A micro-batch on the devices, each shard on its own.

        Args:
            pack_shard: Packs the shard of this number; called for those of this host, once each.
        """
        mine = {shard: pack_shard(shard) for shard in self.feeds.shards[self.feeds.here]}
        pieces = {shard: jax.tree.leaves(micro) for shard, micro in mine.items()}
        micro = next(iter(mine.values()))
        axes = jax.tree.leaves(_split_axes(micro))
        structure = jax.tree.structure(micro)
        return jax.tree.unflatten(
            structure,
            [
                self._join({shard: leaves[n] for shard, leaves in pieces.items()}, axis)
                for n, axis in enumerate(axes)
            ],
        )

    def shapes(self, micro: MicroBatch) -> MicroBatch:
        """The shapes of the arrays that `put` makes of shards like this one."""

        def of_all(piece: Any, axis: int) -> jax.ShapeDtypeStruct:
            size = piece.shape[axis] * self.shards
            shape = (*piece.shape[:axis], size, *piece.shape[axis + 1 :])
            return jax.ShapeDtypeStruct(shape, piece.dtype, sharding=self.sharding(axis))

        return jax.tree.map(of_all, micro, _split_axes(micro))

    def _join(self, pieces: Mapping[int, np.ndarray], axis: int) -> jax.Array:
        """One array of the pieces of the shards, which follow each other along an axis."""
        piece = next(iter(pieces.values()))
        if self.mesh is None:
            return jax.device_put(piece, self.everywhere)
        size = piece.shape[axis]
        shape = (*piece.shape[:axis], size * self.shards, *piece.shape[axis + 1 :])

        def of_device(index: tuple[slice, ...] | None) -> np.ndarray:
            assert index is not None
            return pieces[(index[axis].start or 0) // size]

        return jax.make_array_from_callback(shape, self.sharding(axis), of_device)

    def sharding(self, axis: int = 0) -> Sharding:
        """Of an array that is split along one axis."""
        if self.mesh is None:
            return self.everywhere
        return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, SHARD_AXES))

    def of_state(self, optimizer_state: Any, params: Mapping[str, jax.Array]) -> TrainState:
        """Shardings of a state: what has the shape of a parameter lies as the parameter does.

        Args:
            optimizer_state: Its arrays, or their shapes.
            params: By path.
        """

        def place(path: tuple[Any, ...], leaf: Any) -> Sharding:
            keys = (key.key for key in path if isinstance(key, jax.tree_util.DictKey))
            owner = next((params[key] for key in keys if key in params), None)
            if owner is None or owner.shape != leaf.shape:
                return self.everywhere
            return owner.sharding

        optimizer: Any = jax.tree_util.tree_map_with_path(place, optimizer_state)
        everywhere: Any = self.everywhere
        like_params: Any = shardings_of(params)
        return TrainState(like_params, optimizer, everywhere, everywhere)


def shardings_of(params: Mapping[str, jax.Array]) -> dict[str, Sharding]:
    """Where parameters lie; their gradients and copies lie there too."""
    return {path: leaf.sharding for path, leaf in params.items()}


def _split_axes(micro: MicroBatch) -> MicroBatch:
    """For every array of a micro-batch, the axis along which shards follow each other."""
    axes = jax.tree.map(lambda _: 0, micro)
    return replace(axes, prompts=replace(axes.prompts, positions=1))
