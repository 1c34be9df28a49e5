"""Bootstrap intervals: against the formula of a mean, and where values are missing."""

import math

import numpy as np
import pytest

from perl_jax.evaluation.bootstrap import DRAWS, Interval, intervals, means_of_draws


def test_the_interval_of_a_mean_is_that_of_the_formula():
    values = np.random.default_rng(0).normal(3.0, 2.0, (500, 1))
    (found,) = intervals(values, seed=0)
    error = 1.96 * values.std() / math.sqrt(500)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - error, abs=0.03)
    assert found.high == pytest.approx(values.mean() + error, abs=0.03)


def test_an_example_without_a_value_counts_in_no_mean():
    values = np.array([[1.0, math.nan], [0.0, 5.0], [1.0, 5.0], [0.0, math.nan]])
    first, second = intervals(values, seed=0)
    assert (first.value, first.examples) == (0.5, 4)
    assert second == Interval(5.0, 5.0, 5.0, 2)
    assert intervals(np.full((3, 1), math.nan), seed=0) == [Interval(None, None, None, 0)]
    assert intervals(np.empty((0, 2)), seed=0) == [Interval(None, None, None, 0)] * 2


def test_columns_are_drawn_together():
    values = np.random.default_rng(0).random((50, 1))
    draws = means_of_draws(np.hstack([values, 1 - values]), np.random.default_rng(0))
    assert draws.shape == (DRAWS, 2)
    np.testing.assert_allclose(draws.sum(axis=1), 1.0)
    assert draws[:, 0].std() == pytest.approx(values.std() / math.sqrt(50), rel=0.1)


def test_a_seed_repeats_its_draws():
    values = np.random.default_rng(0).random((20, 1))
    assert intervals(values, seed=1) == intervals(values, seed=1) != intervals(values, seed=2)
