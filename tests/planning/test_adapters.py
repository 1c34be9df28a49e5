"""Adapters merged or beside, estimated from figures set by hand."""

import math
from dataclasses import replace

import jax.numpy as jnp
import pytest

from perl_jax.mesh import MeshConfig
from perl_jax.models import read_config
from perl_jax.models.lora import LoraConfig, adapted_maps
from perl_jax.planning.adapters import AdapterChoice, choose
from perl_jax.planning.roofline import Assumptions
from perl_jax.planning.shapes import sharded_model
from perl_jax.planning.simulation import LoggedCall
from perl_jax.planning.topology import parse_topology
from perl_jax.planning.work import Work

TOPOLOGY = parse_topology("h100:1")


@pytest.fixture(scope="module")
def adapted(config, mesh):
    lora = LoraConfig(rank=4)
    config = replace(config, mesh=None, learner=replace(config.learner, lora=lora))
    sizes = read_config(config.model.path)
    model = sharded_model(config.model, sizes, None, mesh.devices.flat[0], lora)
    return config, model


def choice(adapted, calls, free=10**12, **rollout):
    config, model = adapted
    config = replace(config, rollout=replace(config.rollout, **rollout))
    return choose(config, model, TOPOLOGY, Assumptions(), {"decode": calls}, free)


def decoding(steps):
    return LoggedCall(0, Work(tokens=8.0 * steps, passes=steps, steps=steps))


def test_every_step_reads_adapters_that_stay_beside_their_maps(adapted):
    few, many = (choice(adapted, [decoding(steps)]) for steps in (10, 1000))
    assert many.beside == pytest.approx(100 * few.beside)
    assert many.merged == few.merged
    numbers = sum(
        math.prod(part.get_value().shape)
        for linear in adapted_maps(adapted[1]).values()
        for part in (linear.lora_A, linear.lora_B)
    )
    assert few.beside > 10 * numbers * 4 / (TOPOLOGY.chip.bandwidth * 0.8)


def test_long_rollouts_are_worth_merging_if_the_copy_has_room(adapted):
    assert choice(adapted, [decoding(10_000)]).merges
    assert not choice(adapted, [decoding(1)]).merges
    assert not choice(adapted, [decoding(10_000)], free=100).merges


def test_a_copy_that_is_there_has_room_already(adapted):
    apart = choice(adapted, [decoding(10)], mesh=MeshConfig(data=1, fsdp=1, tensor=1))
    assert apart.copy == 0
    merged = choice(adapted, [decoding(10)], free=0, merge_adapters=True)
    assert merged.room == merged.copy > 0


def test_it_is_told_in_seconds_and_bytes():
    line = AdapterChoice(merged=0.5, beside=2.0, copy=16 << 30, room=40 << 30).line()
    assert line == (
        "Adapters in rollouts: merged into the weights they add 0.5 s a step and 16.0 GiB of the "
        "40.0 that are left, beside them 2 s: --config.rollout.merge_adapters=True."
    )
    assert "GiB" not in AdapterChoice(0.5, 2.0, copy=0, room=0).line()


def test_merging_costs_product_weights_and_copy(adapted):
    found = choice(adapted, [])
    bandwidth = TOPOLOGY.chip.bandwidth * Assumptions().memory
    maps = adapted_maps(adapted[1]).values()
    shapes = [one.weight.get_value().shape for one in maps]
    weights = sum(map(math.prod, shapes))
    product = sum(2 * 4 * math.prod(s) for s in shapes)
    itemsize = jnp.dtype(adapted[0].model.compute_dtype).itemsize
    want = product / (TOPOLOGY.chip.peak * Assumptions().compute)
    want += (weights * (itemsize + 12) + 2 * found.copy) / bandwidth
    assert found.merged == pytest.approx(want)
    assert found.beside == 0
