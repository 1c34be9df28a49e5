"""Graded rollouts are put in the order drawn, and measured as one draw."""

import numpy as np

from perl_jax.experience.draws import Graded, in_order, rollout_metrics
from perl_jax.rewards import Rewards
from perl_jax.types import Group, Rollouts


def graded(number, failed=(), orders=1, tokens=3, pad=9):
    """Two rollouts of 1 + number tokens to each order of a group; these failed, by reason."""
    shape = (1, orders, 2)
    lengths = np.full(shape, 1 + number, np.int32)
    values = np.full((*shape, tokens), pad, np.int32)
    values[..., : 1 + number] = number
    ones = np.ones(shape, np.float32)
    scored = np.full(shape, not failed)
    rollouts = Rollouts(values, np.zeros(values.shape, np.float32), lengths, scored)
    rewards = Rewards(number * ones, ones, scored, {"format": number * ones}, dict(failed))
    return Graded([number], rollouts, rewards, np.full(shape, f"text {number}", object))


def group():
    return Group("p", (), (), (), ())


def drawn(parts, count, orders=1, ladder=(2, 4)):
    return in_order(parts, [None] * count, [group()] * count, orders, ladder, {})


def test_groups_are_in_the_order_drawn_and_later_ones_are_left_out():
    found = drawn([graded(2), graded(0), graded(3, tokens=4), graded(1)], 3)
    assert found.rollouts.lengths[:, 0, 0].tolist() == [1, 2, 3]
    assert found.rewards.reward[:, 0, 0].tolist() == [0, 1, 2]
    assert found.rewards.components["format"][:, 0, 0].tolist() == [0, 1, 2]
    assert found.texts[:, 0, 0].tolist() == ["text 0", "text 1", "text 2"]
    assert found.rollouts.tokens[2, 0, 0].tolist() == [2, 2, 2, 0]


def test_padding_is_zero_and_fits_the_groups_alone():
    short = drawn([graded(1, tokens=2), graded(0, tokens=7), graded(2, tokens=8)], 2)
    assert short.rollouts.tokens[:, 0, 0].tolist() == [[0, 0], [1, 1]]
    other = drawn([graded(0, pad=5), graded(1, pad=5)], 2)
    np.testing.assert_array_equal(short.rollouts.tokens, other.rollouts.tokens)


def test_groups_of_fewer_orders_have_empty_ones():
    found = drawn([graded(0), graded(1, orders=2)], 2, orders=3)
    assert found.rollouts.lengths[..., 0].tolist() == [[1, 0, 0], [2, 2, 0]]
    assert found.rewards.scored[..., 0].tolist() == [[True, False, False], [True, True, False]]


def test_responses_that_got_no_reward_are_counted_by_reason_over_all_parts():
    parts = [graded(0, {"raised": 1}), graded(1), graded(2, {"raised": 1, "deadline": 2})]
    metrics = rollout_metrics(drawn(parts, 3))
    failed = {name: value for name, value in metrics.items() if name.startswith("reward/failed")}
    assert failed == {"reward/failed/raised": 2.0, "reward/failed/deadline": 2.0}
