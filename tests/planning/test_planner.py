"""Plans of single programs: the bytes that they move."""

from dataclasses import replace

import jax
import pytest

from perl_jax.config import MeshConfig
from perl_jax.planning import planner
from perl_jax.planning.optimise import plan_fastest
from perl_jax.planning.planner import PlanConfig, make_plan
from perl_jax.planning.roofline import Assumptions
from perl_jax.planning.topology import parse_topology
from tests.planning.conftest import WORKLOAD


@pytest.fixture(scope="module")
def planned(config, mesh):
    names = ("resize", "compact", "apply")
    request = PlanConfig(config, parse_topology("cpu:8"), WORKLOAD, Assumptions(), programs=names)
    found = {one.name: one for one in make_plan(request, list(mesh.devices.flat)).programs}
    assert set(found) == set(names)
    return found


def test_the_optimizer_reads_and_writes_what_it_keeps(planned):
    memory = planned["apply"].facts.memory
    moved = 2 * (memory["parameters"] + memory["optimizer"]) + memory["gradients"]
    # Beside them there are a few counters and statistics.
    assert planned["apply"].traffic == pytest.approx(moved, rel=0.01)


def test_caches_that_grow_or_shrink_are_read_and_written(planned):
    memory = planned["compact"].facts.memory
    moved = memory["caches"] + memory["results"]
    assert planned["compact"].traffic == pytest.approx(moved, rel=0.01)
    # What stays as it is, beside the caches of responses, is not read.
    memory = planned["resize"].facts.memory
    assert memory["results"] < planned["resize"].traffic < memory["caches"] + memory["results"]


def test_the_policy_stays_while_caches_move(planned):
    stays = {"parameters", "optimizer", "reference", "features", "caches"}
    assert stays <= set(planned["resize"].facts.memory)


def test_one_device_encodes_in_several_calls(config):
    sampler = replace(config.rollout.sampler, patches=(64,))
    packing = replace(config.learner.packing, micro_groups=1)
    alone = replace(
        config,
        mesh=None,
        rollout=replace(config.rollout, sampler=sampler),
        learner=replace(config.learner, packing=packing),
    )
    names = ("encode", "join_features")
    request = PlanConfig(alone, parse_topology("cpu:1"), WORKLOAD, Assumptions(), programs=names)
    encode, joined = make_plan(request, jax.devices()[:1]).programs
    # Eight groups of two images of 16 patches.
    assert (encode.calls, joined.calls) == (4, 1)
    # While the last call runs, there are the features of the one before.
    assert encode.facts.memory["features"] == encode.facts.memory["results"]
    assert encode.facts.collectives == joined.facts.collectives == []


def test_a_cache_that_grows_exists_beside_the_new_one_and_not_beside_the_largest(planned):
    memory = planned["resize"].facts.memory
    # Prompts of 40 tokens, and 6 slots that become 12.
    assert memory["results"] == pytest.approx(2 * (memory["caches"] - prefix(planned)), rel=0.02)


def prefix(planned):
    """Bytes of the prompts' caches: whole caches have 12 slots for responses."""
    whole = planned["compact"].facts.memory["caches"]
    return whole - planned["resize"].facts.memory["results"]


def test_what_compiling_told_is_not_compiled_again(config, mesh, planned, monkeypatch):
    def compiled(self, name):
        raise AssertionError(f"{name} was compiled")

    monkeypatch.setattr(planner._Compiler, "facts", compiled)
    facts = tuple(one.facts for one in planned.values())
    shares = Assumptions(memory=0.4)
    request = PlanConfig(
        config, parse_topology("cpu:8"), WORKLOAD, shares, programs=tuple(planned), facts=facts
    )
    for one in make_plan(request, list(mesh.devices.flat)).programs:
        before = planned[one.name]
        assert (one.facts, one.calls, one.traffic) == (before.facts, before.calls, before.traffic)
        assert one.seconds.alone == pytest.approx(2 * before.seconds.alone)


def test_a_plan_that_is_made_again_names_what_was_compiled_in_other_shapes(config, mesh, planned):
    facts = tuple(one.facts for one in planned.values())
    request = PlanConfig(
        config, parse_topology("cpu:8"), WORKLOAD, Assumptions(), programs=tuple(planned),
        facts=facts, compiler="Compiled before.",
    )  # fmt: skip
    devices = list(mesh.devices.flat)
    assert make_plan(request, devices).notes == ["Compiled before."]
    changed = replace(facts[0], size=facts[0].size + 1)
    notes = make_plan(replace(request, facts=(changed, *facts[1:])), devices).notes
    said = "Compiled in other shapes than those that the run has now: "
    assert notes == [f"{said}{changed.name}.", "Compiled before."]


@pytest.mark.parametrize(
    ("topology", "attention", "kernels", "said"),
    [
        ("gpu:8", "auto", True, "has attention kernels as calls"),
        ("gpu:8", "xla", False, "takes attention in smaller blocks"),
        ("cpu:8", "auto", False, "takes attention in smaller blocks"),
    ],
)
def test_programs_for_gpus_are_planned_with_their_kernels(
    config, mesh, topology, attention, kernels, said
):
    long = replace(
        config,
        # A single key/value head is not split.
        mesh=MeshConfig(fsdp=8),
        model=replace(config.model, attention=attention),
        data=replace(config.data, max_prompt_tokens=160),
        rollout=replace(
            config.rollout, sampler=replace(config.rollout.sampler, prompt_lengths=(160,))
        ),
        learner=replace(
            config.learner, packing=replace(config.learner.packing, prompt_lengths=(160,))
        ),
    )
    workload = replace(WORKLOAD, text_tokens=120)
    request = PlanConfig(
        long, parse_topology(topology), workload, Assumptions(), programs=("prefill",)
    )
    plan = make_plan(request, list(mesh.devices.flat))
    (prefill,) = plan.programs
    assert (prefill.facts.kernels > 0) is kernels
    assert said in plan.notes[-1]


@pytest.mark.soak  # compiles what test_optimise.py scripts
def test_a_faster_chunk_is_found_without_compiling_and_fewer_rows_by_compiling(config, mesh):
    longest = replace(WORKLOAD, response_tokens=8, response_variation=0.0)
    request = PlanConfig(
        config, parse_topology("cpu:8"), longest, Assumptions(), tries=1, programs=("decode",)
    )
    found = plan_fastest(request, list(mesh.devices.flat))
    # The host is waited for once a wave instead of twice.
    assert "--config.rollout.sampler.chunk=8" in found.advice[0]
    assert len(found.advice) == 2
    assert found.advice[1].startswith("Tried: ")
