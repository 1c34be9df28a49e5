"""Decoding by a kernel, interpreted, against XLA's attention to slices of the caches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.attention import attend
from perl_jax.kernels import Kernel, decoding
from perl_jax.kernels.decoding import Caches
from perl_jax.mesh import SHARD_AXES, TENSOR_AXIS, make_mesh
from perl_jax.models.cache import PromptCache, ResponseCache, of_layer

KERNEL = Kernel("tpu", interpret=True, least=1)
LAYERS, ORDERS, ROLLOUTS, WIDTH = 2, 4, 3, 8


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(decoding, "block_of", lambda length: 4)
    monkeypatch.setattr(decoding, "orders_of", lambda count: min(count, 2))


def case(heads, kv_heads, slots=12, prompt=8):
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    of_prompts = (LAYERS, ORDERS, kv_heads, prompt, WIDTH)
    own = (LAYERS, slots, kv_heads, ROLLOUTS, ORDERS, WIDTH)
    start, now = np.array([0, 5, 9, 2])[:, None, None], 9
    number = np.arange(slots)
    caches = Caches(
        normal(*of_prompts),
        normal(*of_prompts),
        jnp.asarray(np.arange(prompt) < np.array([[8], [3], [5], [1]])),
        normal(*own),
        normal(*own),
        jnp.asarray(
            np.broadcast_to((number >= start) & (number <= now), (ORDERS, ROLLOUTS, slots))
        ),
    )
    return normal(ORDERS, ROLLOUTS, heads, WIDTH), caches


def by_xla(queries, caches, layer):
    own = ResponseCache(caches.keys, caches.values).read(layer, caches.valid)
    prompts = PromptCache(*caches[:3])
    prefix = of_layer(prompts.keys[layer], prompts.values[layer], prompts.valid)
    return attend(queries[:, :, None], own, prefix)[:, :, 0]


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("heads", "kv_heads"), [(3, 1), (4, 2)])
def test_a_new_token_attends_to_its_prompt_and_to_its_own_past_in_its_layer(heads, kv_heads):
    queries, caches = case(heads, kv_heads)
    run = jax.jit(lambda *arguments: decoding.attend(KERNEL, *arguments))
    for layer in range(LAYERS):
        got = run(queries, caches, jnp.int32(layer))
        np.testing.assert_allclose(got, by_xla(queries, caches, layer), atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("slots", "prompt"), [(12, 9), (12, 11), (10, 8), (11, 10)])
def test_what_lies_beyond_the_end_of_a_cache_in_its_last_block_counts_nothing(slots, prompt):
    """Interpreted, that is NaN."""
    queries, caches = case(4, 2, slots, prompt)
    got = decoding.attend(KERNEL, queries, caches, jnp.int32(1))
    np.testing.assert_allclose(got, by_xla(queries, caches, 1), atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("small_blocks")
def test_on_a_mesh_each_device_reads_its_own_orders_and_heads():
    mesh = make_mesh(fsdp=2, tensor=2, devices=jax.devices()[:4])
    kernel = KERNEL.on(mesh, SHARD_AXES, TENSOR_AXIS)
    queries, caches = case(4, 2)
    got = jax.jit(lambda *arguments: decoding.attend(kernel, *arguments))(
        queries, caches, jnp.int32(1)
    )
    np.testing.assert_allclose(got, by_xla(queries, caches, 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("orders", "slots", "prompt", "taken"),
    [
        (16, 512, 1280, True),
        (40, 128, 64, True),
        (18, 512, 1280, False),  # neither 8 nor 16 orders at a time
        (16, 1056, 992, True),  # the last block of either may be cut off
        (16, 64, 1280, False),  # too short to be worth it
    ],
)
def test_blocks_have_to_divide_the_orders(orders, slots, prompt, taken):
    sizes = 2, 4, 128
    caches = jax.eval_shape(
        lambda: Caches(
            *PromptCache.empty(sizes, orders, prompt, jnp.bfloat16),
            *ResponseCache.empty(sizes, orders, 6, slots, jnp.bfloat16),
            jnp.ones((orders, 6, slots), bool),
        )
    )
    assert decoding.takes(Kernel("tpu"), caches) is taken
    assert not decoding.takes(Kernel("gpu"), caches)
