"""What decoding prepares for a CPU once a chunk, and for nothing else."""

import jax
import jax.numpy as jnp
import pytest

from perl_jax.kernels import Kernel
from perl_jax.mesh import make_mesh
from perl_jax.models import decoder
from perl_jax.models.cache import PromptCache, ResponseCache
from perl_jax.rollout import programs
from perl_jax.rollout.decode_state import DecodeState, shardings
from tests.kernels.step import SLOTS, traced
from tests.update.update_on_topology import ROLLOUTS

PLATFORMS = {"cpu": True, "tpu": False, "cuda": False}


# Two layers, an order on each of two shards, four key/value heads, 128 numbers per head.
USUAL = f"tensor<2x{SLOTS}x4x{ROLLOUTS}x2x128xbf16>"
BY_ROWS = f"tensor<2x2x4x{ROLLOUTS}x128x{SLOTS}xbf16>"


def decode(kernel=None, split=2):
    mesh = make_mesh(fsdp=split, tensor=split, devices=jax.devices()[: split**2])
    return traced(mesh, kernel, ["decode"])["decode"]


@pytest.fixture(scope="module")
def by_xla():
    return decode()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_only_a_cpu_gets_keys_whose_slots_come_last(by_xla, platform):
    text = by_xla.lower(lowering_platforms=(platform,)).as_text()
    assert (BY_ROWS in text) is PLATFORMS[platform]
    assert USUAL in text


def test_a_kernel_reads_the_usual_order_on_a_cpu_too():
    """Interpreted, or in a plan."""
    text = decode(Kernel("gpu", outline=True)).lower().as_text()
    assert BY_ROWS not in text
    assert USUAL in text


def test_a_cpu_goes_through_few_layers_one_by_one_for_few_rollouts(monkeypatch):
    def loops(most, platform, split=1):
        monkeypatch.setattr(decoder, "_MOST_APART", most)
        jax.clear_caches()
        program = decode(split=split).lower(lowering_platforms=(platform,))
        return program.as_text().count("stablehlo.while")

    # There are two layers, and six rollouts.
    assert loops(2, "cpu") == loops(1, "cpu") - 1
    assert loops(2, "tpu") == loops(1, "tpu")
    # Not on several devices.
    assert loops(2, "cpu", split=2) == loops(1, "cpu", split=2)
    monkeypatch.setattr(programs, "_FEW_ROLLOUTS", 5)
    assert loops(2, "cpu") == loops(1, "cpu")


@pytest.mark.parametrize("by_rows", [False, True])
def test_orders_and_heads_are_split_in_either_order(by_rows):
    mesh = make_mesh(fsdp=2, tensor=2, devices=jax.devices()[:4])
    layers, heads, width, orders, rollouts, slots = 3, 2, 8, 4, 5, 6

    def make():
        sizes = layers, heads, width
        cache = ResponseCache.empty(sizes, orders, rollouts, slots, "float32")
        prefix = PromptCache.empty(sizes, orders, 7, "float32")
        tokens = jnp.zeros((orders, rollouts), jnp.int32)
        return DecodeState(prefix, cache.by_rows() if by_rows else cache, tokens, None)

    state = jax.eval_shape(make)
    cache = shardings(state, mesh).cache
    shapes = [one.shard_shape(part.shape) for one, part in zip(cache, state.cache, strict=True)]
    slots_last = [(layers, 2, 1, rollouts, width, slots), (layers, 2, 1, rollouts, slots, width)]
    assert shapes == (slots_last if by_rows else [(layers, slots, 1, rollouts, 2, width)] * 2)
