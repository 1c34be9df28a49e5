"""Draws of a step are put together, and measured as one."""

import numpy as np

from perl_jax.experience.draws import Draw, concatenate, rollout_metrics
from perl_jax.rewards import Rewards
from perl_jax.types import Group, Rollouts


def draw(failed):
    """Two rollouts to one example, of which this many failed by each reason."""
    zeros = np.zeros((1, 1, 2), np.float32)
    scored = np.array([[[True, not failed]]])
    tokens = np.zeros((1, 1, 2, 3), np.int32)
    rollouts = Rollouts(tokens, tokens.astype(np.float32), zeros.astype(np.int32), scored)
    rewards = Rewards(zeros, zeros, scored, {}, failed)
    group = Group("p", (), (), (), ())
    return Draw([None], [group], rollouts, rewards, np.full((1, 1, 2), ""), {})


def test_responses_that_got_no_reward_are_counted_by_reason_over_all_draws():
    drawn = concatenate([draw({"raised": 1}), draw({}), draw({"raised": 1, "deadline": 2})])
    metrics = rollout_metrics(drawn)
    failed = {name: value for name, value in metrics.items() if name.startswith("reward/failed")}
    assert failed == {"reward/failed/raised": 2.0, "reward/failed/deadline": 2.0}
