"""Device meshes and the tables that say how arrays lie on them."""

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
    parts = [None] * (len(shape) - len(spec)) + list(spec)
    whole = [
        None if name is None or size % mesh.shape[name] else name
        for name, size in zip(parts, shape, strict=True)
    ]
    return NamedSharding(mesh, PartitionSpec(*whole))
