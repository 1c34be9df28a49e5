"""XLA's attention in blocks: its values and its gradients against those that jax derives."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.dense_attention import KeyValues, attend_in_blocks

B, N, R, S, T, H, J, F = 2, 3, 7, 9, 5, 6, 2, 8
SCORES_OF_A_QUERY = B * N * H * (S + T)


def arrays(dtype=jnp.float32):
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), dtype)

    own_valid = jnp.asarray(rng.random((B, N, S)) < 0.8).at[:, :, 0].set(True)
    prefix_valid = jnp.arange(T)[None] < jnp.array([[T], [T - 2]])
    own = KeyValues(normal(B, N, S, J, F), normal(B, N, S, J, F), own_valid)
    prefix = KeyValues(normal(B, T, J, F), normal(B, T, J, F), prefix_valid)
    slots = jnp.asarray(rng.integers(2, S, (B, N, R)))
    return normal(B, N, R, H, F), own, prefix, slots, jnp.asarray(rng.integers(0, 3, (B, N, R)))


def written_out(queries, own, prefix, slots, starts):
    """One softmax over all keys, in float32, for each head; nothing is shared or cut."""
    keys, values = (jnp.repeat(part, H // J, axis=3).astype(jnp.float32) for part in own[:2])
    places = jnp.arange(S)[None, None, None]
    allowed = jnp.broadcast_to(own.valid[:, :, None], (B, N, R, S))
    if slots is not None:
        allowed &= (places <= slots[..., None]) & (places >= starts[..., None])
    if prefix is not None:
        parts = (
            jnp.repeat(jnp.repeat(part[:, None], N, axis=1), H // J, axis=3).astype(jnp.float32)
            for part in prefix[:2]
        )
        keys, values = (
            jnp.concatenate(pair, axis=2) for pair in zip((keys, values), parts, strict=True)
        )
        seen = jnp.broadcast_to(prefix.valid[:, None, None], (B, N, R, T))
        allowed = jnp.concatenate([allowed, seen], axis=-1)
    scores = jnp.einsum("bnrhf,bnkhf->bnrhk", queries.astype(jnp.float32), keys) * F**-0.5
    scores = jnp.where(allowed[:, :, :, None], scores, -jnp.inf)
    return jnp.einsum("bnrhk,bnkhf->bnrhf", jax.nn.softmax(scores), values)


def both(way, queries, own, prefix, slots, starts):
    """Values, and gradients for a random cotangent."""

    def of(queries, own, prefix):
        return way(queries, own, prefix, slots, starts)

    cotangent = jnp.asarray(np.random.default_rng(1).normal(size=queries.shape), queries.dtype)
    floats = queries, own[:2], prefix if prefix is None else prefix[:2]
    out, back = jax.vjp(
        lambda q, o, p: of(
            q, KeyValues(*o, own.valid), None if p is None else KeyValues(*p, prefix.valid)
        ).astype(queries.dtype),
        *floats,
    )
    return jax.tree.leaves((out, back(cotangent)))


@pytest.mark.parametrize("queries_of_a_block", [1, 3, 4, R])
@pytest.mark.parametrize("with_prefix", [True, False])
@pytest.mark.parametrize("bounded", [True, False])
def test_gradients_are_those_of_attention_written_out(queries_of_a_block, with_prefix, bounded):
    queries, own, prefix, slots, starts = arrays()
    prefix = prefix if with_prefix else None
    bounds = (slots, starts) if bounded else (None, None)
    keys = S + (T if with_prefix else 0)
    scores = queries_of_a_block * B * N * H * keys

    def in_blocks(*arguments):
        return attend_in_blocks(scores, *arguments)

    got, want = (both(way, queries, own, prefix, *bounds) for way in (in_blocks, written_out))
    assert len(got) == (6 if with_prefix else 4)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("queries_of_a_block", [3, R])
def test_gradients_have_the_dtypes_of_what_they_are_gradients_of(queries_of_a_block):
    queries, own, prefix, *bounds = arrays(jnp.bfloat16)
    scores = queries_of_a_block * SCORES_OF_A_QUERY
    got = both(lambda *given: attend_in_blocks(scores, *given), queries, own, prefix, *bounds)
    want = both(written_out, queries, own, prefix, *bounds)
    for one, other in zip(got, want, strict=True):
        assert one.dtype == jnp.bfloat16
        np.testing.assert_allclose(
            one.astype(jnp.float32), other.astype(jnp.float32), atol=0.06, rtol=0.06
        )


def test_a_query_that_may_attend_to_nothing_spoils_nothing():
    """Its own values have no meaning, and nothing learns from them."""
    queries, own, _, slots, _ = arrays()
    starts = jnp.zeros_like(slots).at[0, 0, 2].set(S)
    cotangent = jnp.ones(queries.shape).at[0, 0, 2].set(0)

    def of(queries, keys, values):
        given = KeyValues(keys, values, own.valid)
        return attend_in_blocks(SCORES_OF_A_QUERY, queries, given, None, slots, starts)

    out, back = jax.vjp(of, queries, *own[:2])
    assert bool(jnp.isfinite(out).all())
    of_queries, *rest = back(cotangent)
    assert not of_queries[0, 0, 2].any()
    without = jax.vjp(of, queries.at[0, 0, 2].set(7.0), *own[:2])[1](cotangent)
    for one, other in zip(rest, without[1:], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_products_for_keys_and_values_are_transposed_in_place_of_weights():
    """XLA turns a product round whose result is transposed, unless it is held back."""
    queries, own, _, *bounds = arrays()

    def loss(queries, keys, values):
        given = KeyValues(keys, values, own.valid)
        return (attend_in_blocks(1 << 20, queries, given, None, *bounds) ** 2).sum()

    text = jax.jit(jax.grad(loss, (1, 2))).lower(queries, *own[:2]).compile().as_text()
    products = re.findall(r"= f32\[([\d,]+)\]\S* dot\(", text)
    assert products.count(f"{B},{J * N},{F},{S}") == 2
