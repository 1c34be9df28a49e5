import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.objectives import token_logprobs

R, V, D = 6, 53, 8


def head(seed=0, lead=(3, R), vocabulary=V, width=D, scale=1.0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(*lead, width)).astype(dtype)
    unembedding = (scale * rng.normal(size=(vocabulary, width))).astype(dtype)
    tokens = rng.integers(0, vocabulary, lead)
    return hidden, unembedding, tokens


def dense(hidden, unembedding, tokens, temperature=1.0, banned=None):
    """What it stands for: the whole array of logits."""
    logits = jnp.einsum("...d,vd->...v", hidden, unembedding) / temperature
    if banned is not None:
        logits = jnp.where(banned.reshape((1,) * tokens.ndim + (-1,)), -1e30, logits)
    logp = jax.nn.log_softmax(logits, axis=-1)
    chosen = jnp.take_along_axis(logp, tokens[..., None], axis=-1)[..., 0]
    return chosen, -jnp.sum(jnp.exp(logp) * logp, axis=-1)


def loss_of(function, seed=1):
    """A scalar in which every log-probability and every entropy has a weight of its own."""

    def loss(hidden, unembedding, tokens):
        logprobs, entropies = function(hidden, unembedding, tokens)
        weights = np.random.default_rng(seed).normal(size=(2, *tokens.shape))
        weights = jnp.asarray(weights, logprobs.dtype)
        return jnp.sum(weights[0] * logprobs) + jnp.sum(weights[1] * entropies)

    return loss


def in_float64(function, *arrays):
    with jax.enable_x64(True):
        arrays = [np.asarray(a, np.float64) if a.dtype == np.float32 else a for a in arrays]
        return jax.tree.map(np.asarray, function(*map(jnp.asarray, arrays)))


def assert_close(ours, theirs, relative):
    """Relative to the largest value: an element near zero has no digits of its own."""
    difference = np.max(np.abs(np.asarray(ours, np.float64) - theirs))
    assert difference <= relative * np.max(np.abs(theirs)), difference / np.max(np.abs(theirs))


def test_two_words_by_hand():
    # hidden (1, 2), rows (1, 0) and (0, 1) and (-1, 1): logits 1, 2, 1.
    # exp: 2.718282, 7.389056, 2.718282, sum 12.825620, log 2.551445.
    # Token 1: 2 - 2.551445 = -0.551445. p = 0.211942, 0.576117, 0.211942;
    # entropy 2.551445 - (0.211942 * 1 * 2 + 0.576117 * 2) = 0.975328.
    hidden = jnp.array([[1.0, 2.0]])
    unembedding = jnp.array([[1.0, 0], [0, 1], [-1, 1]])
    logprobs, entropies = token_logprobs(hidden, unembedding, jnp.array([1]), chunk=2)
    np.testing.assert_allclose(logprobs, [-0.551445], 2e-6)
    np.testing.assert_allclose(entropies, [0.975328], 2e-6)


@pytest.mark.parametrize("chunk", [1, 7, 50, 53, 1000])
def test_values_and_gradients_equal_the_dense_ones_for_any_chunk(chunk):
    arrays = head()
    chunked = jax.jit(lambda *a: token_logprobs(*a, chunk=chunk))
    for ours, theirs in zip(chunked(*arrays), in_float64(dense, *arrays), strict=True):
        assert_close(ours, theirs, 1e-6)
    gradients = jax.jit(jax.grad(loss_of(chunked), argnums=(0, 1)))(*arrays)
    exact = in_float64(jax.grad(loss_of(dense), argnums=(0, 1)), *arrays)
    for ours, theirs in zip(gradients, exact, strict=True):
        assert_close(ours, theirs, 1e-6)


def test_a_larger_head_equals_the_dense_one_within_a_millionth():
    arrays = head(seed=3, lead=(64,), vocabulary=4099, width=32, scale=0.3)
    chunked = loss_of(lambda *a: token_logprobs(*a, chunk=512))
    value, gradients = jax.jit(jax.value_and_grad(chunked, argnums=(0, 1)))(*arrays)
    exact, exact_gradients = in_float64(jax.value_and_grad(loss_of(dense), argnums=(0, 1)), *arrays)
    assert_close(value, exact, 1e-6)
    for ours, theirs in zip(gradients, exact_gradients, strict=True):
        assert_close(ours, theirs, 1e-6)


