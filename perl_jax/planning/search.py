"""Finds the nearest setting that fits the chips."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from perl_jax.chips import GIB
from perl_jax.config import MeshConfig, TrainConfig
from perl_jax.models.policy import Remat
from perl_jax.planning.plan import Plan
from perl_jax.planning.planner import PlanConfig, make_plan, mesh_for
from perl_jax.planning.work import ceil_div, num_micro_batches

logger = logging.getLogger(__name__)

# From the least recomputation in the backward pass to the most.
REMAT: tuple[Remat, ...] = get_args(Remat)
TENSOR = (1, 2, 4, 8)
# A smaller micro-batch is estimated to need its share of the temporaries. Candidates whose estimate
# exceeds the available memory by this factor are not compiled.
_SLACK = 1.25
OF_UPDATE = frozenset({"score", "reference", "update"})
_WITH_CACHES = frozenset({"prefill", "admit", "resize", "drop_slots", "decode", "compact"})


@dataclass(frozen=True)
class Candidate:
    """An alternative setting.

    Attributes:
        config: The configuration with this setting.
        changes: The flags that select it.
        share: The estimated temporaries of the update's programs, relative to the original ones.
    """

    config: TrainConfig
    changes: tuple[str, ...]
    share: float = 1.0


def plan_and_advise(request: PlanConfig, devices: Sequence[Any]) -> Plan:
    """Plans a run. If it does not fit, looks for the nearest setting that does.

    Another setting has other programs: where facts of compiled ones are given, none is looked for.
    """
    plan = make_plan(request, devices)
    known = plan.fits or request.facts
    return plan if known else replace(plan, advice=advice(request, plan, devices))


def candidates(config: TrainConfig, devices: int, too_large: Sequence[str]) -> Iterator[Candidate]:
    """Alternative settings, the nearest first: single changes, then combinations.

    Args:
        config: The configuration that does not fit.
        devices: The number of chips.
        too_large: The programs that need too much memory.
    """
    singles = list(_singles(config, devices, too_large))
    yield from singles
    # A combination of two changes must be of different fields.
    for first in singles:
        for second in _singles(first.config, devices, too_large):
            names = {change.partition("=")[0] for change in first.changes}
            if not any(change.partition("=")[0] in names for change in second.changes):
                changes = (*first.changes, *second.changes)
                yield Candidate(second.config, changes, first.share * second.share)


def _singles(config: TrainConfig, devices: int, too_large: Sequence[str]) -> Iterator[Candidate]:
    def change(path: str, value: Any, share: float = 1.0) -> Candidate:
        return Candidate(changed(config, path, value), (f"--config.{path}={value}",), share)

    mesh, _ = mesh_for(config, devices)
    if OF_UPDATE & set(too_large):
        # Halves the groups of a shard, down to one.
        shards = mesh.data * mesh.fsdp
        now = at_once = num_micro_batches(config, shards)[0]
        while at_once > 1:
            at_once = ceil_div(at_once, 2)
            yield change("learner.packing.micro_groups", at_once * shards, at_once / now)
        for remat in REMAT[REMAT.index(config.learner.remat) + 1 :]:
            # The share is unknown until it is compiled, but smaller.
            yield change("learner.remat", remat, 1 / _SLACK)
    halved = {"rows": config.rollout.num_rollouts} if _WITH_CACHES & set(too_large) else {}
    if "prefill" in too_large:
        halved["prefill_tokens"] = config.data.max_prompt_tokens
    for name, least in halved.items():
        value = getattr(config.rollout.sampler, name) // 2
        while value >= least:
            yield change(f"rollout.sampler.{name}", value)
            value //= 2
    if config.optimizer.state_dtype == "float32":
        yield change("optimizer.state_dtype", "bfloat16")
    for other in meshes(mesh, devices):
        flags = tuple(f"--config.mesh.{axis}={size}" for axis, size in vars(other).items())
        yield Candidate(replace(config, mesh=other), flags)


def meshes(mesh: MeshConfig, devices: int) -> Iterator[MeshConfig]:
    """Other meshes that split all parameters over all chips."""
    for tensor in (size for size in TENSOR if devices % size == 0):
        other = MeshConfig(data=1, fsdp=devices // tensor, tensor=tensor)
        if other != mesh:
            yield other


def changed(config: Any, path: str, value: Any) -> Any:
    """A configuration with another value at a dotted path."""
    name, _, rest = path.partition(".")
    inner = changed(getattr(config, name), rest, value) if rest else value
    return replace(config, **{name: inner})


def advice(request: PlanConfig, plan: Plan, devices: Sequence[Any]) -> list[str]:
    """Suggests changes, in words, after trying at most ``request.tries`` settings.

    Args:
        request: The run.
        plan: The plan of the run, which does not fit.
        devices: The devices of the topology.
    """
    tried: list[str] = []
    for candidate in candidates(request.config, plan.topology.devices, plan.too_large):
        if len(tried) == request.tries:
            break
        if _estimate(plan, candidate) > plan.usable * _SLACK:
            continue
        logger.info("trying %s", " ".join(candidate.changes))
        other = replace(request, config=candidate.config, programs=tuple(plan.too_large))
        found = make_plan(other, devices)
        needed = f"{found.largest.name} {found.largest.total / GIB:.1f} GiB"
        tried.append(f"{' '.join(candidate.changes)}: {needed}")
        if found.fits:
            return [f"The nearest setting that fits: {tried[-1]}", *_misses(tried[:-1])]
    return [
        f"None of {len(tried)} settings nearby fits; take more chips, or fewer tokens: "
        "data.max_prompt_tokens, rollout.max_new_tokens, model.max_pixels.",
        *_misses(tried),
    ]


def _misses(tried: Sequence[str]) -> list[str]:
    return [f"Does not fit either: {one}" for one in tried]


def _estimate(plan: Plan, candidate: Candidate) -> float:
    """Estimates the bytes of the candidate's largest program from those of the plan."""
    sizes = []
    for program in plan.programs:
        temporaries = program.facts.memory.get("temporaries", 0)
        share = candidate.share if program.name in OF_UPDATE else 1.0
        # Another mesh or another sampler is always worth a try.
        if program.name in plan.too_large and candidate.share == 1.0:
            share = 0.0
        sizes.append(program.total - (1 - share) * temporaries)
    return max(sizes)
