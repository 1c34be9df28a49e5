"""Computes accuracy and reward of responses."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from perl_jax.rewards.answers import asked_answer
from perl_jax.rewards.components import (
    COMPONENTS,
    ResponseRows,
    RewardConfig,
    RewardInput,
    weighted_sum,
)
from perl_jax.rewards.grader import Grader, grade_arrays
from perl_jax.rewards.user_functions import UserFunctions


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
    scored: np.ndarray  # bool [n], False where grading or a function of the user failed
    components: Mapping[str, np.ndarray]  # float32 [n] each, including those without a weight
    # How many responses a function of the user gave no reward, by the reason; see `REASONS`.
    failed: Mapping[str, int] = field(default_factory=dict)


class Rewarder:
    """Computes the rewards of responses of at most ``max_new_tokens`` tokens.

    The chat template wrote ``opening`` before each response; the format counts it. ``functions``
    calls the functions of the configuration; None: the rewarder makes one of its own.
    """

    def __init__(
        self,
        config: RewardConfig,
        grader: Grader,
        max_new_tokens: int,
        *,
        opening: str = "",
        functions: UserFunctions | None = None,
    ) -> None:
        self.opening = opening
        self.config = config
        self.grader = grader
        self.max_new_tokens = max_new_tokens
        self.functions = UserFunctions(config) if functions is None else functions

    def __call__(self, rows: ResponseRows) -> Rewards:
        """Grades and rewards responses, with whole groups at a time."""
        asked = [asked_answer(*row) for row in zip(rows.answers, rows.metadata, strict=True)]
        grades = self.grader.grade(rows.texts, asked)
        budget, buffer = self.max_new_tokens, self.config.overlong_buffer
        inputs = RewardInput(rows, grades, budget, buffer, self.opening)
        components = {name: component.of(inputs) for name, component in COMPONENTS.items()}
        reasons = np.full(len(rows.texts), "", object)
        for name in self.config.functions:
            components[name], failed = self._called(name, rows)
            reasons = np.where(reasons == "", failed, reasons)
        accuracy, graded = grade_arrays(grades)
        scored = graded & (reasons == "")
        reward = np.where(scored, weighted_sum(components, self.config.weights), 0.0)
        return Rewards(
            reward.astype(np.float32),
            np.where(scored, accuracy, 0.0).astype(np.float32),
            scored,
            components,
            Counter(reasons[reasons != ""].tolist()),
        )

    def _called(self, name: str, rows: ResponseRows) -> tuple[np.ndarray, np.ndarray]:
        """The values of a function of the user, and why there is none, "" elsewhere.

        It is called with one group at a time. So a value depends on nothing but its group, whatever
        else is drawn at the time and wherever, and a failure costs one group.
        """
        values, reasons = (
            np.zeros(len(rows.texts), np.float32),
            np.full(len(rows.texts), "", object),
        )
        for group in dict.fromkeys(rows.groups.tolist()):
            (members,) = np.nonzero(rows.groups == group)
            values[members], reasons[members] = self.functions.rewards(name, rows.columns(members))
        return values, reasons
