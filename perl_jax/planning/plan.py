"""A plan as data and as JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

from perl_jax.planning.collectives import merged
from perl_jax.planning.draws import Draws
from perl_jax.planning.facts import Facts
from perl_jax.planning.roofline import Seconds
from perl_jax.planning.topology import Topology


@dataclass(frozen=True)
class ProgramPlan:
    """The needs of one program on one chip, and the time of its calls in a step.

    Attributes:
        facts: What compiling it told, in its largest shapes.
        calls: The number of times a step calls it.
        flops: Floating-point operations of a call on average, on all chips together.
        traffic: Bytes that a call moves from and to the HBM of one chip on average.
        received: Bytes that a chip receives from other chips in a call on average.
        seconds: The time of a call on average.
        seconds_of_step: The time of all calls of a step.
        calls_unfiltered: The number of calls if every group informed.
        seconds_unfiltered: Their time.
        expected: The time of all calls of a step by the cycles that the compiler expects, with
            attention kernels and collectives as in ``seconds``; None: not known.
    """

    facts: Facts
    calls: int
    flops: float
    traffic: float
    received: float
    seconds: Seconds
    seconds_of_step: float
    calls_unfiltered: int
    seconds_unfiltered: float
    expected: float | None = None

    @property
    def name(self) -> str:
        """The name of the program."""
        return self.facts.name

    @property
    def total(self) -> int:
        """Bytes of memory, all kinds together."""
        return sum(self.facts.memory.values())


def expected_seconds(programs: Iterable[ProgramPlan]) -> float | None:
    """The time of programs in a step by the cycles that the compiler expects.

    Programs that do not run the model, and of which it tells none, take their other seconds.

    Returns:
        None if they are not known of one that runs the model.
    """
    programs = list(programs)
    if any(one.expected is None for one in programs if one.facts.work):
        return None
    return sum(one.seconds_of_step if one.expected is None else one.expected for one in programs)


@dataclass(frozen=True)
class Rates:
    """What a step does for its time.

    Attributes:
        mfu: The share of the chips' peak that the least operations of a step take: each image
            encoded once and each prompt read once.
        mfu_of_update: The same of the learner's part.
        tokens: Prompt and response tokens a second and chip, of the rollouts that are learned from,
            with every prompt once a rollout.
        padding: Tokens that the learner's update computes for each that it has to.
        mfu_expected: `mfu_of_update` by the cycles that the compiler expects; None: not known.
    """

    mfu: float
    mfu_of_update: float
    tokens: float
    padding: float
    mfu_expected: float | None = None


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
        rates: What a step does for its time; None in a plan without decoding or updates.
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
    rates: Rates | None = None

    @property
    def largest(self) -> ProgramPlan:
        """The program that needs the most memory."""
        return max(self.programs, key=lambda program: program.total)

    @property
    def too_large(self) -> list[str]:
        """The names of programs that need more memory than is usable."""
        return [one.name for one in self.programs if one.facts.refused or one.total > self.usable]

    @property
    def fits(self) -> bool:
        """Whether every program fits in the usable memory."""
        return not self.too_large

    @property
    def seconds_of_step(self) -> float:
        """The time of all programs in a step, in seconds."""
        return sum(program.seconds_of_step for program in self.programs)

    @property
    def expected_of_step(self) -> float | None:
        """The same by the cycles that the compiler expects, see `expected_seconds`."""
        return expected_seconds(self.programs)

    @property
    def received_of_step(self) -> float:
        """Bytes that a chip receives from other chips in a step."""
        return sum(program.calls * program.received for program in self.programs)


def as_json(plan: Plan) -> dict[str, Any]:
    """Converts a plan to JSON values; sizes in bytes, times in seconds."""
    return {
        **{name: value for name, value in _fields(plan).items() if name != "programs"},
        "programs": [_program_as_json(program) for program in plan.programs],
        "fits": plan.fits,
        "too_large": plan.too_large,
        "seconds_of_step": plan.seconds_of_step,
        "received_of_step": plan.received_of_step,
    }


def _program_as_json(program: ProgramPlan) -> dict[str, Any]:
    facts = program.facts
    return {
        "name": program.name,
        **{name: value for name, value in _fields(program).items() if name != "facts"},
        "memory": dict(facts.memory),
        "total": program.total,
        "bound": program.seconds.bound,
        "refused": facts.refused,
        "compile_seconds": facts.compile_seconds,
        "collectives": [
            {**asdict(one), "received": one.received} for one in merged(facts.collectives)
        ],
        "compiled": facts.as_json(),
    }


def _fields(plan: Any) -> dict[str, Any]:
    """The fields of a dataclass; those that are dataclasses as JSON values."""
    return {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in vars(plan).items()
    }