def test_both_gradients_agree_with_finite_differences():
    with jax.enable_x64(True):
        hidden, unembedding, tokens = head(lead=(2,), vocabulary=5, width=3, dtype=np.float64)
        banned = np.array([False, True, False, False, False])
        tokens = np.array([0, 4])
        settings = {"temperature": 0.7, "banned": banned, "chunk": 2}
        loss = jax.jit(loss_of(lambda *a: token_logprobs(*a, **settings)))
        gradients = jax.grad(loss, argnums=(0, 1))(hidden, unembedding, tokens)
        step = 1e-6
        for which, array in enumerate((hidden, unembedding)):
            for place in np.ndindex(*array.shape):
                bump = np.zeros_like(array)
                bump[place] = step
                up, down = [hidden, unembedding], [hidden, unembedding]
                up[which], down[which] = array + bump, array - bump
                difference = (loss(*up, tokens) - loss(*down, tokens)) / (2 * step)
                np.testing.assert_allclose(
                    gradients[which][place], difference, rtol=1e-6, atol=1e-9
                )


@pytest.mark.parametrize("output", [0, 1])
def test_each_output_alone_has_its_exact_gradient(output):
    arrays = head(seed=4)
    ours = jax.grad(lambda *a: jnp.sum(token_logprobs(*a, chunk=10)[output]), argnums=(0, 1))
    exact = in_float64(jax.grad(lambda *a: jnp.sum(dense(*a)[output]), argnums=(0, 1)), *arrays)
    for gradient, theirs in zip(ours(*arrays), exact, strict=True):
        assert np.max(np.abs(theirs)) > 0.01
        assert_close(gradient, theirs, 2e-6)


