"""The least memory of a run, by hand."""

from dataclasses import replace

import jax

from perl_jax.mesh import MeshConfig
from perl_jax.models import read_config
from perl_jax.models.lora import LoraConfig, adapted_maps
from perl_jax.planning.least import least_bytes
from perl_jax.planning.shapes import bytes_on_chip, sharded_model


def test_the_copy_of_the_policy_counts_where_rollouts_have_one(config):
    lora = LoraConfig(rank=4)
    config = replace(config, mesh=MeshConfig(), learner=replace(config.learner, lora=lora))
    sizes = read_config(config.model.path)
    base = sharded_model(config.model, sizes, None, jax.devices()[0])
    whole = bytes_on_chip(jax.tree.leaves(base))
    adapted = sharded_model(config.model, sizes, None, jax.devices()[0], lora)
    adapters = sum(
        bytes_on_chip([part.get_value() for part in (linear.lora_A, linear.lora_B)])
        for linear in adapted_maps(adapted).values()
    )
    # Adapters, their moments and their gradients, in float32 beside the frozen model.
    beside = least_bytes(config, sizes)
    assert beside == whole + 4 * adapters
    merged = replace(config, rollout=replace(config.rollout, merge_adapters=True))
    assert least_bytes(merged, sizes) == 2 * whole + 3 * adapters
