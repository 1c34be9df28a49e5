"""What a program needs on one chip, by kind, while everything that stays there stays."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perl_jax.planning.programs import Program
from perl_jax.planning.shapes import bytes_on_chip

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
# Two ways in which compilers for TPUs say it: temporaries alone, or everything.
_TEMPORARIES = re.compile(r"total memory required for HLO temporaries \(([\d.]+)([KMGT]?)\)")
_USED = re.compile(r"Used ([\d.]+)([KMGT]?) of ")


@dataclass(frozen=True)
class Compiled:
    """Bytes on one chip as the compiler has them.

    Attributes:
        arguments: Of what goes in.
        results: Of what comes out and is not memory of an argument.
        temporaries: Of everything in between.
    """

    arguments: int
    results: int
    temporaries: int

    @classmethod
    def of(cls, analysis: Any) -> "Compiled":
        """From ``jax.stages.Compiled.memory_analysis()``."""
        return cls(
            analysis.argument_size_in_bytes,
            analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
            analysis.temp_size_in_bytes,
        )

    @classmethod
    def of_refusal(cls, message: str, program: Program) -> "Compiled | None":
        """From what the compiler says where a program does not fit; None: it says another thing."""
        arguments = bytes_on_chip(list(program.kinds.values()))
        if match := _TEMPORARIES.search(message):
            return cls(arguments, 0, _bytes(match))
        if match := _USED.search(message):
            return cls(arguments, 0, max(0, _bytes(match) - arguments))
        return None


def _bytes(match: re.Match[str]) -> int:
    return int(float(match[1]) * _UNITS[match[2]])


def memory_by_kind(
    program: Program, compiled: Compiled, resident: Mapping[str, Any]
) -> dict[str, int]:
    """Bytes on one chip while a program runs.

    Args:
        program: Says what its arguments are, and what lies beside them.
        compiled: What it needs.
        resident: What stays on the chips all the time, by kind; kinds that are among the program's
            own count once.

    Returns:
        By kind; ``other`` is what arguments take beyond their own bytes: small ones that have no
        kind, and the padding of the chip's layout.
    """
    kinds = {kind: bytes_on_chip(tree) for kind, tree in program.kinds.items()}
    other = max(0, compiled.arguments - sum(kinds.values()))
    for kind, tree in [*program.beside.items(), *resident.items()]:
        kinds.setdefault(kind, bytes_on_chip(tree))
    kinds |= {"other": other, "results": compiled.results, "temporaries": compiled.temporaries}
    return {kind: size for kind, size in kinds.items() if size}
