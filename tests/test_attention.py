"""The primitive against attention written out for one sequence at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax import attention
from perl_jax.attention import KeyValues, RowKeyValues, attend, attend_to_rows

B, N, R, S, T, H, J, F = 2, 3, 4, 6, 5, 6, 2, 8


def one_sequence(queries, keys, values, allowed):
    """Attention of ``[R, H, F]`` over ``[S, J, F]`` in float64; head h reads h // (H / J)."""
    out = np.zeros(queries.shape)
    for head in range(queries.shape[1]):
        shared = head * keys.shape[1] // queries.shape[1]
        scores = queries[:, head] @ keys[:, shared].T / np.sqrt(queries.shape[-1])
        weights = np.where(allowed, np.exp(scores - scores.max()), 0)
        out[:, head] = weights / weights.sum(-1, keepdims=True) @ values[:, shared]
    return out


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    own = KeyValues(
        normal(B, N, S, J, F), normal(B, N, S, J, F), jnp.asarray(rng.random((B, N, S)) < 0.8)
    )
    own = own._replace(valid=own.valid.at[:, :, 0].set(True))
    prefix = KeyValues(
        normal(B, T, J, F), normal(B, T, J, F), jnp.asarray([[True] * 5, [True] * 3 + [False] * 2])
    )
    return normal(B, N, R, H, F), own, prefix, jnp.asarray(rng.integers(0, S, (B, N, R)))


def expected(queries, own, prefix, slots, starts=None):
    out = np.zeros(queries.shape)
    for b in range(B):
        for n in range(N):
            allowed = np.broadcast_to(own.valid[b, n], (R, S))
            if slots is not None:
                allowed = allowed & (np.arange(S) <= np.asarray(slots)[b, n, :, None])
            if starts is not None:
                allowed = allowed & (np.arange(S) >= np.asarray(starts)[b, n, :, None])
            keys, values = own.keys[b, n], own.values[b, n]
            if prefix is not None:
                keys = np.concatenate([prefix.keys[b], keys])
                values = np.concatenate([prefix.values[b], values])
                shared = np.broadcast_to(prefix.valid[b], (R, T))
                allowed = np.concatenate([shared, allowed], axis=-1)
            out[b, n] = one_sequence(np.asarray(queries[b, n]), keys, values, allowed)
    return out


@pytest.mark.parametrize("with_prefix", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_each_row_attends_to_its_prefix_and_its_own_past(with_prefix, causal, arrays):
    queries, own, prefix, slots = arrays
    prefix = prefix if with_prefix else None
    slots = slots if causal else None
    got = attend(queries, own, prefix, query_slots=slots)
    np.testing.assert_allclose(got, expected(queries, own, prefix, slots), atol=1e-5)


def test_rows_in_the_order_of_a_cpu_give_the_same(arrays):
    queries, own, prefix, _ = arrays
    rows = RowKeyValues(
        jnp.transpose(own.keys, (0, 3, 1, 4, 2)),
        jnp.transpose(own.values, (0, 3, 1, 2, 4)),
        own.valid,
    )
    got = attend_to_rows(queries[:, :, :1], rows, prefix)
    want = expected(queries, own, prefix, None)[:, :, :1]
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("room", [None, 3])
def test_a_query_attends_to_nothing_before_its_start(room, arrays, monkeypatch):
    queries, own, prefix, slots = arrays
    if room:
        monkeypatch.setattr(attention, "_MAX_SCORES_CPU", room * B * N * H * (S + T))
    starts = jnp.maximum(slots - 2, 0)
    assert (starts > 0).any()
    got = attend(queries, own, prefix, query_slots=slots, query_starts=starts)
    np.testing.assert_allclose(got, expected(queries, own, prefix, slots, starts), atol=1e-5)
    with pytest.raises(ValueError, match=r"query_starts: expected \(2, 3, 4\), got \(2, 3, 3\)"):
        attend(queries, own, prefix, query_slots=slots, query_starts=starts[..., :3])


def test_blocks_of_queries_change_neither_the_values_nor_the_gradients(arrays, monkeypatch):
    queries, own, prefix, slots = arrays

    def loss(queries, own_keys, prefix_keys):
        out = attend(
            queries,
            own._replace(keys=own_keys),
            prefix._replace(keys=prefix_keys),
            query_slots=slots,
        )
        return (out**2).sum(), out

    run = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    whole = run(queries, own.keys, prefix.keys)
    # Room for three queries at once: four make two blocks of two.
    monkeypatch.setattr(attention, "_MAX_SCORES_CPU", 3 * B * N * H * (S + T))
    blocks = run(queries, own.keys, prefix.keys)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(blocks), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_memory_grows_with_the_length_not_its_square():
    def temporary(length):
        shape = jax.ShapeDtypeStruct((1, 1, length, 4, 64), jnp.bfloat16)
        valid = jax.ShapeDtypeStruct((1, 1, length), bool)
        slots = jax.ShapeDtypeStruct((1, 1, length), jnp.int32)

        def causal(q, k, v, valid, slots):
            return attend(q, KeyValues(k, v, valid), query_slots=slots)

        compiled = jax.jit(causal).lower(shape, shape, shape, valid, slots).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(65536) < 2.2 * temporary(32768)


def test_a_query_that_may_attend_to_nothing_stays_finite(arrays):
    queries, own, _, slots = arrays
    nothing = own._replace(valid=jnp.zeros_like(own.valid))
    loss, gradient = jax.value_and_grad(lambda q: attend(q, nothing, query_slots=slots).sum())(
        queries
    )
    assert jnp.isfinite(loss)
    assert jnp.isfinite(gradient).all()


def test_padding_in_the_prefix_has_no_gradient(arrays):
    queries, own, prefix, slots = arrays

    def loss(keys):
        return attend(queries, own, prefix._replace(keys=keys), query_slots=slots).sum()

    gradient = jax.grad(loss)(prefix.keys)
    assert jnp.abs(gradient[1, 3:]).max() == 0
    assert jnp.abs(gradient[1, :3]).max() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, o, p, s: (q[0], o, p, s), r"queries: expected \[B, N, R, H, F\], got"),
        (lambda q, o, p, s: (q[:1], o, p, s), r"own.keys: expected \[1, 3, S, J, 8\], got"),
        (lambda q, o, p, s: (q, o._replace(valid=o.valid[..., :2]), p, s), "own.valid: expected"),
        (lambda q, o, p, s: (q, o, p._replace(keys=p.keys[:1]), s), "prefix.keys: expected"),
        (lambda q, o, p, s: (q, o, p, s[..., :1]), "query_slots: expected"),
        (lambda q, o, p, s: (q[..., :5, :], o, p, s), "5 heads cannot share 2 key/value heads"),
    ],
)
def test_shapes_that_do_not_fit_are_named(change, message, arrays):
    queries, own, prefix, slots = change(*arrays)
    with pytest.raises(ValueError, match=message):
        attend(queries, own, prefix, query_slots=slots)
