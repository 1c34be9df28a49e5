"""What accelerators have and can do, and how a set of them is named.

Figures are the makers': Cloud TPU's system architecture pages (HBM, bfloat16 peak, HBM bandwidth)
and "How to Scale Your Model" (Austin et al. 2025, chapter 2: bandwidth of a link) for TPUs; the
data sheets of A100 80GB SXM, H100 SXM and H200 SXM (dense bfloat16, NVLink in both directions) for
GPUs. A TPU's interconnect is a torus: ``link`` is what arrives along one of its axes, over both
links of a chip there, and ``links`` is the number of axes.
"""

import math
import re
from dataclasses import dataclass

from perl_jax.settings import suggestion

GIB = 1 << 30


@dataclass(frozen=True)
class Chip:
    """One kind of accelerator.

    Attributes:
        name: As topologies name it.
        memory: Bytes of HBM.
        peak: Dense bfloat16 operations a second.
        bandwidth: Bytes a second from and to HBM.
        link: Bytes a second that a chip receives along one axis of its interconnect.
        links: Axes of the interconnect.
        axes: Numbers in a topology: two or three for a TPU, one for a GPU.
        per_node: Chips that the fast interconnect joins; None: all of them.
        outside: Bytes a second that a chip receives from other nodes.
    """

    name: str
    memory: int
    peak: float
    bandwidth: float
    link: float
    links: int
    axes: int
    per_node: int | None = None
    outside: float = 0.0

    @property
    def is_tpu(self) -> bool:
        """Whether libtpu compiles for it."""
        return self.per_node is None

    def receives(self, group: int, devices: int) -> float:
        """Bytes a second that a chip receives in a collective.

        Groups of all chips use every axis of the interconnect, smaller ones one axis; groups larger
        than a node of GPUs go through the network.

        Args:
            group: Chips that take part together.
            devices: All chips.
        """
        if self.per_node is not None and group > self.per_node:
            return self.outside
        return self.link * (self.links if group == devices else 1)


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v4", 32 * GIB, 275e12, 1.2e12, 90e9, 3, 3),
        Chip("v5e", 16 * GIB, 197e12, 0.82e12, 90e9, 2, 2),
        Chip("v5p", 95 * GIB, 459e12, 2.77e12, 180e9, 3, 3),
        Chip("v6e", 32 * GIB, 918e12, 1.64e12, 180e9, 2, 2),
        # Network: eight adapters of 200 Gb/s (A100) or 400 Gb/s a node of eight.
        Chip("a100", 80 * GIB, 312e12, 2.04e12, 300e9, 1, 1, 8, 25e9),
        Chip("h100", 80 * GIB, 989e12, 3.35e12, 450e9, 1, 1, 8, 50e9),
        Chip("h200", 141 * 10**9, 989e12, 4.8e12, 450e9, 1, 1, 8, 50e9),
    )
}

# Names for devices of the machine that plans, and the chip whose figures are then used.
VIRTUAL = {"cpu": "h100", "gpu": "h100"}


@dataclass(frozen=True)
class Topology:
    """A number of chips and how they are joined.

    Attributes:
        name: As given: ``v5e:4x4``, ``h100:8``, ``cpu:8``.
        chip: Of this kind.
        shape: Chips along each axis.
        virtual: Whether programs are compiled for virtual CPU devices instead.
    """

    name: str
    chip: Chip
    shape: tuple[int, ...]
    virtual: bool

    @property
    def devices(self) -> int:
        """How many chips."""
        return math.prod(self.shape)


def parse_topology(name: str, chip: str | None = None) -> Topology:
    """Reads the name of a topology.

    Args:
        name: A chip and its numbers along each axis: ``v5e:4x4``, ``v5p:2x4x4``, ``h100:8``;
            ``cpu:8`` and ``gpu:8`` are virtual devices with the figures of ``chip``.
        chip: A key of `CHIPS`, for virtual devices; by default ``h100``.

    Raises:
        ValueError: The name cannot be read, with what would be.
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
