"""Collective operations between chips, read from the text of a compiled program.

XLA's own cost analysis ignores links. Here every collective is read from the optimised program,
with its bytes and groups. An operation that starts and finishes in two places counts once.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from perl_jax.planning.instructions import Instruction, Instructions, elements_of

_BYTES = {
    "pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4,
    "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8, "c128": 16,
}  # fmt: skip
_KINDS = (
    "all-gather", "all-reduce", "reduce-scatter", "all-to-all", "ragged-all-to-all",
    "collective-permute", "collective-broadcast",
)  # fmt: skip
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\]")


@dataclass(frozen=True)
class Collective:
    """One collective operation of a program.

    Attributes:
        kind: The operation, such as ``all-gather`` or ``all-reduce``.
        shape: The shape of its result, as written in the program.
        bytes: Bytes of its result on a chip; for ``reduce-scatter``, of its input.
        group: The number of chips that take part together.
        count: The number of times it runs.
        where: JAX's name for the operation that it comes from.
        ahead: Whether it is started ahead and runs while the chip computes.
    """

    kind: str
    shape: str
    bytes: int
    group: int
    count: int = 1
    where: str = ""
    ahead: bool = False

    def scaled(self, lengths: Mapping[int, float], times: float = 1.0) -> "Collective":
        """It with axes of these lengths cut to a share, and so many times the bytes."""
        share = math.prod(lengths.get(size, 1.0) for size in self._axes)
        return replace(self, bytes=round(self.bytes * share * times))

    def shortened(self, lengths: Mapping[int, float]) -> "Collective":
        """It with its first axis, but for axes of 1, cut to a share if it has such a length.

        For short axes: others may have the same length.
        """
        first = next((size for size in self._axes if size > 1), 1)
        return replace(self, bytes=round(self.bytes * lengths.get(first, 1.0)))

    @property
    def _axes(self) -> list[int]:
        """Those of its result, or of its first result."""
        _, sizes = next(iter(_ARRAY.findall(self.shape)), ("", ""))
        return [int(size) for size in sizes.split(",") if size]

    @property
    def received(self) -> float:
        """Bytes that a chip receives in all its runs, with ring algorithms."""
        share = (self.group - 1) / self.group
        if self.kind == "all-reduce":
            return 2 * share * self.bytes * self.count
        if self.kind.startswith("collective"):
            return float(self.bytes * self.count)
        return share * self.bytes * self.count


def find_collectives(program: str, devices: int, *, trips: int = 1) -> list[Collective]:
    """The collectives of a compiled program, with the number of times each runs.

    Args:
        program: ``jax.stages.Compiled.as_text()``.
        devices: The number of all devices, for groups that are not spelled out.
        trips: The number of trips of a loop whose number the program does not give.
    """
    reader = _Reader(devices)
    runs = Instructions(program, trips=trips).runs(reader.cost, in_fusions=True)
    found = (reader.read(instruction, times) for instruction, times in runs)
    return [one for one in found if one is not None]


def received_bytes(collectives: Iterable[Collective]) -> float:
    """Bytes that a chip receives in all collectives."""
    return sum(one.received for one in collectives)


def merged(collectives: Iterable[Collective]) -> list[Collective]:
    """Merges equal collectives into one that runs more often; the largest senders come first."""
    found: dict[tuple[str, int, int, str, bool], Collective] = {}
    for one in collectives:
        where = one.where.rpartition("closed_call/")[2] or one.where
        key = (one.kind, one.bytes, one.group, where, one.ahead)
        count = one.count + (found[key].count if key in found else 0)
        found[key] = replace(one, count=count, where=where)
    return sorted(found.values(), key=lambda one: -one.received)


class _Reader:
    """Takes the collectives from the instructions of a program."""

    def __init__(self, devices: int) -> None:
        self.devices = devices
        self.asynchronous: set[str] = set()

    def read(self, instruction: Instruction, times: int) -> Collective | None:
        found = self._collective(instruction)
        # TPU compilers write one collective into each of the fusions that it overlaps with.
        if found is None or "async_collective_fusion_config" not in instruction.text:
            return found and replace(found, count=times)
        channel = re.search(r"channel_id=(\d+)", instruction.text)
        if channel is not None:
            if channel[1] in self.asynchronous:
                return None
            self.asynchronous.add(channel[1])
        return replace(found, count=times)

    def cost(self, instruction: Instruction) -> float:
        found = self._collective(instruction)
        return 0.0 if found is None else found.received

    def _collective(self, one: Instruction) -> Collective | None:
        """The collective of an instruction, once; None if it is none, or of one chip alone."""
        kind, shape, line = one.opcode.removesuffix("-start"), one.shape, one.text
        if kind not in _KINDS:
            return None
        if one.opcode in ("all-gather-start", "collective-permute-start"):
            shape = elements_of(shape)[0][1]
        size, group = _bytes_of(shape), self._group(line)
        if kind == "reduce-scatter":
            size *= group
        # They also write a reduce-scatter as a fusion of an all-reduce and a slice.
        elif kind == "all-reduce" and one.computation.startswith("all-reduce-scatter"):
            kind = "reduce-scatter"
        if group <= 1:
            return None
        source = re.search(r'op_name="([^"]*)"', line)
        ahead = one.opcode.endswith("-start") or "async_collective_fusion_config" in line
        return Collective(kind, shape, size, group, 1, source[1] if source else "", ahead)

    def _group(self, line: str) -> int:
        """The number of devices that take part together, in either notation for groups."""
        if "source_target_pairs=" in line:
            return 2
        if match := re.search(r"replica_groups=\{\{([\d,]*)\}", line):
            return match[1].count(",") + 1
        if match := re.search(r"replica_groups=\[\d+,(\d+)\]<=", line):
            return int(match[1])
        if match := re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", line):
            sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
            return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", match[2]))
        return self.devices


def _bytes_of(shape: str) -> int:
    return sum(
        _BYTES.get(dtype, 1) * math.prod(int(size) for size in sizes.split(",") if size)
        for dtype, sizes in _ARRAY.findall(re.sub(r"\{[^}]*\}", "", shape))
    )