def test_temperature_divides_the_logits():
    arrays = head(seed=5)
    ours = jax.jit(lambda t, *a: token_logprobs(*a, temperature=t, chunk=20))(0.5, *arrays)
    sharpened = token_logprobs(arrays[0] * 2, *arrays[1:], chunk=20)
    for one, other in zip(ours, sharpened, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    gradient = jax.grad(lambda h: jnp.sum(token_logprobs(h, *arrays[1:], temperature=0.5)[0]))
    exact = in_float64(jax.grad(lambda h, *a: jnp.sum(dense(h, *a, temperature=0.5)[0])), *arrays)
    assert_close(gradient(arrays[0]), exact, 1e-6)


def test_banned_rows_are_left_out_of_everything():
    hidden, unembedding, _ = head(seed=6)
    banned = np.zeros(V, bool)
    banned[[0, 1, 2, 3, 17, 30, 52]] = True  # a whole first slice, the last row, and some
    allowed = np.flatnonzero(~banned)
    choice = np.random.default_rng(0).integers(0, len(allowed), hidden.shape[:-1])
    # Banned rows must not matter even where their logits would dwarf the others.
    loud = np.where(banned[:, None], 100 * unembedding, unembedding)

    def ours(hidden, unembedding, tokens):
        return token_logprobs(hidden, unembedding, tokens, banned=banned, chunk=4)

    without = token_logprobs(hidden, unembedding[allowed], choice, chunk=4)
    for one, other in zip(ours(hidden, loud, allowed[choice]), without, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    d_hidden, d_unembedding = jax.grad(loss_of(ours), (0, 1))(hidden, loud, allowed[choice])
    exact = in_float64(jax.grad(loss_of(dense), (0, 1)), hidden, unembedding[allowed], choice)
    assert_close(d_hidden, exact[0], 1e-6)
    assert_close(d_unembedding[allowed], exact[1], 1e-6)
    np.testing.assert_array_equal(d_unembedding[banned], 0)


def test_a_token_that_cannot_be_drawn_has_probability_zero():
    hidden, unembedding, _ = head(lead=(4,))
    banned = np.arange(V) == 3
    tokens = np.array([3, -1, V, 4])
    logprobs, entropies = token_logprobs(hidden, unembedding, tokens, banned=banned, chunk=10)
    np.testing.assert_array_equal(np.isneginf(logprobs), [True, True, True, False])
    assert np.all(np.isfinite(entropies))
    gradient = jax.grad(
        lambda h: jnp.sum(
            jnp.where(
                jnp.array([False, False, False, True]),
                token_logprobs(h, unembedding, tokens, banned=banned, chunk=10)[0],
                0,
            )
        )
    )(hidden)
    np.testing.assert_array_equal(gradient[:3], np.zeros((3, D)))
    assert np.all(gradient[3] != 0)


def test_a_certain_token_has_log_probability_and_entropy_near_zero_and_never_nan():
    # Logits 1000 and 0: the normaliser is exactly the larger one in float32.
    hidden, unembedding = jnp.array([[1000.0]]), jnp.array([[0.0], [1.0], [0.0]])
    logprobs, entropies = token_logprobs(hidden, unembedding, jnp.array([1]), chunk=1)
    np.testing.assert_array_equal(logprobs, [0])
    np.testing.assert_array_equal(entropies, [0])
    gradient = jax.grad(loss_of(lambda *a: token_logprobs(*a, chunk=1)))(
        hidden, unembedding, jnp.array([0])
    )
    assert np.all(np.isfinite(gradient))


def test_a_peaked_distribution_keeps_the_digits_of_its_entropy():
    # Logits 100 and 90, p = exp(-10) / (1 + exp(-10)) = 4.539787e-5 for the second:
    # entropy = 4.539787e-5 * 10.0000454 + 4.53968e-5 = 4.993775e-4. As the difference of two
    # numbers near 100, each rounded to 8e-6, it would be off by percents.
    hidden, unembedding = jnp.array([[10.0]]), jnp.array([[9.0], [10.0]])
    _, entropies = token_logprobs(hidden, unembedding, jnp.array([1]), chunk=1)
    np.testing.assert_allclose(entropies, [4.993775e-4], rtol=1e-4)


def test_bfloat16_inputs_multiply_in_bfloat16_and_come_out_in_float32():
    hidden, unembedding, tokens = head(seed=8)
    low = jnp.asarray(hidden, jnp.bfloat16), jnp.asarray(unembedding, jnp.bfloat16)
    outputs = token_logprobs(*low, tokens, chunk=10)
    exact = in_float64(dense, *(np.asarray(a, np.float32) for a in low), tokens)
    for ours, theirs in zip(outputs, exact, strict=True):
        assert ours.dtype == jnp.float32
        assert_close(ours, theirs, 1e-5)  # products of bfloat16 are exact in float32
    gradients = jax.grad(loss_of(lambda *a: token_logprobs(*a, chunk=10)), (0, 1))(*low, tokens)
    exact = in_float64(
        jax.grad(loss_of(dense), (0, 1)), *(np.asarray(a, np.float32) for a in low), tokens
    )
    for ours, theirs in zip(gradients, exact, strict=True):
        assert ours.dtype == jnp.bfloat16
        assert_close(ours, theirs, 1e-2)


def test_a_float32_unembedding_is_cast_slice_by_slice_and_keeps_its_dtype_in_the_gradient():
    hidden, unembedding, tokens = head(seed=8)
    hidden = jnp.asarray(hidden, jnp.bfloat16)
    mixed = token_logprobs(hidden, unembedding, tokens, chunk=10)
    cast = token_logprobs(hidden, jnp.asarray(unembedding, jnp.bfloat16), tokens, chunk=10)
    for one, other in zip(mixed, cast, strict=True):
        np.testing.assert_array_equal(one, other)
    gradients = jax.grad(loss_of(lambda *a: token_logprobs(*a, chunk=10)), (0, 1))(
        hidden, unembedding, tokens
    )
    assert [gradient.dtype for gradient in gradients] == [jnp.bfloat16, jnp.float32]


def test_it_maps_over_a_batch_and_under_checkpointing():
    arrays = head(seed=9)

    def one(hidden, tokens):
        return token_logprobs(hidden, arrays[1], tokens, chunk=10)

    mapped = jax.vmap(jax.checkpoint(one))(arrays[0], arrays[2])
    for ours, theirs in zip(mapped, token_logprobs(*arrays, chunk=10), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_the_compiled_gradient_needs_a_fraction_of_the_dense_memory():
    arrays = head(lead=(256,), vocabulary=8192, width=16)

    def temporary(function):
        compiled = jax.jit(jax.grad(loss_of(function), (0, 1))).lower(*arrays).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(lambda *a: token_logprobs(*a, chunk=256)) < 0.1 * temporary(dense)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"unembedding": jnp.ones((5, 4))}, ValueError, r"unembedding: .* \[V, 3\].* got \[5, 4\]"),
        ({"tokens": jnp.ones(3, int)}, ValueError, r"tokens: expected shape \[2\]; got \[3\]"),
        ({"tokens": jnp.ones(2)}, TypeError, "tokens: expected an integer dtype; got float32"),
        ({"hidden": jnp.ones((2, 3), int)}, TypeError, "hidden: expected a floating dtype"),
        ({"hidden": jnp.ones(3)}, ValueError, r"hidden: expected axes \[..., R, D\]"),
        ({"banned": jnp.ones(4, bool)}, ValueError, r"banned: expected shape \[5\]; got \[4\]"),
        ({"chunk": 0}, ValueError, "chunk: expected a number >= 1; got 0"),
        ({"temperature": 0.0}, ValueError, "temperature: expected a number > 0; got 0.0"),
        ({"temperature": jnp.ones(2)}, ValueError, r"temperature: expected shape \[\]; got \[2\]"),
    ],
)
def test_wrong_arguments_are_named_while_tracing(change, error, message):
    right = {
        "hidden": jnp.ones((2, 3)),
        "unembedding": jnp.ones((5, 3)),
        "tokens": jnp.ones(2, int),
    }
    with pytest.raises(error, match=message):
        jax.eval_shape(lambda: token_logprobs(**{**right, **change}))
