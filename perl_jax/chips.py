"""The memory and the speeds of accelerators, for planning a run and for rating it.

Sources, TPUs: Cloud TPU's system architecture pages (HBM, bfloat16 peak, HBM bandwidth) and "How to
Scale Your Model" (Austin et al. 2025, chapter 2: bandwidth of a link). GPUs: the data sheets of
A100 80GB SXM, H100 SXM, H200 SXM (dense bfloat16, NVLink in both directions) and L20 (PCIe). A
TPU's interconnect is a torus: a chip has two links along each axis, and receives over both. Clocks
are the peaks over the operations of a chip's matrix units in a cycle.
"""

from dataclasses import dataclass

GIB = 1 << 30


@dataclass(frozen=True)
class Chip:
    """One kind of accelerator.

    Attributes:
        name: The name in topologies.
        kind: The start of `jax.Device.device_kind`.
        memory: HBM, in bytes.
        peak: Dense bfloat16 operations a second.
        bandwidth: Bytes a second from and to HBM.
        link: Bytes a second that a chip receives along one axis of its interconnect.
        links: Axes of the interconnect.
        axes: Numbers in a topology: two or three for a TPU, one for a GPU.
        per_node: Chips joined by the fast interconnect; None: all.
        outside: Bytes a second that a chip receives from other nodes.
        clock: Cycles a second of the matrix units; None: not known.
    """

    name: str
    kind: str
    memory: int
    peak: float
    bandwidth: float
    link: float
    links: int
    axes: int
    per_node: int | None = None
    outside: float = 0.0
    clock: float | None = None

    @property
    def is_tpu(self) -> bool:
        """Whether it is a TPU, which libtpu compiles for."""
        return self.per_node is None

    def receives(self, group: int, devices: int) -> float:
        """Bytes a second that a chip receives in a collective of ``group`` of ``devices`` chips.

        Groups of all chips use every axis of the interconnect, smaller ones a single axis; groups
        larger than a node of GPUs use the network.
        """
        if self.per_node is not None and group > self.per_node:
            return self.outside
        return self.link * (self.links if group == devices else 1)


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v4", "TPU v4", 32 * GIB, 275e12, 1.2e12, 90e9, 3, 3),
        Chip("v5e", "TPU v5 lite", 16 * GIB, 197e12, 0.82e12, 90e9, 2, 2, clock=1.5e9),
        Chip("v5p", "TPU v5", 95 * GIB, 459e12, 2.77e12, 180e9, 3, 3, clock=1.75e9),
        Chip("v6e", "TPU v6 lite", 32 * GIB, 918e12, 1.64e12, 180e9, 2, 2, clock=1.75e9),
        # Network: eight adapters of 200 Gb/s (A100) or 400 Gb/s a node of eight.
        Chip("a100", "NVIDIA A100", 80 * GIB, 312e12, 2.04e12, 300e9, 1, 1, 8, 25e9),
        Chip("h100", "NVIDIA H100", 80 * GIB, 989e12, 3.35e12, 450e9, 1, 1, 8, 50e9),
        Chip("h200", "NVIDIA H200", 141 * 10**9, 989e12, 4.8e12, 450e9, 1, 1, 8, 50e9),
        Chip("l20", "NVIDIA L20", 48 * GIB, 119.5e12, 0.864e12, 32e9, 1, 1, 8, 25e9),
    )
}


def chip_of(device_kind: str) -> Chip | None:
    """The chip of a `jax.Device.device_kind`; None if unknown."""
    found = (chip for chip in CHIPS.values() if device_kind.startswith(chip.kind))
    return max(found, key=lambda chip: len(chip.kind), default=None)
