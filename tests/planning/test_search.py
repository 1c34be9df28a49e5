"""Where a run does not fit, the nearest setting that does is found."""

from dataclasses import replace

import pytest

from perl_jax.planning.planner import PlanConfig, make_plan
from perl_jax.planning.roofline import Assumptions
from perl_jax.planning.search import advice, candidates, plan_and_advise
from perl_jax.planning.topology import parse_topology
from tests.planning.conftest import WORKLOAD


@pytest.fixture(scope="module")
def request_of_scores(config):
    return PlanConfig(
        config, parse_topology("cpu:8"), WORKLOAD, Assumptions(reserve=0.0), programs=("reference",)
    )


@pytest.fixture(scope="module")
def plan(request_of_scores, mesh):
    return make_plan(request_of_scores, list(mesh.devices.flat))


def with_memory(request, size):
    chip = replace(request.topology.chip, memory=size)
    return replace(request, topology=replace(request.topology, chip=chip))


def test_a_run_that_fits_needs_no_advice(plan):
    assert [one.name for one in plan.programs] == ["reference"]
    assert plan.fits
    assert plan.advice == ()


def test_moments_and_the_reference_stay_while_it_runs(plan):
    memory = plan.largest.facts.memory
    # AdamW keeps two moments and a few counters, in float32; the reference is bfloat16.
    assert memory["optimizer"] == pytest.approx(2 * memory["parameters"], abs=64)
    assert memory["reference"] == memory["parameters"] / 2


def test_smaller_micro_batches_are_the_first_remedy(request_of_scores, plan, mesh):
    small = with_memory(request_of_scores, plan.largest.total - 1)
    found = plan_and_advise(small, list(mesh.devices.flat))
    assert found.too_large == ["reference"]
    assert found.advice[0].startswith(
        "The nearest setting that fits: --config.learner.packing.micro_groups=4: reference"
    )


def test_from_facts_that_are_given_no_other_setting_is_looked_for(request_of_scores, plan, mesh):
    facts = tuple(one.facts for one in plan.programs)
    small = replace(with_memory(request_of_scores, plan.largest.total - 1), facts=facts)
    found = plan_and_advise(small, list(mesh.devices.flat))
    assert found.too_large == ["reference"]
    assert not found.advice


def test_where_nothing_helps_it_says_so(request_of_scores, plan):
    request = with_memory(request_of_scores, 1000)
    assert advice(request, replace(plan, usable=1000), []) == [
        "None of 0 settings nearby fits; take more chips, or fewer tokens: "
        "data.max_prompt_tokens, rollout.max_new_tokens, model.max_pixels."
    ]


def test_unknown_programs_are_refused(request_of_scores):
    with pytest.raises(ValueError, match=r"programs: expected some of copy, .*; got 'enccode'"):
        replace(request_of_scores, programs=("enccode",))


def test_one_change_comes_before_two(config):
    found = [one.changes for one in candidates(config, 8, ["update", "decode"])]
    assert found[0] == ("--config.learner.packing.micro_groups=4",)
    assert ("--config.learner.remat=layers",) in found
    assert ("--config.rollout.sampler.rows=8",) in found
    assert ("--config.mesh.data=1", "--config.mesh.fsdp=8", "--config.mesh.tensor=1") in found
    both = ("--config.learner.packing.micro_groups=4", "--config.learner.remat=layers")
    assert found.index(both) > found.index(("--config.learner.remat=layers",))


def test_one_chip_has_one_mesh(config):
    alone = replace(config, mesh=None)
    flags = {flag for one in candidates(alone, 1, ["decode"]) for flag in one.changes}
    assert not any("mesh" in flag for flag in flags)


@pytest.mark.parametrize(
    "program", ["prefill", "admit", "resize", "drop_slots", "decode", "compact"]
)
def test_whatever_holds_the_caches_is_helped_by_fewer_rows(config, program):
    first = next(candidates(config, 8, [program]))
    assert first.changes == (f"--config.rollout.sampler.rows={config.rollout.sampler.rows // 2}",)
