"""A plan as data and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from perl_jax.planning.collectives import Collective, merged, received_bytes
from perl_jax.planning.draws import Draws
from perl_jax.planning.roofline import Seconds
from perl_jax.planning.topology import Topology


@dataclass(frozen=True)
class ProgramPlan:
    """The needs of one compiled program on one chip.

    Attributes:
        name: The name of the program.
        calls: The number of times a step calls it.
        memory: Bytes on one chip, by kind.
        flops: Floating-point operations of a call, on all chips together.
        traffic: Bytes that a call moves from and to the HBM of one chip.
        collectives: The collective operations of the program.
        seconds: The time of a call.
        compile_seconds: The time of tracing and compiling.
        refused: Whether the compiler found no room for it; then its collectives are unknown.
        calls_unfiltered: The number of calls if every group informed; None: the same.
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
    calls_unfiltered: float | None = None

    @property
    def total(self) -> int:
        """Bytes of memory, all kinds together."""
        return sum(self.memory.values())

    @property
    def received(self) -> float:
        """Bytes that a chip receives from other chips in a call."""
        return received_bytes(self.collectives)

    @property
    def seconds_of_step(self) -> float:
        """The time of all its calls in a step, in seconds."""
        return self.calls * self.seconds.total

    @property
    def seconds_unfiltered(self) -> float:
        """The time of its calls if every group informed, in seconds."""
        calls = self.calls if self.calls_unfiltered is None else self.calls_unfiltered
        return calls * self.seconds.total


@dataclass(frozen=True)
class Plan:
    """The memory and time that a run needs on given chips.

    Attributes:
        command: The command that made the plan.
        model: The policy.
        topology: The chips.
        mesh: The sizes of the mesh's axes.
        step: The numbers of a step, in words.
        assumptions: The assumptions, in words.
        programs: The programs, in the order in which a run first calls them.
        usable: Bytes of a chip's HBM that may be used.
        notes: Changes that fit the configuration to the chips, and a note on the compiler.
        advice: Suggested changes if the run does not fit.
        draws: The groups that a step draws; None: unknown.
        filtering: What is drawn and kept, and what that costs, in words.
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
    draws: Draws | None = None
    filtering: Sequence[str] = ()

    @property
    def largest(self) -> ProgramPlan:
        """The program that needs the most memory."""
        return max(self.programs, key=lambda program: program.total)

    @property
    def too_large(self) -> list[str]:
        """The names of programs that need more memory than is usable."""
        return [one.name for one in self.programs if one.refused or one.total > self.usable]

    @property
    def fits(self) -> bool:
        """Whether every program fits in the usable memory."""
        return not self.too_large

    @property
    def seconds_of_step(self) -> float:
        """The time of all programs in a step, in seconds."""
        return sum(program.seconds_of_step for program in self.programs)

    @property
    def received_of_step(self) -> float:
        """Bytes that a chip receives from other chips in a step."""
        return sum(program.calls * program.received for program in self.programs)


def as_json(plan: Plan) -> dict[str, Any]:
    """Converts a plan to JSON values; sizes in bytes, times in seconds."""
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
