"""Decoding by a kernel, interpreted, against XLA's attention to slices of the caches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.attention import attend
from perl_jax.kernels import Kernel, decoding, gpu_decoding, tpu_decoding
from perl_jax.kernels.parts import Caches
from perl_jax.mesh import SHARD_AXES, TENSOR_AXIS, make_mesh
from perl_jax.models.cache import PromptCache, ResponseCache, of_layer

LAYERS, ORDERS, ROLLOUTS = 2, 4, 3
# Slots and a prompt's tokens of several blocks, and numbers per head.
SIZES = {"tpu": (12, 8, 8), "gpu": (80, 64, 16)}
KERNELS = {name: Kernel(name, interpret=True, least=1) for name in SIZES}
# Tokens of which the prompts of the second and third order have one and three, about.
UNITS = {"tpu": 2, "gpu": 16}


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(tpu_decoding, "block_of", lambda length: 4)
    monkeypatch.setattr(tpu_decoding, "orders_of", lambda count: min(count, 2))
    monkeypatch.setattr(gpu_decoding, "_MAX_SLOTS", 16)
    monkeypatch.setattr(gpu_decoding, "_STEPS", 2)


small = pytest.mark.usefixtures("small_blocks")


def case(platform, heads, kv_heads, slots=None, prompt=None):
    of_slots, of_prompt, width = SIZES[platform]
    slots, prompt, unit = slots or of_slots, prompt or of_prompt, UNITS[platform]
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    of_prompts = (LAYERS, ORDERS, kv_heads, prompt, width)
    own = (LAYERS, slots, kv_heads, ROLLOUTS, ORDERS, width)
    now = slots - slots // 4
    start, number = np.array([0, now // 2, now, 2])[:, None, None], np.arange(slots)
    lengths = np.array([[prompt], [unit + 1], [3 * unit - 1], [1]])
    caches = Caches(
        normal(*of_prompts),
        normal(*of_prompts),
        jnp.asarray(np.arange(prompt) < lengths),
        normal(*own),
        normal(*own),
        jnp.asarray(
            np.broadcast_to((number >= start) & (number <= now), (ORDERS, ROLLOUTS, slots))
        ),
    )
    return normal(ORDERS, ROLLOUTS, heads, width), caches


def by_xla(queries, caches, layer):
    own = ResponseCache(caches.keys, caches.values).read(layer, caches.valid)
    prompts = PromptCache(*caches[:3])
    prefix = of_layer(prompts.keys[layer], prompts.values[layer], prompts.valid)
    return attend(queries[:, :, None], own, prefix)[:, :, 0]


def check(kernel, case, layer=1):
    queries, caches = case
    run = jax.jit(lambda *arguments: decoding.attend(kernel, *arguments))
    got = run(queries, caches, jnp.int32(layer))
    np.testing.assert_allclose(got, by_xla(queries, caches, layer), atol=1e-5, rtol=1e-5)


@small
@pytest.mark.parametrize("platform", SIZES)
@pytest.mark.parametrize(("heads", "kv_heads"), [(3, 1), (4, 2)])
@pytest.mark.parametrize("layer", range(LAYERS))
def test_a_new_token_attends_to_its_prompt_and_to_its_own_past_in_its_layer(
    platform, heads, kv_heads, layer
):
    check(KERNELS[platform], case(platform, heads, kv_heads), layer)


@small
@pytest.mark.parametrize(
    ("platform", "slots", "prompt"),
    [
        ("tpu", 12, 9), ("tpu", 12, 11), ("tpu", 10, 8), ("tpu", 11, 10),
        ("gpu", 81, 64), ("gpu", 80, 65), ("gpu", 95, 79), ("gpu", 17, 19),
    ],
)  # fmt: skip
def test_what_lies_beyond_the_end_of_a_cache_in_its_last_block_counts_nothing(
    platform, slots, prompt
):
    """Interpreted, that is NaN for TPUs; for GPUs, slots that the block before has read."""
    check(KERNELS[platform], case(platform, 4, 2, slots, prompt))


@small
@pytest.mark.parametrize("heads", [6, 40])
def test_on_a_gpu_more_queries_than_a_program_takes_go_to_several(monkeypatch, heads):
    monkeypatch.setattr(gpu_decoding, "_MAX_QUERIES", 16)
    check(KERNELS["gpu"], case("gpu", heads, 1))


@small
def test_on_a_gpu_slots_that_nobody_owns_are_not_read():
    """Whatever lies there: a weight of 0 would not make NaN 0."""
    queries, caches = case("gpu", 4, 2)
    # The last quarter is not yet written, but for the rest of the block that is.
    written = jnp.arange(SIZES["gpu"][0]) < 64
    spoilt = [
        jnp.where(written[None, :, None, None, None, None], part, jnp.nan)
        for part in (caches.keys, caches.values)
    ]
    got = decoding.attend(
        KERNELS["gpu"], queries, caches._replace(keys=spoilt[0], values=spoilt[1]), jnp.int32(1)
    )
    np.testing.assert_allclose(got, by_xla(queries, caches, 1), atol=1e-5, rtol=1e-5)


@small
@pytest.mark.parametrize("platform", SIZES)
def test_on_a_mesh_each_device_reads_its_own_orders_and_heads(platform):
    mesh = make_mesh(fsdp=2, tensor=2, devices=jax.devices()[:4])
    check(KERNELS[platform].on(mesh, SHARD_AXES, TENSOR_AXIS), case(platform, 4, 2))


@pytest.mark.parametrize(
    ("orders", "slots", "prompt", "width", "tpu", "gpu"),
    [
        (16, 512, 1280, 128, True, True),
        (40, 128, 64, 128, True, True),
        (18, 512, 1280, 128, False, True),  # neither 8 nor 16 orders at a time
        (16, 1056, 992, 128, True, True),  # the last block of either may be cut off
        (16, 64, 1280, 128, False, False),  # too short to be worth it
        (16, 512, 15, 128, True, False),  # Triton multiplies no fewer
        (16, 512, 1280, 8, True, False),
        (16, 512, 1280, 80, True, False),  # no power of two
    ],
)
def test_which_caches_a_kernel_takes(orders, slots, prompt, width, tpu, gpu):
    sizes = 2, 4, width
    caches = jax.eval_shape(
        lambda: Caches(
            *PromptCache.empty(sizes, orders, prompt, jnp.bfloat16),
            *ResponseCache.empty(sizes, orders, 6, slots, jnp.bfloat16),
            jnp.ones((orders, 6, slots), bool),
        )
    )
    assert decoding.takes(Kernel("tpu"), caches) is tpu
    assert decoding.takes(Kernel("gpu"), caches) is gpu
