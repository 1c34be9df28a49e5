"""Devices that programs are compiled for and never run on."""

import importlib.util
from collections.abc import Sequence
from typing import Any

import jax

from perl_jax.planning.chips import Topology


def devices_of(topology: Topology) -> Sequence[Any]:
    """The devices of a topology.

    Args:
        topology: A TPU slice, or virtual devices; those need ``jax_num_cpu_devices`` as large.

    Raises:
        ImportError: libtpu is not installed.
        ValueError: libtpu knows no such slice, or there are fewer virtual devices.
    """
    if topology.virtual:
        return _virtual(topology.devices)
    if importlib.util.find_spec("libtpu") is None:
        raise ImportError(
            f"{topology.name}: expected libtpu, which compiles for TPUs without one: pip install "
            f"'jax[tpu]' (Linux on x86-64). Without it, --topology=cpu:{topology.devices} "
            f"--chip={topology.chip.name} compiles for virtual CPU devices"
        )
    from jax.experimental.topologies import get_topology_desc

    try:
        return get_topology_desc(platform="tpu", topology_name=topology.name).devices
    except Exception as error:
        raise ValueError(f"topology: libtpu does not know {topology.name}: {error}") from error


def _virtual(count: int) -> Sequence[Any]:
    devices = jax.devices("cpu")
    if len(devices) < count:
        raise ValueError(f"topology: expected {count} virtual devices; there are {len(devices)}")
    return devices[:count]
