"""The memory of one chip while a program runs, by kind."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
# TPU compilers report the size in two ways: temporaries alone, or everything.
_TEMPORARIES = re.compile(r"total memory required for HLO temporaries \(([\d.]+)([KMGT]?)\)")
_USED = re.compile(r"Used ([\d.]+)([KMGT]?) of ")


@dataclass(frozen=True)
class Compiled:
    """Bytes on one chip as the compiler reports them.

    Attributes:
        arguments: Bytes of the arguments.
        results: Bytes of the results that take memory of their own.
        temporaries: Bytes of all intermediate values.
        aliased: Bytes of the results that reuse the memory of donated arguments.
    """

    arguments: int
    results: int
    temporaries: int
    aliased: int = 0

    @classmethod
    def of(cls, analysis: Any) -> "Compiled":
        """Reads ``jax.stages.Compiled.memory_analysis()``."""
        return cls(
            analysis.argument_size_in_bytes,
            analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
            analysis.temp_size_in_bytes,
            analysis.alias_size_in_bytes,
        )

    @classmethod
    def of_refusal(cls, message: str, arguments: int) -> "Compiled | None":
        """Reads the compiler's error message about a program that does not fit.

        Args:
            message: The compiler's message.
            arguments: Bytes of the program's arguments on one chip.

        Returns:
            None if the message is about something else.
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
    """Bytes on one chip while a program runs, by kind.

    Args:
        own: Bytes of the program's arguments, by kind.
        beside: Bytes of everything kept on the chip at that time, by kind, including arguments of
            the same kinds.
        compiled: The compiler's figures for the program.

    Returns:
        Bytes by kind; ``other`` is the rest of the arguments: those of no kind, and the padding of
        the chip's layout.
    """
    kinds = {kind: max(own.get(kind, 0), beside.get(kind, 0)) for kind in {**own, **beside}}
    other = max(0, compiled.arguments - sum(own.values()))
    kinds |= {"other": other, "results": compiled.results, "temporaries": compiled.temporaries}
    return {kind: size for kind, size in kinds.items() if size}
