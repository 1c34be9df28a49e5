"""Weights of tokens on the host, and statistics of micro-batches put together."""

import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.objectives import aggregation_weights
from perl_jax.objectives.aggregation import AGGREGATIONS, token_weights
from perl_jax.update.stats import of_batch, of_update, over_tokens


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_weights_are_those_of_the_objective(how):
    rng = np.random.default_rng(0)
    mask = rng.random((3, 2, 4, 7)) < 0.6
    mask[0, 1, 2:] = mask[2] = False
    got = token_weights(mask, how, 11)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, aggregation_weights(mask, how, 11), rtol=2e-7)


@pytest.mark.parametrize("how", AGGREGATIONS)
def test_nothing_weighs_where_nothing_counts(how):
    assert not token_weights(np.zeros((2, 3), bool), how, 5.0).any()


def test_the_weights_of_three_responses_by_hand():
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]], bool)
    for how, want in {
        "token_mean": [1 / 5, 1 / 5],
        "sequence_mean_token_mean": [1 / 4, 1 / 6],
        "sequence_mean_token_sum": [1 / 2, 1 / 2],
        "constant_length": [1 / 20, 1 / 20],
    }.items():
        weights = token_weights(mask, how, 10)
        np.testing.assert_allclose(weights[:2, 0], want, rtol=1e-6)
        np.testing.assert_array_equal(weights > 0, mask)


def test_an_unknown_way_or_a_missing_length_is_refused():
    mask = np.ones((1, 2), bool)
    with pytest.raises(ValueError, match="how: expected one of token_mean"):
        token_weights(mask, "mean")
    with pytest.raises(ValueError, match=r"length: constant_length expects .*; got None"):
        token_weights(mask, "constant_length")


def test_means_over_micro_batches_weigh_their_tokens():
    def part(mean, tokens, extreme):
        return over_tokens({"a": jnp.float32(mean)}, jnp.arange(8) < tokens) | {
            "max/a_max": jnp.float32(extreme),
            "min/a_min": jnp.float32(extreme),
            "sum/loss": jnp.float32(mean),
        }

    got = of_update([part(1.0, 2, 5.0), part(4.0, 6, 7.0), part(9.0, 0, 6.0)])
    want = {"a": 26 / 8, "tokens": 8, "a_max": 7, "a_min": 5, "loss": 14}
    assert {name: float(value) for name, value in got.items()} == want
    assert float(of_update([part(9.0, 0, 6.0)])["a"]) == 0


def test_of_several_updates_counts_add_up_and_the_last_word_counts():
    names = (
        "policy/loss", "tokens", "optimizer/skipped", "a_max", "a_min", "optimizer/learning_rate",
        "optimizer/param_norm",
    )  # fmt: skip
    first, second = (
        dict(zip(names, map(jnp.asarray, values), strict=True))
        for values in ((1.0, 10, 1, 3.0, 3.0, 0.5, 4), (2.0, 20, 1, 2.0, 2.0, 0.25, 0))
    )
    got = {name: float(value) for name, value in of_batch([first, second]).items()}
    assert got == dict(zip(names, (1.5, 30, 2, 3, 2, 0.25, 0), strict=True))
