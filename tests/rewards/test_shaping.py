import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perl_jax.rewards import format_reward, overlong_penalty, weighted_sum

PUBLISHED = re.compile(r"<think>.*</think>.*\\boxed\{.*\}.*", re.DOTALL)
PIECES = ["<think>", "</think>", "\\boxed{", "\\boxed", "{", "}", "\n", "a", "<think"]


@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_the_format_reward_is_a_full_match_of_the_published_expression(pieces):
    response = "".join(pieces)
    assert format_reward(response) == float(PUBLISHED.fullmatch(response) is not None)


@pytest.mark.parametrize(
    ("response", "reward"),
    [
        ("<think>a</think>\\boxed{5}", 1.0),
        ("<think>a\nb</think>\nso \\boxed{}.\n", 1.0),
        (" <think>a</think>\\boxed{5}", 0.0),
        ("<think>\\boxed{5}</think>", 0.0),
        ("<think>a\\boxed{5}", 0.0),
        ("<think>a</think>\\boxed{5", 0.0),
        ("", 0.0),
    ],
)
def test_the_format_asks_for_a_thought_and_then_a_box(response, reward):
    assert format_reward(response) == reward


def test_the_format_reward_of_a_megabyte_of_marks_comes_at_once():
    # The published expression backtracks over every pair of marks here.
    assert format_reward("<think>" + "</think>\\boxed{" * 50_000) == 0.0


def test_the_overlong_penalty_is_that_of_the_formula():
    # L = 100, c = 20: nothing to 80, a line from 0 to -1 over the buffer, then -1.
    penalty = overlong_penalty([0, 80, 85, 90, 100, 101, 500], max_length=100, buffer=20)
    np.testing.assert_allclose(penalty, [0, 0, -0.25, -0.5, -1, -1, -1])
    assert penalty.dtype == np.float32


def test_an_overlong_penalty_without_a_buffer_punishes_only_what_is_cut_off():
    np.testing.assert_array_equal(
        overlong_penalty([99, 100, 101], max_length=100, buffer=0), [0, 0, -1]
    )
    with pytest.raises(ValueError, match="101 and 100"):
        overlong_penalty([1], max_length=100, buffer=101)


def test_the_reward_is_the_weighted_sum_of_its_parts():
    parts = {"accuracy": [1.0, 0.0, 1.0], "format": [1.0, 1.0, 0.0], "seen": [9.0, 9.0, 9.0]}
    total = weighted_sum(parts, {"accuracy": 0.9, "format": 0.1})
    np.testing.assert_allclose(total, [1.0, 0.1, 0.9], rtol=1e-6)


@pytest.mark.parametrize(
    ("parts", "weights", "message"),
    [
        ({"accuracy": [1.0]}, {"acuracy": 1.0}, "did you mean 'accuracy'"),
        ({"accuracy": [1.0, float("nan")]}, {"accuracy": 1.0}, "'accuracy', row 1"),
        ({"accuracy": [1.0], "format": [1.0, 1.0]}, {"accuracy": 1.0}, "one length"),
        ({"accuracy": [1.0]}, {"accuracy": float("nan")}, "finite"),
        ({"accuracy": [1.0]}, {}, "expected weights"),
    ],
)
def test_a_sum_that_cannot_be_meant_is_an_error(parts, weights, message):
    with pytest.raises(ValueError, match=message):
        weighted_sum(parts, weights)
