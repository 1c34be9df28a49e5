"""The benchmarks by name."""

from perl_jax.evaluation.benchmark import Benchmark
from perl_jax.evaluation.sets.mathverse import MATHVERSE
from perl_jax.evaluation.sets.mathvision import MATHVISION
from perl_jax.evaluation.sets.mathvista import MATHVISTA
from perl_jax.evaluation.sets.mv_math import MV_MATH
from perl_jax.evaluation.sets.remi import REMI
from perl_jax.settings import suggestion

_ALL: tuple[Benchmark, ...] = (
    MATHVISTA,
    MATHVERSE,
    MATHVISION,
    REMI,
    MV_MATH,
)

BENCHMARKS: dict[str, Benchmark] = {one.name: one for one in _ALL}
"""What ``--benchmark`` takes."""


def benchmark(name: str) -> Benchmark:
    """Returns the benchmark with this name; raises ValueError if there is none."""
    if name not in BENCHMARKS:
        hint = suggestion(name, BENCHMARKS)
        raise ValueError(f"no benchmark {name!r}{hint}; expected one of {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
