"""Rewards: accuracy graded in isolation, format, length, and functions of the user."""

from perl_jax.rewards.answers import ANSWER_FORM, answer_text, asked_answer, check_truth
from perl_jax.rewards.components import (
    COMPONENTS,
    RewardConfig,
    format_reward,
    overlong_penalty,
    weighted_sum,
)
from perl_jax.rewards.extract import Boxed, last_boxed
from perl_jax.rewards.functions import RewardFunction, load_reward
from perl_jax.rewards.grader import Grade, Grader, count_grades, grade_arrays
from perl_jax.rewards.rewarder import Rewarder, Rewards, make_grader
from perl_jax.rewards.workers import GradingError

__all__ = [
    "ANSWER_FORM",
    "COMPONENTS",
    "Boxed",
    "Grade",
    "Grader",
    "GradingError",
    "RewardConfig",
    "RewardFunction",
    "Rewarder",
    "Rewards",
    "answer_text",
    "asked_answer",
    "check_truth",
    "count_grades",
    "format_reward",
    "grade_arrays",
    "last_boxed",
    "load_reward",
    "make_grader",
    "overlong_penalty",
    "weighted_sum",
]
