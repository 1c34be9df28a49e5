"""The benchmarks by name."""

from perl_jax.evaluation.benchmark import Benchmark
from perl_jax.evaluation.sets import (
    blink,
    mantis_eval,
    mathverse,
    mathvision,
    mathvista,
    mmiu,
    mmmu,
    muirbench,
    mv_math,
    nlvr2,
    remi,
)
from perl_jax.legible import suggestion

# Those of the paper's table in its order, then others.
_ALL: tuple[Benchmark, ...] = (
    mantis_eval.BENCHMARK,
    blink.BENCHMARK,
    mmiu.BENCHMARK,
    mathvista.BENCHMARK,
    mathverse.BENCHMARK,
    mathvision.BENCHMARK,
    remi.BENCHMARK,
    mv_math.BENCHMARK,
    muirbench.BENCHMARK,
    mmmu.BENCHMARK,
    nlvr2.BENCHMARK,
)

BENCHMARKS: dict[str, Benchmark] = {one.name: one for one in _ALL}
"""What ``--benchmark`` takes."""


def benchmark(name: str) -> Benchmark:
    """Returns the benchmark with this name; raises ValueError if there is none."""
    if name not in BENCHMARKS:
        hint = suggestion(name, BENCHMARKS)
        raise ValueError(f"no benchmark {name!r}{hint}; expected one of {', '.join(BENCHMARKS)}")
    return BENCHMARKS[name]
