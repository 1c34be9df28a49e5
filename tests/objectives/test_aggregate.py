import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.objectives import aggregate, aggregation_weights

WAYS = ["token_mean", "sequence_mean_token_mean", "sequence_mean_token_sum", "constant_length"]
VALUES = jnp.array([[1.0, 2, 3], [10, 99, 99], [99, 99, 99]])
MASK = jnp.array([[1, 1, 1], [1, 0, 0], [0, 0, 0]])


def reference(values, mask, how, length):
    """The definition, response by response, in float64."""
    responses = [row[keep].astype(np.float64) for row, keep in zip(values, mask, strict=True)]
    responses = [row for row in responses if len(row)]
    if not responses:
        return 0.0
    if how == "token_mean":
        return np.concatenate(responses).mean()
    if how == "sequence_mean_token_mean":
        return np.mean([row.mean() for row in responses])
    sums = [row.sum() for row in responses]
    return np.mean(sums) if how == "sequence_mean_token_sum" else np.mean(sums) / length


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("token_mean", 4.0),  # (1 + 2 + 3 + 10) / 4
        ("sequence_mean_token_mean", 6.0),  # ((1 + 2 + 3) / 3 + 10) / 2; the third has no token
        ("sequence_mean_token_sum", 8.0),  # (6 + 10) / 2
        ("constant_length", 2.0),  # (6 + 10) / (2 * 4)
    ],
)
def test_each_way_weighs_tokens_and_responses_as_documented(how, expected):
    np.testing.assert_allclose(aggregate(VALUES, MASK, how, length=4), expected, 1e-6)


@pytest.mark.parametrize("how", WAYS)
def test_every_way_agrees_with_its_definition_on_random_masks(how):
    rng = np.random.default_rng(5)
    for share in (0.0, 0.1, 0.5, 1.0):
        values = rng.normal(size=(9, 5)).astype(np.float32)
        mask = rng.random((9, 5)) < share
        expected = reference(values, mask, how, length=64)
        result = aggregate(np.where(mask, values, np.nan), mask, how, 64)
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("how", WAYS)
def test_the_gradient_is_the_weight_and_ignores_what_is_masked(how):
    poisoned = jnp.where(MASK != 0, VALUES, jnp.nan)
    gradient = jax.grad(lambda x: aggregate(x, MASK, how, 4))(poisoned)
    np.testing.assert_array_equal(gradient, aggregation_weights(MASK, how, 4))
    assert np.all(gradient[MASK != 0] > 0)
    np.testing.assert_array_equal(gradient[MASK == 0], 0)


@pytest.mark.parametrize("how", WAYS)
def test_an_empty_mask_gives_zero_and_zero_gradients(how):
    nothing = jnp.full((2, 3), jnp.inf)
    value, gradient = jax.value_and_grad(lambda x: aggregate(x, jnp.zeros((2, 3), bool), how, 4))(
        nothing
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros((2, 3)))


@pytest.mark.parametrize("how", WAYS)
def test_shares_of_micro_batches_add_up_to_the_batch(how):
    # The mean of micro-batch means would be 6 for the token mean, where the batch has 4.
    weights = aggregation_weights(MASK, how, 4)
    parts = [jnp.sum(weights[i : i + 1] * VALUES[i : i + 1]) for i in range(3)]
    np.testing.assert_allclose(sum(parts), aggregate(VALUES, MASK, how, 4), 1e-6)


def test_leading_axes_are_all_responses():
    values, mask = VALUES.reshape(3, 1, 3), MASK.reshape(3, 1, 3)
    for how in WAYS:
        assert aggregate(values, mask, how, 4) == aggregate(VALUES, MASK, how, 4)


def test_bfloat16_values_are_summed_in_float32():
    # 512 ones: bfloat16 sums stop growing at 256.
    result = jax.jit(aggregate, static_argnames="how")(
        jnp.ones((1, 512), jnp.bfloat16), jnp.ones((1, 512)), "sequence_mean_token_sum"
    )
    assert result.dtype == jnp.float32
    assert result == 512


def test_a_constant_length_must_be_given():
    with pytest.raises(ValueError, match=r"length: constant_length expects .* got None"):
        aggregate(VALUES, MASK, "constant_length")
    with pytest.raises(ValueError, match=r"length: expected a number > 0; got 0"):
        aggregate(VALUES, MASK, "constant_length", 0)


def test_unknown_ways_and_other_shapes_are_refused_while_tracing():
    with pytest.raises(ValueError, match=r"how: expected one of token_mean, .*mean 'token_mean'"):
        aggregate(VALUES, MASK, "token_means")
    with pytest.raises(ValueError, match=r"mask: expected shape \[3, 3\]; got \[3\]"):
        jax.eval_shape(aggregate, VALUES, MASK[0])
