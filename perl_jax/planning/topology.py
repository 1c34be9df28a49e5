"""Names of sets of chips, and the devices that programs are compiled for but never run on."""

import importlib.util
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from perl_jax.chips import CHIPS, Chip
from perl_jax.legible import brief, suggestion

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

    @property
    def platform(self) -> str:
        """That of its devices, as `jax.Device.platform` names it; ``cpu:8`` stays a CPU's."""
        if not self.virtual:
            return "tpu"
        stays = self.name.partition(":")[0] == "cpu" or self.chip.is_tpu
        return "cpu" if stays else "gpu"

    @property
    def one_host(self) -> bool:
        """Whether one machine has all of the chips."""
        most = self.chip.per_node or {2: 8, 3: 4}[self.chip.axes]
        return self.devices <= most

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
            f"of {choices}; got {brief(name)}"
        )
    kind, shape = match[1], tuple(int(size) for size in match[2].split("x"))
    if kind not in CHIPS and kind not in VIRTUAL:
        hint = suggestion(kind, [*CHIPS, *VIRTUAL])
        raise ValueError(f"topology: {name}: expected one of {choices}; got {brief(kind)}{hint}")
    if kind in CHIPS and chip not in (None, kind):
        raise ValueError(
            f"chip: expected it for cpu:N and gpu:N only; got {brief(chip)} with {name}"
        )
    figures = _chip(chip or VIRTUAL.get(kind, kind))
    axes = CHIPS[kind].axes if kind in CHIPS else 1
    if len(shape) != axes or 0 in shape:
        example = {1: "8", 2: "4x4", 3: "2x4x4"}[axes]
        raise ValueError(
            f"topology: {name}: expected {axes} positive number(s), such as {kind}:{example}"
        )
    return Topology(name, figures, shape, kind in VIRTUAL or not figures.is_tpu)


def parse_type(name: str) -> Topology:
    """Reads the name of an accelerator type: of ``gcloud``, of a GPU, or of a topology.

    Args:
        name: ``v5litepod-16``, ``v6e-32``: N chips; ``v4-32``, ``v5p-32``: N cores, two a chip, in
            the shape that Cloud TPU gives a type of this size unless another is asked for;
            ``h100-8``: N GPUs; ``v5p:2x2x4``: see `parse_topology`.

    Raises:
        ValueError: There is no such type; the message says what is expected.
    """
    if ":" in name:
        return parse_topology(name)
    match = re.fullmatch(r"(\w+)-(\d+)", name)
    kind = "" if match is None else {"v5litepod": "v5e"}.get(match[1], match[1])
    names = ["v5litepod" if chip == "v5e" else chip for chip in CHIPS]
    if match is None or kind not in CHIPS:
        hint = "" if match is None else suggestion(match[1], names)
        raise ValueError(
            f"type: expected KIND-N, such as v5litepod-16, v5p-32 or h100-8, with KIND one of "
            f"{', '.join(names)}, or a topology such as v5e:4x4; got {brief(name)}{hint}"
        )
    number, axes = int(match[2]), CHIPS[kind].axes
    shape = _SHAPES[axes](number)
    if shape is None:
        sizes = {1: "1 or more", 2: ", ".join(map(str, _SQUARES)), 3: "8, 16, 32, 64 or 128 x N"}
        raise ValueError(f"type: {name}: expected {match[1]}-N with N one of {sizes[axes]}")
    return parse_topology(f"{kind}:{'x'.join(map(str, shape))}")


# https://cloud.google.com/tpu/docs/v5e, .../v6e: the slices that there are.
_SQUARES = {
    1: (1, 1), 4: (2, 2), 8: (2, 4), 16: (4, 4), 32: (4, 8), 64: (8, 8), 128: (8, 16),
    256: (16, 16),
}  # fmt: skip
# https://cloud.google.com/tpu/docs/v4, .../v5p: slices smaller than a cube of 4 x 4 x 4, by chips.
_PARTS_OF_A_CUBE = {4: (2, 2, 1), 8: (2, 2, 2), 16: (2, 2, 4), 32: (2, 4, 4)}


def _of_cores(cores: int) -> tuple[int, ...] | None:
    """The shape of a slice of v4 or v5p: whole cubes are arranged as evenly as they can be."""
    chips, odd = divmod(cores, 2)
    cubes, rest = divmod(chips, 64)
    if odd or cores == 0 or rest:
        return None if odd or cubes else _PARTS_OF_A_CUBE.get(chips)
    divisors = [n for n in range(1, cubes + 1) if cubes % n == 0]
    shapes = [(a, b, cubes // (a * b)) for a in divisors for b in divisors if cubes % (a * b) == 0]
    return tuple(4 * side for side in sorted(min(shapes, key=lambda one: (max(one), sum(one)))))


_SHAPES: dict[int, Callable[[int], tuple[int, ...] | None]] = {
    1: lambda gpus: (gpus,) if gpus else None,
    2: _SQUARES.get,
    3: _of_cores,
}


def _chip(name: str) -> Chip:
    if name not in CHIPS:
        raise ValueError(f"chip: expected one of {', '.join(CHIPS)}; got {brief(name)}")
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
