"""The instructions of a compiled program, read from its text, and how often each of them runs.

XLA's own cost analysis counts a loop's body once. Here a loop counts once per trip, and a
conditional as its dearest branch.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = ")
_OPCODE = re.compile(r"\s*([\w\-]+)\(")
_CALLED = re.compile(r"\b(?:calls|body|to_apply)=%?([\w.\-]+)")
_BRANCHES = re.compile(
    r"(?:branch_computations=\{([^}]*)\}|true_computation=(\S+), false_computation=(\S+?)[,\s])"
)
_TRIPS = re.compile(r'known_trip_count[\\":{n ]*?(\d+)')
_CONSTANT = re.compile(r"= [su]\d+\[\]\S* constant\((\d+)\)")


@dataclass(frozen=True)
class Instruction:
    """One instruction of a program.

    Attributes:
        computation: The name of the computation that it stands in.
        shape: The shape of its result, as written in the program.
        opcode: What it does, such as ``fusion`` or ``all-gather-start``.
        text: Its line.
    """

    computation: str
    shape: str
    opcode: str
    text: str

    def named(self, attribute: str) -> str:
        """The computation of an attribute, such as ``body``."""
        match = re.search(rf"\b{attribute}=%?([\w.\-]+)", self.text)
        assert match is not None, f"{attribute} of {self.text}"
        return match[1]


class Instructions:
    """The instructions of a program, by computation.

    Attributes:
        computations: The instructions of each computation, by its name.
        entry: The name of the computation that the program begins with.
    """

    def __init__(self, program: str, *, trips: int = 1) -> None:
        """Reads a program.

        Args:
            program: ``jax.stages.Compiled.as_text()``.
            trips: The number of trips of a loop whose number the program does not give.

        Raises:
            ValueError: The text is not that of a compiled program.
        """
        self._trips = trips
        self.computations: dict[str, list[Instruction]] = {}
        self.entry, current = "", ""
        for line in program.splitlines():
            if header := _HEADER.match(line):
                current = header[2]
                self.computations.setdefault(current, [])
                self.entry = current if header[1] else self.entry
            elif current and _INSTRUCTION.match(line):
                shape, opcode = _shape_and_opcode(line)
                self.computations[current].append(Instruction(current, shape, opcode, line))
        if not self.entry:
            raise ValueError("program: expected the text of a compiled program with an ENTRY")

    def runs(
        self, cost: Callable[[Instruction], float], *, in_fusions: bool
    ) -> Iterator[tuple[Instruction, int]]:
        """The instructions in order, each with how often it runs.

        Args:
            cost: Tells which branch of a conditional is the dearest.
            in_fusions: Whether the parts of fusions come, too. Their costs are those of the fusion.
        """
        return self._runs(self.entry, 1, cost, in_fusions)

    def _runs(
        self, name: str, times: int, cost: Callable[[Instruction], float], in_fusions: bool
    ) -> Iterator[tuple[Instruction, int]]:
        def inside(names: Iterable[str], times: int) -> Iterator[tuple[Instruction, int]]:
            for called in names:
                if called in self.computations:
                    yield from self._runs(called, times, cost, in_fusions)

        for one in self.computations[name]:
            if one.opcode == "while":
                of_loop = one.named("body"), one.named("condition")
                yield from inside(of_loop, times * self._trips_of(one))
            elif one.opcode == "conditional":
                branches = [list(inside([branch], times)) for branch in _branches(one.text)]
                yield from max(
                    branches,
                    key=lambda runs: sum(cost(inner) * count for inner, count in runs),
                    default=[],
                )
            else:
                yield one, times
                # What finishes names the computation of what started once more.
                finishes = one.opcode.endswith(("-done", "-update"))
                if not finishes and (in_fusions or one.opcode == "call"):
                    yield from inside(_CALLED.findall(one.text), times)

    def _trips_of(self, loop: Instruction) -> int:
        """The number of trips of a loop: as noted, or the bound that its condition compares to."""
        if match := _TRIPS.search(loop.text):
            return int(match[1])
        condition = loop.named("condition")
        names = [condition]
        for inner in self.computations[condition]:
            names += [name for name in _CALLED.findall(inner.text) if name in self.computations]
        lines = (inner.text for name in names for inner in self.computations[name])
        bounds = [int(match[1]) for line in lines if (match := _CONSTANT.search(line))]
        return max(bounds, default=0) or self._trips


def elements_of(text: str) -> tuple[list[str], int]:
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


def _shape_and_opcode(line: str) -> tuple[str, str]:
    rest = _INSTRUCTION.sub("", line)
    end = elements_of(rest)[1] if rest.startswith("(") else rest.index(" ")
    opcode = _OPCODE.match(rest[end:])
    return rest[:end], opcode[1] if opcode else ""


def _branches(line: str) -> list[str]:
    match = _BRANCHES.search(line)
    if match is None:
        return []
    names = match[1].split(",") if match[1] else [match[2], match[3]]
    return [name.strip().lstrip("%") for name in names]
