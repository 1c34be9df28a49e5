"""Where the arrays of the update lie: on one device, or spread over a mesh."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from perl_jax.mesh import fit_sharding
from perl_jax.training.packing import MicroBatch
from perl_jax.training.state import TrainState

# Orders are split over everything that is not split within a layer.
_ORDERS = ("data", "fsdp")


class Placement:
    """Puts arrays where they belong, and knows where results belong.

    Attributes:
        everywhere: A whole copy on every device.
        shards: The parts that the orders of a micro-batch are split into.
    """

    def __init__(self, mesh: Mesh | None) -> None:
        self._mesh = mesh
        self.shards = 1
        self.everywhere: Sharding = SingleDeviceSharding(jax.local_devices()[0])
        if mesh is not None:
            self.shards = int(np.prod([mesh.shape[axis] for axis in _ORDERS]))
            self.everywhere = NamedSharding(mesh, PartitionSpec())

    def put(self, micro: MicroBatch) -> MicroBatch:
        """A micro-batch on the devices: its orders split over them, its images everywhere."""
        shardings = jax.tree.map(self._split, micro)
        prompts = replace(
            shardings.prompts,
            positions=self._split(micro.prompts.positions, axis=1),
            images=jax.tree.map(lambda _: self.everywhere, micro.prompts.images),
        )
        return jax.device_put(micro, replace(shardings, prompts=prompts))

    def _split(self, array: Any, axis: int = 0) -> Sharding:
        if self._mesh is None:
            return self.everywhere
        spec: list[Any] = [None] * array.ndim
        spec[axis] = _ORDERS
        return fit_sharding(array.shape, PartitionSpec(*spec), self._mesh)

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
