"""The fastest setting that fits is found, with scripted plans in place of compiled ones."""

from dataclasses import replace

import pytest

from perl_jax.chips import GIB
from perl_jax.planning import optimise
from perl_jax.planning.facts import Facts
from perl_jax.planning.optimise import candidates, plan_fastest
from perl_jax.planning.plan import Plan, ProgramPlan
from perl_jax.planning.planner import PlanConfig
from perl_jax.planning.roofline import Assumptions, Seconds
from perl_jax.planning.topology import parse_topology
from tests.planning.conftest import WORKLOAD


@pytest.fixture
def scripted(config, monkeypatch):
    """A request, and the settings that are planned: remat costs 10 s, a chunk of 8 saves 1 s."""
    start = replace(config, learner=replace(config.learner, remat="layers"))
    request = PlanConfig(
        start, parse_topology("cpu:8"), WORKLOAD, Assumptions(), tries=20, optimise=True
    )
    asked = []

    def plan(request, devices):
        config = request.config
        remat, chunk = config.learner.remat, config.rollout.sampler.chunk
        if config.rollout.mesh is not None:
            raise ValueError("rollout.mesh.tensor: expected a divisor of the heads")
        asked.append((remat, chunk, {one.name for one in request.facts}))
        size = {"layers": 1, "inputs": 1.2, "wide": 1.5, "activations": 2, "none": 4}[remat] * GIB
        times = {"layers": 20.0, "inputs": 19.0, "wide": 18.0, "activations": 15.0, "none": 10.0}
        seconds = times[remat] - (chunk == 8)
        # All else is slower.
        packing = config.learner.packing.micro_groups
        rows = config.rollout.sampler.rows
        seconds += (config.mesh, packing, rows) != (start.mesh, 8, 16)
        seconds += config.rollout.sampler.response_lengths != (6,)
        facts = [Facts(n, {"temporaries": size}, 1.0, 1, 1.0, None, (), 1.0)
                 for n in ("decode", "update")]  # fmt: skip
        programs = [
            ProgramPlan(one, 1, 1.0, 1.0, 0.0, Seconds(), seconds / 2, 1, 0.0) for one in facts
        ]
        return Plan("", "", request.topology, {}, [], [], programs, usable=3 * GIB)

    monkeypatch.setattr(optimise, "make_plan", plan)
    return request, asked


def test_changes_that_fit_and_are_faster_are_kept_together(scripted):
    request, asked = scripted
    found = plan_fastest(request, [])
    assert found.seconds_of_step == 14.0
    assert found.advice[0] == (
        "The fastest setting that fits (20 s without): --config.rollout.sampler.chunk=8 "
        "--config.learner.remat=activations"
    )
    assert any("remat=none: 9 s, 4.0 GiB, too large" in line for line in found.advice)
    # A longer chunk is the same program, and remat changes one.
    assert ("layers", 8, {"decode", "update"}) in asked
    assert ("activations", 8, {"decode"}) in asked


def test_a_setting_that_cannot_be_is_passed_over(scripted, caplog):
    caplog.set_level("INFO", logger="perl_jax")
    request, _ = scripted
    assert plan_fastest(request, []).seconds_of_step == 14.0
    assert "rollout.mesh.tensor: expected a divisor of the heads" in caplog.messages


def test_no_more_are_compiled_than_allowed(scripted):
    request, asked = scripted
    found = plan_fastest(replace(request, tries=1), [])
    assert sum("Tried: " in line for line in found.advice) == 1
    assert len([known for _, _, known in asked[1:] if known != {"decode", "update"}]) == 1


def test_where_nothing_is_faster_it_says_so(scripted):
    request, _ = scripted
    found = plan_fastest(replace(request, tries=0), [])
    best = replace(request, config=request.config, tries=0)
    assert found.seconds_of_step == 19.0
    sampler = replace(best.config.rollout.sampler, chunk=8)
    rollout = replace(best.config.rollout, sampler=sampler)
    again = plan_fastest(replace(best, config=replace(best.config, rollout=rollout)), [])
    assert again.advice == ["No setting that was tried fits and is faster."]


def test_meshes_remat_micro_batches_rows_and_ladders_are_searched(config):
    small = replace(config.learner.packing, micro_groups=4)
    start = replace(config, learner=replace(config.learner, remat="layers", packing=small))
    flags = {flag for one, _ in candidates(start, 8) for flag in one.changes}
    assert {
        "--config.learner.remat=none", "--config.learner.packing.micro_groups=8",
        "--config.rollout.sampler.rows=32", "--config.rollout.sampler.chunk=8",
        '--config.rollout.sampler.response_lengths="(8,)"', "--config.rollout.mesh.tensor=4",
        "--config.mesh.fsdp=8",
    } <= flags  # fmt: skip
    assert not any("merge_adapters" in flag for flag in flags)
