r"""The components of a reward, in one table.

To add one, write a function of a `RewardInput` and enter it in `COMPONENTS`, which weights, logs
and docs/metrics.md read. tests/rewards/test_components.py asks for an example by hand.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from annotated_types import Len

from perl_jax.legible import brief, suggestion
from perl_jax.rewards.grader import Grade, grade_arrays
from perl_jax.settings import (
    Checked,
    Count,
    CountOrZero,
    Expects,
    Fraction,
    Positive,
    PositiveOrZero,
)


@dataclass(frozen=True, eq=False)
class ResponseRows:
    """n responses, and what they answer.

    Attributes:
        texts: The responses.
        answers: The ground truths under the order of each response's prompt.
        metadata: Of the examples.
        lengths: int ``[n]``, in tokens.
        stopped: bool ``[n]``, False if a response was cut off at the limit.
        questions: All that was asked, under the order of each response's prompt.
        ids: Of the examples.
        orders: The order of the images in each response's prompt: slot j shows the image that is
            in slot ``orders[row][j]`` of the example.
        groups: int ``[n]``, the same for the responses to one example.
    """

    texts: Sequence[str]
    answers: Sequence[str]
    metadata: Sequence[Mapping[str, Any]]
    lengths: np.ndarray
    stopped: np.ndarray
    questions: Sequence[str]
    ids: Sequence[str]
    orders: Sequence[tuple[int, ...]]
    groups: np.ndarray

    def columns(self, rows: Sequence[int] | np.ndarray) -> dict[str, list[Any]]:
        """What functions of the user may take, of some rows, as plain data.

        Groups are numbered from 0 in the order in which they come.
        """
        groups = list(dict.fromkeys(self.groups[rows].tolist()))
        return {
            "responses": [self.texts[row] for row in rows],
            "answers": [self.answers[row] for row in rows],
            "metadata": [dict(self.metadata[row]) for row in rows],
            "questions": [self.questions[row] for row in rows],
            "ids": [self.ids[row] for row in rows],
            "orders": [self.orders[row] for row in rows],
            "lengths": [int(self.lengths[row]) for row in rows],
            "groups": [groups.index(self.groups[row]) for row in rows],
        }


@dataclass(frozen=True, eq=False)
class RewardInput:
    """The arguments of components: n responses, their grades, and the settings."""

    rows: ResponseRows
    grades: Sequence[Grade]
    max_new_tokens: int  # the limit of responses
    overlong_buffer: int  # as in `RewardConfig`
    opening: str = ""  # what the chat template wrote before each response, such as "<think>"


@dataclass(frozen=True)
class Component:
    """One part of a reward. Its values for responses without a grade are never used."""

    of: Callable[[RewardInput], np.ndarray]  # float32 [n]
    meaning: str  # of its mean over a step's scored rollouts, for docs/metrics.md
    unit: str = "share"  # of that mean


def accuracy(inputs: RewardInput) -> np.ndarray:
    """The raw grade: 1 for a right answer, else 0."""
    return grade_arrays(inputs.grades)[0]


def response_format(inputs: RewardInput) -> np.ndarray:
    """`format_reward` of every text, with what the template opened for it."""
    texts = [inputs.opening + text for text in inputs.rows.texts]
    return np.array([format_reward(text) for text in texts], np.float32)


def overlong(inputs: RewardInput) -> np.ndarray:
    """`overlong_penalty` of every length."""
    # DAPO counts a response that was cut off as one token longer than the limit.
    lengths = inputs.rows.lengths + ~inputs.rows.stopped
    limit, buffer = inputs.max_new_tokens, inputs.overlong_buffer
    return overlong_penalty(lengths, max_length=limit, buffer=buffer)


def agreement(inputs: RewardInput) -> np.ndarray:
    """`order_agreement` of the grades."""
    return order_agreement(*grade_arrays(inputs.grades), inputs.rows.groups, inputs.rows.orders)


def length(inputs: RewardInput) -> np.ndarray:
    """`length_reward` of every length."""
    return length_reward(inputs.rows.lengths, *grade_arrays(inputs.grades), inputs.rows.groups)


COMPONENTS: Mapping[str, Component] = {
    "accuracy": Component(accuracy, "accuracy of the scored rollouts drawn"),
    "format": Component(response_format, "scored rollouts drawn whose format is right"),
    "overlong": Component(
        overlong, "penalty for length of the scored rollouts drawn, from 0 to -1", "reward"
    ),
    "agreement": Component(
        agreement,
        "scored rollouts drawn that are right, times the share that is under the other orders",
    ),
    "length": Component(
        length, "reward of the scored rollouts drawn for being short in their group", "reward"
    ),
}
"""The components, by their names in weights and metrics (``reward/<name>``)."""

_Weights = Annotated[Mapping[str, float], Len(1), Expects("at least one component")]


@dataclass(frozen=True)
class RewardConfig(Checked):
    """Settings of the reward.

    Attributes:
        weights: Weight per component (a name of `COMPONENTS` or of ``functions``). The reward is
            the weighted sum.
        functions: The user's own components: name -> ``package.module:function``. Each needs a
            weight; a weight of 0 measures it only.
        overlong_buffer: The last tokens before the limit, over which ``overlong`` falls to -1.
        absolute_tolerance: Numbers may differ from the right answer by this much ...
        relative_tolerance: ... or by this share of it.
        workers: Grading processes; None: one per processor, at most 8.
        deadline: Seconds for one symbolic comparison.
        function_deadline: Seconds for one call of a function, with the responses of one group.
        max_failed: The share of the responses of a function that may be without its reward, as it
            failed. If more are, the run stops.
    """

    weights: _Weights = field(default_factory=lambda: {"accuracy": 0.9, "format": 0.1})
    functions: Mapping[str, str] = field(default_factory=dict)
    overlong_buffer: CountOrZero = 0
    absolute_tolerance: PositiveOrZero = 0.0
    relative_tolerance: PositiveOrZero = 0.0
    workers: Count | None = None
    deadline: Positive = 2.0
    function_deadline: Positive = 60.0
    max_failed: Fraction = 0.1

    def _check_together(self) -> None:
        check_weights(self.weights, [*COMPONENTS, *self.functions])
        for name in self.functions:
            if name in COMPONENTS:
                raise ValueError(
                    f"functions: expected names other than {', '.join(COMPONENTS)}; "
                    f"got {brief(name)}"
                )
            if name not in self.weights:
                raise ValueError(
                    f"weights: expected one for the function {name!r}, which may be 0 to measure "
                    f"it only; got weights of {', '.join(self.weights)}"
                )


def check_weights(weights: Mapping[str, float], names: Collection[str]) -> None:
    """Raises ValueError unless all weights are finite and name components, at least one."""
    if not weights:
        raise ValueError("weights: expected at least one component; got none")
    for name, weight in weights.items():
        if name not in names:
            raise ValueError(
                f"weights: expected some of {', '.join(names)}; got {brief(name)}"
                + suggestion(name, names)
            )
        if not _is_finite(weight):
            raise ValueError(f"weights[{name!r}]: expected a finite number; got {brief(weight)}")


def _is_finite(weight: float) -> bool:
    try:
        return math.isfinite(weight)
    except OverflowError:  # a whole number that no float holds
        return False


def weighted_sum(
    components: Mapping[str, Sequence[float] | np.ndarray], weights: Mapping[str, float]
) -> np.ndarray:
    """Returns the reward ``sum of weight * component`` for each row, float32.

    PeRL's weights are ``{"accuracy": 0.9, "format": 0.1}``. Components without a weight are left
    out: they may be metrics only.

    Raises:
        ValueError: A weight names no component or is not finite, components differ in length, or a
            value is not finite (names the component and the row).
    """
    check_weights(weights, components)
    lengths = {name: len(values) for name, values in components.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"weighted_sum: expected components of one length; got {lengths}")
    total = np.zeros(next(iter(lengths.values())), dtype=np.float32)
    for name, weight in weights.items():
        values = np.asarray(components[name], dtype=np.float32)
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ValueError(f"reward {name!r}, row {row}: not finite: {values[row]}")
        total += np.float32(weight) * values
    return total


def format_reward(response: str) -> float:
    r"""Returns 1.0 if the response thinks first and then answers in a box, else 0.0.

    Equals a full match of PeRL's published ``<think>.*</think>.*\boxed{.*}.*`` (the dot matches
    any character), but takes linear time.
    """
    if not response.startswith("<think>"):
        return 0.0
    position = len("<think>")
    for mark in ("</think>", "\\boxed{", "}"):
        found = response.find(mark, position)
        if found < 0:
            return 0.0
        position = found + len(mark)
    return 1.0


def overlong_penalty(
    lengths: Sequence[int] | np.ndarray, *, max_length: int, buffer: int
) -> np.ndarray:
    """Returns the soft overlong punishment of DAPO (arXiv 2503.14476, equation 13), float32.

    With ``L = max_length``, ``c = buffer`` and ``n`` the length in tokens::

        0                  n <= L - c
        (L - c - n) / c    L - c < n <= L
        -1                 n > L

    A buffer of zero punishes only responses longer than ``L``. ValueError if not within 0 to ``L``.
    """
    if not 0 <= buffer <= max_length:
        raise ValueError(
            f"overlong_penalty: expected 0 <= buffer <= max_length; got {buffer} and {max_length}"
        )
    n = np.asarray(lengths, dtype=np.float32)
    soft = (max_length - buffer - n) / max(buffer, 1)
    return np.where(n > max_length, -1.0, np.minimum(soft, 0.0)).astype(np.float32)


def order_agreement(
    accuracy: np.ndarray,
    scored: np.ndarray,
    groups: np.ndarray,
    orders: Sequence[tuple[int, ...]],
) -> np.ndarray:
    """Returns how far the other orders of a group agree with each right response, float32 ``[n]``.

    A response that is right is worth the mean, over the other orders of its group, of the share of
    right responses there; a wrong one is worth 0. As every order has its own ground truth, an
    answer under another order agrees with a right one, up to what the orders change, exactly if it
    is right too. Responses without a grade and orders without a graded response are left out. If
    no other order is left, nothing disagrees, and a right response is worth 1.

    Args:
        accuracy: ``[n]``, 1 if right.
        scored: bool ``[n]``, False for responses without a grade.
        groups: int ``[n]``, the same for the responses to one example.
        orders: The order of the images of each response; those of equal orders stand together.
    """
    total: dict[tuple[int, tuple[int, ...]], list[float]] = {}
    keys = [(int(group), tuple(order)) for group, order in zip(groups, orders, strict=True)]
    for key, value, known in zip(keys, accuracy, scored, strict=True):
        if known:
            total.setdefault(key, []).append(float(value))
    shares: dict[int, dict[tuple[int, ...], float]] = {}
    for (group, order), values in total.items():
        shares.setdefault(group, {})[order] = sum(values) / len(values)
    agreed = np.zeros(len(keys), np.float32)
    for row in np.flatnonzero(scored & (accuracy > 0)):
        group, own = keys[row]
        others = [share for order, share in shares[group].items() if order != own]
        agreed[row] = sum(others) / len(others) if others else 1.0
    return agreed


def length_reward(
    lengths: np.ndarray, accuracy: np.ndarray, scored: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    """Returns the length reward of Kimi k1.5 (arXiv 2501.12599, section 2.3.3), float32 ``[n]``.

    With the shortest and the longest response of a group, of n tokens each::

        l = 0.5 - (n - shortest) / (longest - shortest)

    A right response is worth ``l``, from 0.5 to -0.5, and a wrong one ``min(0, l)``. If all are of
    one length, all are worth 0. Responses without a grade are worth 0 and left out.
    """
    rewards = np.zeros(len(lengths), np.float32)
    for group in np.unique(groups[scored]):
        rows = scored & (groups == group)
        shortest, longest = lengths[rows].min(), lengths[rows].max()
        if longest > shortest:
            short = 0.5 - (lengths[rows] - shortest) / (longest - shortest)
            rewards[rows] = np.where(accuracy[rows] > 0, short, np.minimum(short, 0.0))
    return rewards
