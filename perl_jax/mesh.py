"""Device meshes and the tables that say how arrays lie on them."""

import math
import re
from collections.abc import Mapping

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "fsdp", "tensor")


def make_mesh(data: int = 1, fsdp: int = 1, tensor: int = 1) -> Mesh:
    """Makes a mesh over all devices.

    Args:
        data: Copies of the parameters.
        fsdp: Parts that parameters, gradients and optimizer state are split into.
        tensor: Parts that heads and hidden units are split into.

    Raises:
        ValueError: the product is not the number of devices.
    """
    shape = (data, fsdp, tensor)
    devices = jax.device_count()
    if data * fsdp * tensor != devices:
        raise ValueError(
            f"mesh: expected data x fsdp x tensor = {devices} devices, got "
            f"{data} x {fsdp} x {tensor} = {data * fsdp * tensor}"
        )
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES))


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
    spec = next((spec for pattern, spec in table.items() if re.fullmatch(pattern, path)), None)
    if spec is None:
        raise KeyError(f"{path}: no pattern of the sharding table matches")
    leading = (None,) * (len(shape) - len(spec))
    return fit_sharding(shape, PartitionSpec(*leading, *spec), mesh)


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
