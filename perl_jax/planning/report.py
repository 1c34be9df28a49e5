"""A plan as data and as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from perl_jax.planning.chips import GIB, Topology
from perl_jax.planning.collectives import Collective, merged, received_bytes
from perl_jax.planning.roofline import Seconds

# How many collectives of a program a table shows: those that send most.
_SHOWN = 3
# Characters of a shape, and of the place in the program that it comes from.
_WIDTH = 56
# In the order of the table.
_KINDS = (
    "parameters", "frozen", "optimizer", "reference", "copy", "gradients", "caches", "features",
    "batch", "other", "results", "temporaries",
)  # fmt: skip


@dataclass(frozen=True)
class ProgramPlan:
    """What one compiled program takes on one chip.

    Attributes:
        name: Of the program.
        calls: In a step.
        memory: Bytes by kind.
        flops: Of all chips together, in a call.
        traffic: Bytes from and to HBM, in a call.
        collectives: What it sends.
        seconds: Of a call.
        compile_seconds: How long tracing and compiling took.
        refused: Whether the compiler found no room for it; it then tells nothing of collectives.
    """

    name: str
    calls: float
    memory: Mapping[str, int]
    flops: float
    traffic: float
    collectives: Sequence[Collective]
    seconds: Seconds
    compile_seconds: float
    refused: bool = False

    @property
    def total(self) -> int:
        """Bytes of memory."""
        return sum(self.memory.values())

    @property
    def received(self) -> float:
        """Bytes from other chips, in a call."""
        return received_bytes(self.collectives)

    @property
    def seconds_of_step(self) -> float:
        """Of all calls."""
        return self.calls * self.seconds.total


@dataclass(frozen=True)
class Plan:
    """What a run takes on some chips.

    Attributes:
        command: That makes it.
        model: The policy.
        topology: The chips.
        mesh: Their layout.
        step: The numbers of a step, in words.
        assumptions: In words.
        programs: In the order of a step.
        usable: Bytes of a chip's HBM that may be used.
        notes: What was adapted.
        advice: What to change where it does not fit.
    """

    command: str
    model: str
    topology: Topology
    mesh: Mapping[str, int]
    step: Sequence[str]
    assumptions: Sequence[str]
    programs: Sequence[ProgramPlan]
    usable: int
    notes: Sequence[str] = ()
    advice: Sequence[str] = ()

    @property
    def largest(self) -> ProgramPlan:
        """The program that needs most memory."""
        return max(self.programs, key=lambda program: program.total)

    @property
    def too_large(self) -> list[str]:
        """The programs that need more memory than there is."""
        return [one.name for one in self.programs if one.refused or one.total > self.usable]

    @property
    def fits(self) -> bool:
        """Whether every program has the memory that it needs."""
        return not self.too_large

    @property
    def seconds_of_step(self) -> float:
        """Of all programs."""
        return sum(program.seconds_of_step for program in self.programs)

    @property
    def received_of_step(self) -> float:
        """Bytes that a chip receives from others."""
        return sum(program.calls * program.received for program in self.programs)


def as_json(plan: Plan) -> dict[str, Any]:
    """A plan as JSON holds it; sizes in bytes, times in seconds."""
    return {
        **asdict(plan),
        "programs": [
            {
                **asdict(program),
                "collectives": [
                    {**asdict(one), "received": one.received} for one in merged(program.collectives)
                ],
                "total": program.total,
                "received": program.received,
                "bound": program.seconds.bound,
                "seconds_of_step": program.seconds_of_step,
            }
            for program in plan.programs
        ],
        "fits": plan.fits,
        "too_large": plan.too_large,
        "seconds_of_step": plan.seconds_of_step,
        "received_of_step": plan.received_of_step,
    }


def as_text(plan: Plan) -> str:
    """A plan as a person reads it."""
    chip, mesh = plan.topology.chip, " ".join(f"{k}={v}" for k, v in plan.mesh.items())
    blocks = [
        [plan.command],
        [
            f"{plan.model} on {plan.topology.name}: {plan.topology.devices} x {chip.name} of "
            f"{chip.memory / GIB:.0f} GiB, {plan.usable / GIB:.1f} usable; mesh {mesh}",
            *plan.step,
            *plan.notes,
        ],
        ["Memory of a chip while a program runs, GiB", *_memory_table(plan)],
        ["Time, and what a chip does in a call", *_time_table(plan)],
        ["Collectives that send most: bytes received by a chip in a call", *_collectives(plan)],
        ["Assumptions", *(f"- {line}" for line in plan.assumptions)],
        _verdict(plan),
    ]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _memory_table(plan: Plan) -> list[str]:
    kinds = [kind for kind in _KINDS if any(kind in one.memory for one in plan.programs)]
    rows = [["", *kinds, "total", ""]]
    for program in plan.programs:
        sizes = [program.memory.get(kind) for kind in kinds]
        cells = ["" if size is None else f"{size / GIB:.3g}" for size in sizes]
        over = "too large" if program.name in plan.too_large else ""
        rows.append([program.name, *cells, f"{program.total / GIB:.3g}", over])
    return _aligned(rows)


def _time_table(plan: Plan) -> list[str]:
    rows = [
        ["", "calls", "TFLOP", "HBM GB", "links GB", "compute s", "HBM s", "links s", "step s",
         "bound by", "compiled in s"],
    ]  # fmt: skip
    for one in plan.programs:
        seconds = one.seconds
        links = ["?", "?"] if one.refused else [f"{one.received / 1e9:.3g}", f"{seconds.links:.2g}"]
        rows.append(
            [
                one.name, f"{one.calls:g}", f"{one.flops / plan.topology.devices / 1e12:.3g}",
                f"{one.traffic / 1e9:.3g}", links[0], f"{seconds.compute:.2g}",
                f"{seconds.memory:.2g}", links[1], f"{one.seconds_of_step:.3g}", seconds.bound,
                f"{one.compile_seconds:.0f}",
            ]
        )  # fmt: skip
    received = plan.received_of_step
    rows.append(
        ["step", "", "", "", f"{received / 1e9:.3g}", "", "", "", f"{plan.seconds_of_step:.3g}",
         "", f"{sum(one.compile_seconds for one in plan.programs):.0f}"]
    )  # fmt: skip
    return _aligned(rows)


def _collectives(plan: Plan) -> list[str]:
    rows = []
    for program in plan.programs:
        most = merged(program.collectives)[:_SHOWN]
        for one in most:
            size = f"{one.received / 1e9:.3f} GB"
            shape = _shortened(one.shape.split("{")[0].lstrip("("))
            rows.append(
                [
                    program.name,
                    size,
                    f"{one.count} x",
                    one.kind,
                    shape,
                    f"of {one.group}",
                    _shortened(one.where),
                ]
            )
    return _aligned(rows, left=(0, 3, 4, 5, 6)) if rows else ["none"]


def _shortened(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."


def _verdict(plan: Plan) -> list[str]:
    largest = plan.largest
    used = f"{largest.name} needs {largest.total / GIB:.3g} of {plan.usable / GIB:.3g} GiB"
    if plan.fits:
        return [f"Verdict: fits. {used}; a step takes about {plan.seconds_of_step:.3g} s."]
    return [f"Verdict: does not fit: {', '.join(plan.too_large)}. {used}.", *plan.advice]


def _aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
