"""Collective operations between chips, read from the text of a compiled program.

XLA's own cost analysis counts a loop's body once and ignores links. Here every collective is read
from the optimised program, with its bytes and groups. A loop counts once per trip, a conditional as
its most expensive branch, and an operation that starts and finishes in two places once.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

_BYTES = {
    "pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4,
    "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8, "c128": 16,
}  # fmt: skip
_KINDS = (
    "all-gather", "all-reduce", "reduce-scatter", "all-to-all", "ragged-all-to-all",
    "collective-permute", "collective-broadcast",
)  # fmt: skip
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = ")
_OPCODE = re.compile(r"\s*([\w\-]+)\(")
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\]")
_CALLED = re.compile(r"\b(?:calls|body|to_apply)=%?([\w.\-]+)")
_BRANCHES = re.compile(
    r"(?:branch_computations=\{([^}]*)\}|true_computation=(\S+), false_computation=(\S+?)[,\s])"
)
_TRIPS = re.compile(r'known_trip_count[\\":{n ]*?(\d+)')
_CONSTANT = re.compile(r"= [su]\d+\[\]\S* constant\((\d+)\)")


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
        _, sizes = next(iter(_ARRAY.findall(self.shape)), ("", ""))
        share = math.prod(lengths.get(int(size), 1.0) for size in sizes.split(",") if size)
        return replace(self, bytes=round(self.bytes * share * times))

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
    return _Reader(program, devices, trips).read()


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
    """Walks the computations of a program from its entry."""

    def __init__(self, program: str, devices: int, trips: int) -> None:
        self.devices, self.trips = devices, trips
        self.computations, self.entry = _computations(program)
        self.asynchronous: set[str] = set()

    def read(self) -> list[Collective]:
        return list(self._of_computation(self.entry))

    def _of_computation(self, name: str) -> Iterator[Collective]:
        for line in self.computations[name]:
            yield from self._of_line(name, line)

    def _of_line(self, computation: str, line: str) -> Iterator[Collective]:
        shape, opcode = _shape_and_opcode(line)
        if opcode.endswith(("-done", "-update")):
            return
        kind = opcode.removesuffix("-start")
        if kind in _KINDS:
            yield from self._collective(computation, kind, shape, opcode, line)
        elif opcode == "while":
            inside = [*self._called(line), *self._of_computation(_named("condition", line))]
            times = self._trips_of(line)
            yield from (replace(one, count=one.count * times) for one in inside)
        elif opcode == "conditional":
            branches = [list(self._of_computation(branch)) for branch in _branches(line)]
            yield from max(branches, key=received_bytes, default=[])
        elif "=%" in line:
            yield from self._called(line)

    def _called(self, line: str) -> Iterator[Collective]:
        for name in _CALLED.findall(line):
            if name in self.computations:
                yield from self._of_computation(name)

    def _collective(
        self, computation: str, kind: str, shape: str, opcode: str, line: str
    ) -> Iterator[Collective]:
        # TPU compilers write one collective into each of the fusions that it overlaps with.
        if "async_collective_fusion_config" in line:
            channel = re.search(r"channel_id=(\d+)", line)
            if channel is not None:
                if channel[1] in self.asynchronous:
                    return
                self.asynchronous.add(channel[1])
        if opcode in ("all-gather-start", "collective-permute-start"):
            shape = _elements(shape)[0][1]
        size, group = _bytes_of(shape), self._group(line)
        if kind == "reduce-scatter":
            size *= group
        # They also write a reduce-scatter as a fusion of an all-reduce and a slice.
        elif kind == "all-reduce" and computation.startswith("all-reduce-scatter"):
            kind = "reduce-scatter"
        if group > 1:
            source = re.search(r'op_name="([^"]*)"', line)
            ahead = opcode.endswith("-start") or "async_collective_fusion_config" in line
            yield Collective(kind, shape, size, group, 1, source[1] if source else "", ahead)

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

    def _trips_of(self, line: str) -> int:
        """The number of trips of a loop: as noted, or the bound that its condition compares to."""
        if match := _TRIPS.search(line):
            return int(match[1])
        condition = _named("condition", line)
        names = [condition]
        for inner in self.computations[condition]:
            names += [name for name in _CALLED.findall(inner) if name in self.computations]
        lines = (inner for name in names for inner in self.computations[name])
        bounds = [int(match[1]) for inner in lines if (match := _CONSTANT.search(inner))]
        return max(bounds, default=0) or self.trips


def _computations(program: str) -> tuple[dict[str, list[str]], str]:
    """The instructions of every computation by name, and the name of the entry computation."""
    found: dict[str, list[str]] = {}
    entry, current = "", None
    for line in program.splitlines():
        if header := _HEADER.match(line):
            current = found.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif current is not None and _INSTRUCTION.match(line):
            current.append(line)
    if not entry:
        raise ValueError("program: expected the text of a compiled program with an ENTRY")
    return found, entry


def _shape_and_opcode(line: str) -> tuple[str, str]:
    rest = _INSTRUCTION.sub("", line)
    end = _elements(rest)[1] if rest.startswith("(") else rest.index(" ")
    opcode = _OPCODE.match(rest[end:])
    return rest[:end], opcode[1] if opcode else ""


def _elements(text: str) -> tuple[list[str], int]:
    """The elements of the tuple at the start of a text, and the position where it ends."""
    parts, depth, start = [], 0, 1
    for place, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if (character == "," and depth == 1) or depth == 0:
            parts.append(text[start:place].strip())
            start = place + 1
        if depth == 0:
            break
    return parts, start


def _bytes_of(shape: str) -> int:
    return sum(
        _BYTES.get(dtype, 1) * math.prod(int(size) for size in sizes.split(",") if size)
        for dtype, sizes in _ARRAY.findall(re.sub(r"\{[^}]*\}", "", shape))
    )


def _named(attribute: str, line: str) -> str:
    match = re.search(rf"\b{attribute}=%?([\w.\-]+)", line)
    assert match is not None, f"{attribute} of {line}"
    return match[1]


def _branches(line: str) -> list[str]:
    match = _BRANCHES.search(line)
    if match is None:
        return []
    names = match[1].split(",") if match[1] else [match[2], match[3]]
    return [name.strip().lstrip("%") for name in names]
