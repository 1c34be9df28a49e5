"""What compiling a program tells about it. A plan keeps it, so that times can be made anew."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from perl_jax.planning.collectives import Collective, merged
from perl_jax.planning.work import Work


@dataclass(frozen=True)
class Facts:
    """One program, compiled in the largest shapes in which a step calls it.

    Attributes:
        name: The name of the program.
        memory: Bytes on one chip, by kind.
        flops: Floating-point operations on all chips together.
        size: Bytes of arguments and results on all chips together.
        moved: Bytes of arguments and results on one chip.
        work: The work of a chip; None for programs that do not run the model.
        collectives: The collective operations of the program.
        compile_seconds: The time of tracing and compiling.
        refused: Whether the compiler found no room for it; then its collectives are unknown.
        kernels: Those of the operations that attention kernels do. A program that has them writes
            no scores, and its decoding steps move the caches once.
        cycles: What the compiler expects the rest of it to take, see `estimated_cycles`.
    """

    name: str
    memory: Mapping[str, int]
    flops: float
    size: int
    moved: float
    work: Work | None
    collectives: Sequence[Collective]
    compile_seconds: float
    refused: bool = False
    kernels: float = 0.0
    cycles: int | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON values, without the fields that a plan shows: see `of_json`."""
        return {
            "flops": self.flops,
            "kernels": self.kernels,
            "cycles": self.cycles,
            "size": self.size,
            "moved": self.moved,
            "work": None if self.work is None else asdict(self.work),
        }

    @classmethod
    def of_json(cls, program: Mapping[str, Any]) -> "Facts":
        """Reads them from a program of a plan.

        Raises:
            ValueError: The plan is older and has none.
        """
        if "compiled" not in program:
            raise ValueError(
                f"program {program['name']}: expected what compiling told, under 'compiled'; got "
                "an older plan, which can only be made by compiling again"
            )
        compiled = program["compiled"]
        fields = Collective.__dataclass_fields__
        return cls(
            name=program["name"],
            memory=program["memory"],
            flops=compiled["flops"],
            size=compiled["size"],
            moved=compiled["moved"],
            work=None if compiled["work"] is None else Work(**compiled["work"]),
            collectives=merged(
                Collective(**{key: value for key, value in one.items() if key in fields})
                for one in program["collectives"]
            ),
            compile_seconds=program["compile_seconds"],
            refused=program["refused"],
            kernels=compiled.get("kernels", 0.0),
            cycles=compiled.get("cycles"),
        )
