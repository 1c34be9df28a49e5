"""Computes accuracy and reward of responses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perl_jax.rewards.answers import asked_answer
from perl_jax.rewards.components import COMPONENTS, RewardConfig, RewardInput, weighted_sum
from perl_jax.rewards.functions import load_reward
from perl_jax.rewards.grader import Grader, grade_arrays


def make_grader(config: RewardConfig) -> Grader:
    """Starts a grader with these settings."""
    return Grader(
        num_workers=config.workers,
        deadline=config.deadline,
        absolute_tolerance=config.absolute_tolerance,
        relative_tolerance=config.relative_tolerance,
    )


@dataclass(frozen=True, eq=False)
class Rewards:
    """The rewards of n responses; reward and accuracy are 0 where unscored."""

    reward: np.ndarray  # float32 [n], to be optimised
    accuracy: np.ndarray  # float32 [n], the raw grade
    scored: np.ndarray  # bool [n], False where grading failed
    components: Mapping[str, np.ndarray]  # float32 [n] each, including those without a weight


class Rewarder:
    """Computes the rewards of responses of at most ``max_new_tokens`` tokens.

    The chat template wrote ``opening`` before each response; the format counts it.
    """

    def __init__(
        self, config: RewardConfig, grader: Grader, max_new_tokens: int, *, opening: str = ""
    ) -> None:
        self.opening = opening
        self.config = config
        self.grader = grader
        self.max_new_tokens = max_new_tokens
        self.functions = {name: load_reward(path) for name, path in config.functions.items()}

    def __call__(
        self,
        responses: Sequence[str],
        answers: Sequence[str],
        metadata: Sequence[Mapping[str, Any]],
        lengths: np.ndarray,
        stopped: np.ndarray,
    ) -> Rewards:
        """Grades and rewards n responses; for the arguments see `RewardInput`."""
        asked = [asked_answer(*row) for row in zip(answers, metadata, strict=True)]
        grades = self.grader.grade(responses, asked)
        budget, buffer = self.max_new_tokens, self.config.overlong_buffer
        inputs = RewardInput(
            responses,
            answers,
            metadata,
            lengths,
            stopped,
            grades,
            budget,
            buffer,
            self.opening,
        )
        components = {name: component.of(inputs) for name, component in COMPONENTS.items()}
        for name, function in self.functions.items():
            components[name] = function(responses, answers, metadata)
        accuracy, scored = grade_arrays(grades)
        reward = np.where(scored, weighted_sum(components, self.config.weights), 0.0)
        return Rewards(reward.astype(np.float32), accuracy, scored, components)
