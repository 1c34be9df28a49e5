"""Finds the fastest setting that fits the chips."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from perl_jax.chips import GIB
from perl_jax.config import MeshConfig, TrainConfig
from perl_jax.planning.plan import Plan
from perl_jax.planning.planner import PlanConfig, make_plan, mesh_for
from perl_jax.planning.rehearsal import OF_ROLLOUTS, PROGRAMS
from perl_jax.planning.search import OF_UPDATE, REMAT, TENSOR, Candidate, changed, meshes
from perl_jax.planning.work import ceil_div, num_micro_batches

logger = logging.getLogger(__name__)

# Smaller caches are not worth a program.
_SHORTEST = 128


# A setting, and the programs that have to be compiled for it.
Move = tuple[Candidate, frozenset[str]]

_COPIED = OF_ROLLOUTS | {"reshard"}


def candidates(config: TrainConfig, devices: int) -> Iterator[Move]:
    """Settings that may be faster, those first that take little to compile.

    Args:
        config: The best configuration until now.
        devices: The number of chips.
    """
    yield from _of_ladders(config)
    yield from _of_update(config, devices)
    yield from _of_rollouts(config, devices)
    mesh, _ = mesh_for(config, devices)
    for other in meshes(mesh, devices):
        flags = tuple(f"--config.mesh.{axis}={size}" for axis, size in vars(other).items())
        yield Candidate(replace(config, mesh=other), flags), frozenset(PROGRAMS)


def _of_ladders(config: TrainConfig) -> Iterator[Move]:
    """The caches are as large at their largest, and a longer chunk is the same program."""
    sampler = config.rollout.sampler
    rungs = [config.rollout.max_new_tokens]
    while rungs[0] >= 2 * _SHORTEST:
        rungs.insert(0, rungs[0] // 2)
    if sampler.response_lengths != tuple(rungs):
        yield _change(config, "rollout.sampler.response_lengths", tuple(rungs)), frozenset()
    for chunk in (sampler.chunk * 2, sampler.chunk // 2):
        if chunk >= 1:
            yield _change(config, "rollout.sampler.chunk", chunk), frozenset()


def _of_update(config: TrainConfig, devices: int) -> Iterator[Move]:
    for remat in REMAT[: REMAT.index(config.learner.remat)][::-1]:
        yield _change(config, "learner.remat", remat), frozenset({"update"})
    mesh, _ = mesh_for(config, devices)
    shards = mesh.data * mesh.fsdp
    at_once, count = num_micro_batches(config, shards)
    sizes = [2 * at_once] * (count > 1) + [ceil_div(at_once, 2)] * (at_once > 1)
    for size in sizes:
        yield _change(config, "learner.packing.micro_groups", size * shards), OF_UPDATE


def _of_rollouts(config: TrainConfig, devices: int) -> Iterator[Move]:
    rows = config.rollout.sampler.rows
    for size in (rows * 2, rows // 2):
        if config.rollout.num_rollouts <= size <= 2 * _rollouts(config):
            yield _change(config, "rollout.sampler.rows", size), OF_ROLLOUTS
    if config.learner.lora is not None:
        merge = not config.rollout.merge_adapters
        yield _change(config, "rollout.merge_adapters", merge), _COPIED
    for tensor in (size for size in TENSOR if devices % size == 0 and devices > 1):
        own = MeshConfig(data=devices // tensor, fsdp=1, tensor=tensor)
        if own != config.rollout.mesh:
            flags = tuple(f"--config.rollout.mesh.{k}={v}" for k, v in vars(own).items())
            rollout = replace(config.rollout, mesh=own)
            yield Candidate(replace(config, rollout=rollout), flags), _COPIED


def _change(config: TrainConfig, path: str, value: Any) -> Candidate:
    return Candidate(changed(config, path, value), (f"--config.{path}={_flag(value)}",))


def _rollouts(config: TrainConfig) -> int:
    orders = 1 + config.permutation.num_orders
    return config.rollout.groups * orders * config.rollout.num_rollouts


def _flag(value: Any) -> str:
    return f'"{value}"' if isinstance(value, tuple) else str(value)


def plan_fastest(request: PlanConfig, devices: Sequence[Any]) -> Plan:
    """Plans the fastest setting that fits, of at most ``request.tries`` more that are compiled.

    Each change that fits and is faster is kept, and the search goes on from there.
    """
    plan = make_plan(request, devices)
    best, config, flags = plan, request.config, tuple[str, ...]()
    tried, seen, found = list[str](), {flags}, True
    while found:
        found = False
        for candidate, anew in candidates(config, plan.topology.devices):
            changes = _together(flags, candidate.changes)
            if changes in seen or (anew and len(tried) >= request.tries):
                continue
            seen.add(changes)
            logger.info("trying %s", " ".join(changes))
            known = tuple(one.facts for one in best.programs if one.facts.name not in anew)
            try:
                other = make_plan(replace(request, config=candidate.config, facts=known), devices)
            except ValueError as error:  # such as heads that this mesh does not divide
                logger.info("%s", error)
                continue
            used = f"{other.largest.total / GIB:.1f} GiB"
            if anew:
                what = f"{other.seconds_of_step:.3g} s, {used}"
                tried.append(f"{' '.join(changes)}: {what}{'' if other.fits else ', too large'}")
            quicker = other.seconds_of_step < best.seconds_of_step or not best.fits
            if other.fits and quicker:
                best, config, flags, found = other, candidate.config, changes, True
                break
    return replace(best, advice=[_outcome(plan, best, flags), *(f"Tried: {one}" for one in tried)])


def _together(before: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """The flags of both; later ones replace earlier ones of the same field."""
    fields = {flag.partition("=")[0]: flag for flag in (*before, *more)}
    return tuple(fields.values())


def _outcome(plan: Plan, best: Plan, flags: Sequence[str]) -> str:
    if not flags:
        return "No setting that was tried fits and is faster."
    was = f"{plan.seconds_of_step:.3g} s" if plan.fits else "no fit"
    return f"The fastest setting that fits ({was} without): {' '.join(flags)}"
