"""What a TPU's compiler estimates a program to take, read from the text of the compiled program.

It notes the cycles that it expects of each instruction, those of fusions as a whole. A plain
product of large matrices stands at 90% of a chip's peak. Nothing is noted for collectives; kernels,
whose insides the compiler does not see, are left out.
"""

import re

from perl_jax.planning.instructions import Instruction, Instructions

_KERNEL = 'custom_call_target="tpu_custom_call"'
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


def estimated_cycles(program: str, *, trips: int = 1) -> int | None:
    """The cycles of all instructions, each as often as it runs.

    Args:
        program: ``jax.stages.Compiled.as_text()``.
        trips: The number of trips of a loop whose number the program does not give.

    Returns:
        None if the compiler noted none, as those for other chips than TPUs.
    """
    if _CYCLES.search(program) is None:
        return None
    runs = Instructions(program, trips=trips).runs(_cycles, in_fusions=False)
    return sum(_cycles(instruction) * times for instruction, times in runs)


def _cycles(instruction: Instruction) -> int:
    if _KERNEL in instruction.text:
        return 0
    noted = _CYCLES.search(instruction.text)
    return int(noted[1]) if noted else 0
