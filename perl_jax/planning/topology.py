"""Names of sets of chips, and the devices that programs are compiled for but never run on."""

import importlib.util
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax

from perl_jax.chips import CHIPS, Chip
from perl_jax.settings import suggestion

# Names of virtual devices, and the chip whose figures they get unless another is given.
VIRTUAL = {"cpu": "h100", "gpu": "h100"}


@dataclass(frozen=True)
class Topology:
    """A number of chips and their arrangement.

    Attributes:
        name: The given name: ``v5e:4x4``, ``h100:8``, ``cpu:8``.
        chip: The kind of chip; for virtual devices, the one whose figures they use.
        shape: The number of chips along each axis.
        virtual: Whether programs are compiled for virtual CPU devices instead.
    """

    name: str
    chip: Chip
    shape: tuple[int, ...]
    virtual: bool

    @property
    def devices(self) -> int:
        """The number of chips."""
        return math.prod(self.shape)

    def in_words(self) -> str:
        """The number and kind of the devices."""
        if self.name.partition(":")[0] in VIRTUAL:
            return f"{self.devices} virtual devices, each with the figures of one {self.chip.name}"
        return f"{self.devices} x {self.chip.name}"


def parse_topology(name: str, chip: str | None = None) -> Topology:
    """Reads the name of a topology.

    Args:
        name: A chip and the numbers along each axis: ``v5e:4x4``, ``v5p:2x4x4``, ``h100:8``.
            ``cpu:8`` and ``gpu:8`` are virtual devices with the figures of ``chip``.
        chip: A key of `CHIPS` for virtual devices; None: ``h100``.

    Raises:
        ValueError: The name cannot be read; the message lists what can.
    """
    match = re.fullmatch(r"(\w+):(\d+(?:x\d+)*)", name)
    choices = ", ".join([*CHIPS, *VIRTUAL])
    if match is None:
        raise ValueError(
            f"topology: expected KIND:NUMBERS, such as v5e:4x4, v5p:2x4x4 or h100:8, with KIND one "
            f"of {choices}; got {name!r}"
        )
    kind, shape = match[1], tuple(int(size) for size in match[2].split("x"))
    if kind not in CHIPS and kind not in VIRTUAL:
        hint = suggestion(kind, [*CHIPS, *VIRTUAL])
        raise ValueError(f"topology: {name}: expected one of {choices}; got {kind!r}{hint}")
    if kind in CHIPS and chip not in (None, kind):
        raise ValueError(f"chip: expected it for cpu:N and gpu:N only; got {chip!r} with {name}")
    figures = _chip(chip or VIRTUAL.get(kind, kind))
    axes = CHIPS[kind].axes if kind in CHIPS else 1
    if len(shape) != axes or 0 in shape:
        example = {1: "8", 2: "4x4", 3: "2x4x4"}[axes]
        raise ValueError(
            f"topology: {name}: expected {axes} positive number(s), such as {kind}:{example}"
        )
    return Topology(name, figures, shape, kind in VIRTUAL or not figures.is_tpu)


def _chip(name: str) -> Chip:
    if name not in CHIPS:
        raise ValueError(f"chip: expected one of {', '.join(CHIPS)}; got {name!r}")
    return CHIPS[name]


def devices_of(topology: Topology) -> Sequence[Any]:
    """The devices of a topology.

    Args:
        topology: A TPU slice, or virtual devices, which need ``jax_num_cpu_devices`` as large.

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
