"""Rewards: accuracy graded in isolation, format, length, and functions of the user."""

from perl_jax.rewards.answers import ANSWER_FORM, answer_text, asked_answer, check_truth
from perl_jax.rewards.components import (
    COMPONENTS,
    ResponseRows,
    RewardConfig,
    format_reward,
    length_reward,
    order_agreement,
    overlong_penalty,
    weighted_sum,
)
from perl_jax.rewards.extract import Boxed, last_boxed
from perl_jax.rewards.functions import RewardFunction, load_reward
from perl_jax.rewards.grader import Grade, Grader, count_grades, grade_arrays
from perl_jax.rewards.rewarder import Rewarder, Rewards, make_grader
from perl_jax.rewards.user_functions import UserFunctions
from perl_jax.rewards.workers import GradingError

__all__ = [
    "ANSWER_FORM",
    "COMPONENTS",
    "Boxed",
    "Grade",
    "Grader",
    "GradingError",
    "ResponseRows",
    "RewardConfig",
    "RewardFunction",
    "Rewarder",
    "Rewards",
    "UserFunctions",
    "answer_text",
    "asked_answer",
    "check_truth",
    "count_grades",
    "format_reward",
    "grade_arrays",
    "last_boxed",
    "length_reward",
    "load_reward",
    "make_grader",
    "order_agreement",
    "overlong_penalty",
    "weighted_sum",
]
