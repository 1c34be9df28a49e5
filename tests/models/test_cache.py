"""A cache of responses in its two orders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.models.cache import ResponseCache

L, S, J, N, B, F = 2, 5, 3, 4, 2, 6


@pytest.fixture
def cache():
    rng = np.random.default_rng(0)
    return ResponseCache(*(jnp.asarray(rng.normal(size=(L, S, J, N, B, F))) for _ in range(2)))


def test_keys_have_their_slots_last_and_values_their_numbers(cache):
    rows = cache.by_rows()
    assert rows.keys.shape == (L, B, J, N, F, S)
    assert rows.values.shape == (L, B, J, N, S, F)
    # Layer 1, slot 4, head 2, response 3, prompt 1.
    np.testing.assert_array_equal(rows.keys[1, 1, 2, 3, :, 4], cache.keys[1, 4, 2, 3, 1])
    np.testing.assert_array_equal(rows.values[1, 1, 2, 3, 4], cache.values[1, 4, 2, 3, 1])


def test_it_comes_back_in_its_usual_order(cache):
    rows = cache.by_rows()
    jax.tree.map(np.testing.assert_array_equal, rows.by_slots(), cache)
    assert rows.by_rows() is rows
    assert cache.by_slots() is cache


@pytest.mark.parametrize("slot", [0, 3])
def test_new_keys_and_values_are_written_to_the_same_places(cache, slot):
    rng = np.random.default_rng(1)
    new = [jnp.asarray(rng.normal(size=(B, N, 2, J, F))) for _ in range(2)]
    where = jnp.int32(1), jnp.int32(slot)
    want, got = cache.write(*where, *new), cache.by_rows().write(*where, *new)
    jax.tree.map(np.testing.assert_array_equal, got.by_slots(), want)
    assert not np.array_equal(want.keys, cache.keys)


def test_a_layer_is_read_for_attention(cache):
    valid = jnp.ones((B, N, S), bool)
    usual, rows = (one.read(jnp.int32(1), valid) for one in (cache, cache.by_rows()))
    np.testing.assert_array_equal(rows.keys, jnp.transpose(usual.keys, (0, 3, 1, 4, 2)))
    np.testing.assert_array_equal(rows.values, jnp.transpose(usual.values, (0, 3, 1, 2, 4)))
    assert rows.valid is valid
