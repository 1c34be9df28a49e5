"""Where the arrays of the update lie: on one device, or spread over a mesh."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, Sharding

from perl_jax.mesh import Shards
from perl_jax.update.packing import MicroBatch
from perl_jax.update.state import TrainState


class Placement:
    """Puts arrays where they belong, and knows where results belong.

    Attributes:
        mesh: The devices; None: one of them.
        shards: The parts that a micro-batch is split into, and which host provides for which.
        everywhere: A whole copy on every device.
    """

    def __init__(self, mesh: Mesh | None) -> None:
        self.mesh = mesh
        self.shards = Shards(mesh)
        self.everywhere: Sharding = self.shards.everywhere

    def put(self, pack_shard: Callable[[int], MicroBatch]) -> MicroBatch:
        """A micro-batch on the devices, each shard on its own.

        Args:
            pack_shard: Packs the shard of this number; called for those of this host, once each.
        """
        return self.shards.put(pack_shard, split_axes)

    def whole(self, array: np.ndarray) -> jax.Array:
        """A copy of a host's array on every device."""
        return jax.device_put(array, self.everywhere)

    def compile(self, name: str, function: Callable[..., Any], **options: Any) -> Any:
        """A program over such arrays.

        Args:
            name: Of the program. A plan, which compiles programs for devices that are not at hand,
                lists it under this name.
            function: Pure.
            options: Of `jax.jit`.
        """
        return jax.jit(function, **options)

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


def split_axes(micro: MicroBatch) -> MicroBatch:
    """For every array of a micro-batch, the axis along which shards follow each other."""
    axes = jax.tree.map(lambda _: 0, micro)
    return replace(axes, prompts=replace(axes.prompts, positions=1))
