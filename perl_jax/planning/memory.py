"""The memory of one chip while a program runs, by kind."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
# Two ways in which compilers for TPUs say it: temporaries alone, or everything.
_TEMPORARIES = re.compile(r"total memory required for HLO temporaries \(([\d.]+)([KMGT]?)\)")
_USED = re.compile(r"Used ([\d.]+)([KMGT]?) of ")


@dataclass(frozen=True)
class Compiled:
    """Bytes on one chip as the compiler has them.

    Attributes:
        arguments: Bytes of the arguments.
        results: Bytes of the results that take memory of their own.
        temporaries: Bytes of everything in between.
        aliased: Bytes of the results in the memory of donated arguments.
    """

    arguments: int
    results: int
    temporaries: int
    aliased: int = 0

    @classmethod
    def of(cls, analysis: Any) -> "Compiled":
        """From ``jax.stages.Compiled.memory_analysis()``."""
        return cls(
            analysis.argument_size_in_bytes,
            analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
            analysis.temp_size_in_bytes,
            analysis.alias_size_in_bytes,
        )

    @classmethod
    def of_refusal(cls, message: str, arguments: int) -> "Compiled | None":
        """From what the compiler says where a program does not fit.

        Args:
            message: Of the compiler.
            arguments: Bytes of the program's arguments on one chip.

        Returns:
            None where the message says another thing.
        """
        if match := _TEMPORARIES.search(message):
            return cls(arguments, 0, _bytes(match))
        if match := _USED.search(message):
            return cls(arguments, 0, max(0, _bytes(match) - arguments))
        return None


def _bytes(match: re.Match[str]) -> int:
    return int(float(match[1]) * _UNITS[match[2]])


def memory_by_kind(
    own: Mapping[str, int], beside: Mapping[str, int], compiled: Compiled
) -> dict[str, int]:
    """Bytes on one chip while a program runs.

    Args:
        own: Bytes of the program's arguments, by kind.
        beside: Bytes of everything that is kept on the chip at that time, by kind. Where arguments
            are of the same kind, they are part of it.
        compiled: What the program needs.

    Returns:
        By kind; ``other`` is what arguments take beyond their kinds: those of no kind, and the
        padding of the chip's layout.
    """
    kinds = {kind: max(own.get(kind, 0), beside.get(kind, 0)) for kind in {**own, **beside}}
    other = max(0, compiled.arguments - sum(own.values()))
    kinds |= {"other": other, "results": compiled.results, "temporaries": compiled.temporaries}
    return {kind: size for kind, size in kinds.items() if size}
