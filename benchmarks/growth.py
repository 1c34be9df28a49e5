"""How the work of a step grows with each of its sizes, counted and not timed.

    python -m benchmarks.growth [NAME ...]

Qwen2.5-VL-3B as in configs/qwen2_5_vl_3b_gpu.py, on one device, every group informing. For each
value of a size, the run's own sampler, dealing and packing go through a step, and the programs that
they call are traced, not compiled: operations are counted from the jaxprs, padding included, and
bytes as in a plan. Prints the tables of docs/performance.md.
"""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import jax

from perl_jax.config import TrainConfig
from perl_jax.flops import count_in_jaxpr
from perl_jax.overrides import open_config
from perl_jax.planning.facts import Facts
from perl_jax.planning.planner import PlanConfig, rehearse
from perl_jax.planning.rehearsal import Call
from perl_jax.planning.roofline import Assumptions
from perl_jax.planning.search import changed
from perl_jax.planning.simulation import simulate
from perl_jax.planning.timing import Timing
from perl_jax.planning.topology import parse_topology
from perl_jax.planning.work import work_of
from perl_jax.planning.workload import Workload

CONFIG = "configs/qwen2_5_vl_3b_gpu.py"
ALONE = Workload(pass_rate=1.0)
# The configuration of a run, and the examples of its step.
Run = tuple[TrainConfig, Workload]


@dataclass(frozen=True)
class Size:
    """One size of a step.

    Attributes:
        title: What the table says of it.
        values: The values that it takes.
        set: Gives the run of a value.
    """

    title: str
    values: tuple[Any, ...]
    set: Callable[[Run, Any], Run]


def _field(path: str) -> Callable[[Run, Any], Run]:
    return lambda run, value: (changed(run[0], path, value), run[1])


def _images(run: Run, value: int) -> Run:
    config = changed(run[0], "data.max_prompt_tokens", 8192)
    return config, replace(run[1], images=value)


def _prompt(run: Run, value: int) -> Run:
    config = changed(run[0], "data.max_prompt_tokens", 32_000)
    return config, replace(run[1], images=1, text_tokens=value)


def _response(run: Run, value: int) -> Run:
    config = changed(run[0], "rollout.max_new_tokens", 4 * value)
    return config, replace(run[1], response_tokens=value)


SIZES = {
    "rollouts": Size(
        "rollouts of an order, N", (1, 2, 4, 8, 16, 32), _field("rollout.num_rollouts")
    ),
    "orders": Size("permuted orders", (0, 1, 2, 3), _field("permutation.num_orders")),
    "images": Size("images of an example", (1, 2, 4, 8, 16), _images),
    "prompt": Size(
        "text tokens of a prompt (one image)", (256, 1024, 4096, 8192, 16_384), _prompt
    ),
    "response": Size("mean tokens of a response", (64, 128, 256, 512, 1024, 2048), _response),
    "width": Size(
        "policy",
        tuple(f"Qwen/Qwen2.5-VL-{size}-Instruct" for size in ("3B", "7B", "32B", "72B")),
        _field("model.path"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Amounts:
    """The work of a step.

    Attributes:
        rollouts: Operations of encoding images, reading prompts and decoding.
        update: Operations of the update and of scoring for it.
        decoding: Bytes of HBM that decoding moves.
        tokens: Prompt and response tokens of all rollouts; a prompt counts once for each of them.
    """

    rollouts: float
    update: float
    decoding: float
    tokens: int


def amounts(config: TrainConfig, workload: Workload) -> Amounts:
    """The work of a step of a run."""
    topology = parse_topology("gpu:1", "h100")
    request = PlanConfig(config, topology, workload, Assumptions(cache_moves=1.0, scores=0.0))
    rehearsal, _ = rehearse(request, jax.devices()[:1])
    recorder = rehearsal.largest()
    simulation = simulate(rehearsal, recorder)
    sizes = rehearsal.model.config
    timing = Timing(rehearsal.config, topology, request.assumptions, sizes, rehearsal.step)
    plans = {
        name: timing.program(_facts(call, rehearsal.config), simulation.calls.get(name, ()), ())
        for name, call in recorder.calls.items()
        if name in ("encode", "prefill", "decode", "score", "update")
    }

    def operations(names: Iterable[str]) -> float:
        return sum(plans[name].flops * plans[name].calls for name in names if name in plans)

    return Amounts(
        rollouts=operations(("encode", "prefill", "decode")),
        update=operations(("score", "update")),
        decoding=plans["decode"].traffic * plans["decode"].calls,
        tokens=simulation.tokens,
    )


def _facts(call: Call, config: TrainConfig) -> Facts:
    work = work_of(call, config, 1, vision_trained=False)
    assert work is not None
    traced = call.function.trace(*call.arguments)
    operations = count_in_jaxpr(traced.jaxpr, steps=max(1, work.steps))
    return Facts(call.name, {}, operations, call.size, 0.0, work, (), 0.0)


def table(size: Size, run: Run) -> Iterable[str]:
    """The lines of a table; each as soon as it is known."""
    yield (
        f"| {size.title} | tokens, M | rollouts, PFLOP | update, PFLOP | FLOP a token, G | "
        "decoding moves, TB |"
    )
    yield "|---|---|---|---|---|---|"
    for value in size.values:
        found = amounts(*size.set(run, value))
        name = str(value).rpartition("/")[2].removesuffix("-Instruct")
        of_token = (found.rollouts + found.update) / found.tokens
        yield (
            f"| {name} | {found.tokens / 1e6:.3g} | {found.rollouts / 1e15:.3g} | "
            f"{found.update / 1e15:.3g} | {of_token / 1e9:.3g} | {found.decoding / 1e12:.3g} |"
        )


def main(names: list[str]) -> None:
    """Prints the tables of these sizes, or of all."""
    if unknown := set(names) - set(SIZES):
        sys.exit(f"expected some of {', '.join(SIZES)}; got {min(unknown)!r}")
    run = open_config(TrainConfig, CONFIG, {}), ALONE
    for name in names or SIZES:
        print(flush=True)
        for line in table(SIZES[name], run):
            print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
