"""From responses to accuracy and to the reward that is optimised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import Len

from perl_jax.rewards import (
    Grader,
    RewardFunction,
    format_reward,
    grade_arrays,
    load_reward,
    overlong_penalty,
    weighted_sum,
)
from perl_jax.settings import (
    Checked,
    Count,
    CountOrZero,
    Expects,
    Positive,
    PositiveOrZero,
    suggestion,
)

_Weights = Annotated[Mapping[str, float], Len(1), Expects("at least one component")]


@dataclass(frozen=True)
class RewardConfig(Checked):
    """What is optimised.

    Attributes:
        weights: Weight by component: ``accuracy``, ``format``, ``overlong``, or a name of
            ``functions``. The reward is their weighted sum.
        functions: The user's own rewards: name -> ``package.module:function``.
        overlong_buffer: Tokens before the limit in which the component ``overlong`` falls to -1.
        absolute_tolerance: Numbers may differ from the right answer by this much.
        relative_tolerance: Or by this share of it.
        workers: Grading processes; None: one a core, at most 8.
        deadline: Seconds for one symbolic comparison.
    """

    weights: _Weights = field(default_factory=lambda: {"accuracy": 0.9, "format": 0.1})
    functions: Mapping[str, str] = field(default_factory=dict)
    overlong_buffer: CountOrZero = 0
    absolute_tolerance: PositiveOrZero = 0.0
    relative_tolerance: PositiveOrZero = 0.0
    workers: Count | None = None
    deadline: Positive = 2.0

    def _check_together(self) -> None:
        known = ("accuracy", "format", "overlong", *self.functions)
        for name in self.weights:
            if name not in known:
                raise ValueError(
                    f"weights: expected some of {', '.join(known)}; got {name!r}"
                    + suggestion(name, known)
                )


def make_grader(config: RewardConfig) -> Grader:
    """Starts the grader that a configuration asks for."""
    return Grader(
        num_workers=config.workers,
        deadline=config.deadline,
        absolute_tolerance=config.absolute_tolerance,
        relative_tolerance=config.relative_tolerance,
    )


@dataclass(frozen=True, eq=False)
class Rewards:
    """What n responses earned.

    Attributes:
        reward: float32 ``[n]``, what is optimised; 0 where unscored.
        accuracy: float32 ``[n]``, the raw grade; 0 where unscored.
        scored: bool ``[n]``: False where grading failed, so that neither means anything.
        components: float32 ``[n]`` by name.
    """

    reward: np.ndarray
    accuracy: np.ndarray
    scored: np.ndarray
    components: Mapping[str, np.ndarray]


class Rewarder:
    """Computes rewards.

    Args:
        config: What is optimised.
        grader: Grades accuracy.
        max_new_tokens: The most tokens of a response, for the component ``overlong``.
    """

    def __init__(self, config: RewardConfig, grader: Grader, max_new_tokens: int) -> None:
        self.config = config
        self.grader = grader
        self.max_new_tokens = max_new_tokens
        self.functions: dict[str, RewardFunction] = {
            name: load_reward(path) for name, path in config.functions.items()
        }

    def __call__(
        self,
        responses: Sequence[str],
        answers: Sequence[str],
        metadata: Sequence[Mapping[str, Any]],
        lengths: np.ndarray,
        stopped: np.ndarray,
    ) -> Rewards:
        """Rewards responses.

        Args:
            responses: n texts.
            answers: The ground truth of each.
            metadata: Of the example of each.
            lengths: int ``[n]``, tokens.
            stopped: bool ``[n]``, whether the response ended itself.
        """
        accuracy, scored = grade_arrays(self.grader.grade(responses, answers))
        # A response that was cut off is one token longer than the limit, as DAPO counts.
        overlong = overlong_penalty(
            lengths + ~stopped, max_length=self.max_new_tokens, buffer=self.config.overlong_buffer
        )
        components = {
            "accuracy": accuracy,
            "format": np.array([format_reward(text) for text in responses], np.float32),
            "overlong": overlong,
            **{name: f(responses, answers, metadata) for name, f in self.functions.items()},
        }
        reward = np.where(scored, weighted_sum(components, self.config.weights), 0.0)
        return Rewards(reward.astype(np.float32), accuracy, scored, components)
