"""Importance weights that leave out tokens or responses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.objectives import masked_importance_weights

# Ratios of the first response 3, 0.5, 1; of the second 1.5, 1.5, and padding.
RATIOS = jnp.array([[3.0, 0.5, 1.0], [1.5, 1.5, jnp.nan]])
MASK = jnp.array([[True, True, True], [True, True, False]])


def weights_of(**settings):
    return masked_importance_weights(jnp.log(RATIOS), jnp.zeros((2, 3)), MASK, **settings)


def test_a_token_whose_ratio_leaves_the_bounds_weighs_nothing():
    weights, stats = weights_of(bound=2.01)
    # 3 is above 2.01; 0.5 is above 1 / 2.01.
    np.testing.assert_allclose(weights, [[0, 0.5, 1], [1.5, 1.5, 0]], rtol=1e-6)
    assert stats["masked_fraction"] == pytest.approx(1 / 5)
    assert stats["weight_mean"] == pytest.approx((0.5 + 1 + 1.5 + 1.5) / 5)
    assert stats["logprob_gap_max"] == pytest.approx(np.log(3))
    weights, _ = weights_of(bound=1.99)
    np.testing.assert_allclose(weights, [[0, 0, 1], [1.5, 1.5, 0]], rtol=1e-6)


def test_a_response_is_kept_whole_by_the_geometric_mean_of_its_ratios():
    # (3 * 0.5 * 1) ** (1 / 3) is 1.145, and the mean of the second is 1.5.
    weights, stats = weights_of(bound=1.2, level="sequence")
    np.testing.assert_array_equal(weights, [[1, 1, 1], [0, 0, 0]])
    assert stats["masked_fraction"] == pytest.approx(2 / 5)
    weights, _ = weights_of(bound=1.14, level="sequence")
    np.testing.assert_array_equal(weights, np.zeros((2, 3)))
    # Less likely by as much is as far away.
    gap = -jnp.log(RATIOS)
    weights, _ = masked_importance_weights(gap, gap * 0, MASK, bound=1.2, level="sequence")
    np.testing.assert_array_equal(weights, [[1, 1, 1], [0, 0, 0]])


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_masked_weights_carry_no_gradient_and_are_zero_where_nothing_is_known(level):
    def total(logprobs, sampler):
        weights, stats = masked_importance_weights(logprobs, sampler, MASK, level=level)
        return jnp.sum(weights) + stats["logprob_gap_mean"]

    arrays = jnp.zeros((2, 3)), jnp.full((2, 3), -0.1)
    for gradient in jax.grad(total, argnums=(0, 1))(*arrays):
        np.testing.assert_array_equal(gradient, np.zeros((2, 3)))
    lost = jnp.full((2, 3), jnp.nan)
    weights, _ = masked_importance_weights(lost, arrays[1], MASK, level=level)
    np.testing.assert_array_equal(weights, np.zeros((2, 3)))
    weights, stats = masked_importance_weights(*arrays, jnp.zeros((2, 3)), level=level)
    assert not weights.any()
    assert not any(stats.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"bound": 1.0}, "bound: expected a number > 1"), ({"level": "word"}, "level: expected one")],
)
def test_a_wrong_setting_is_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        weights_of(**settings)
