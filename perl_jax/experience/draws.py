"""Graded rollouts of a step: put in order, measured and recorded."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perl_jax.buckets import Ladder
from perl_jax.permutation import Orders
from perl_jax.rewards import Rewards
from perl_jax.types import Group, Rollouts


@dataclass(frozen=True, eq=False)
class Graded:
    """Graded rollouts of some groups of a step; arrays are ``[b, K, N]`` and ``[b, K, N, R]``.

    Attributes:
        numbers: The numbers of the groups, in the order drawn.
        texts: The responses' texts, ``[b, K, N]``, None where this host has not decoded them.
    """

    numbers: Sequence[int]
    rollouts: Rollouts
    rewards: Rewards
    texts: np.ndarray


@dataclass(frozen=True, eq=False)
class Draw:
    """The groups that the batch of a step is chosen from, in the order drawn.

    Attributes are those of `Graded`; ``seconds`` are durations by their names in the logs.
    """

    orders: Sequence[Orders]
    groups: Sequence[Group]
    rollouts: Rollouts
    rewards: Rewards
    texts: np.ndarray
    seconds: Mapping[str, float]


def in_order(
    parts: Sequence[Graded],
    orders: Sequence[Orders],
    groups: Sequence[Group],
    num_orders: int,
    response_lengths: tuple[int, ...],
    seconds: Mapping[str, float],
) -> Draw:
    """Puts the rollouts of the ``groups`` in the order drawn, in whatever order they finished.

    Those of later groups are left out. Groups are padded to ``num_orders`` orders, and responses to
    a size of the ladder, with zeros.
    """
    numbers = np.concatenate([part.numbers for part in parts])
    index = np.argsort(numbers)[: len(groups)]
    assert numbers[index].tolist() == list(range(len(groups)))
    rollouts, rewards = [part.rollouts for part in parts], [part.rewards for part in parts]

    def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
        return _concatenated(arrays, num_orders)[index]

    lengths = joined([one.lengths for one in rollouts])
    longest = int(lengths.max())
    padded = Ladder("response_lengths", response_lengths).fit(longest, "response length")
    real = np.arange(longest) < lengths[..., None]

    def of_tokens(arrays: Sequence[np.ndarray]) -> np.ndarray:
        # Parts differ in their padding.
        values = np.where(real, joined(arrays)[..., :longest], 0)
        return np.pad(values, [(0, 0)] * 3 + [(0, padded - longest)])

    tokens = of_tokens([one.tokens for one in rollouts])
    logprobs = of_tokens([one.logprobs for one in rollouts])
    stopped = joined([one.stopped for one in rollouts])
    names = rewards[0].components
    graded = Rewards(
        joined([one.reward for one in rewards]),
        joined([one.accuracy for one in rewards]),
        joined([one.scored for one in rewards]),
        {name: joined([one.components[name] for one in rewards]) for name in names},
        sum((Counter(one.failed) for one in rewards), Counter[str]()),
    )
    texts = joined([part.texts for part in parts])
    drawn = Rollouts(tokens, logprobs, lengths, stopped)
    return Draw(orders, groups, drawn, graded, texts, seconds)


def _concatenated(arrays: Sequence[np.ndarray], num_orders: int) -> np.ndarray:
    """Concatenates arrays ``[b, K, ...]``, padded to so many orders and the longest responses."""
    sizes = zip(*(array.shape[2:] for array in arrays), strict=True)
    shape = (num_orders, *(max(of_axis) for of_axis in sizes))

    def padded(array: np.ndarray) -> np.ndarray:
        missing = zip(shape, array.shape[1:], strict=True)
        return np.pad(array, [(0, 0), *((0, size - given) for size, given in missing)])

    return np.concatenate([padded(array) for array in arrays])


def rollout_metrics(drawn: Draw) -> dict[str, float]:
    """Metrics over all rollouts of a draw, of kept and of dropped groups."""
    rollouts, rewards, scored = drawn.rollouts, drawn.rewards, drawn.rewards.scored
    real = rollouts.lengths > 0
    prompts = sum(
        len(group.prompts[number].tokens) * int((rollouts.lengths[b, k] > 0).sum())
        for b, group in enumerate(drawn.groups)
        for k, number in enumerate(group.asked)
    )
    return {
        "reward/mean": _mean(rewards.reward[scored]),
        **{f"reward/{name}": _mean(of[scored]) for name, of in rewards.components.items()},
        "reward/unscored": _mean(~scored[real]),
        **{f"reward/failed/{reason}": float(count) for reason, count in rewards.failed.items()},
        "rollout/length": _mean(rollouts.lengths[real]),
        "rollout/length_max": float(rollouts.lengths.max()),
        "rollout/truncated": _mean(~rollouts.stopped[real]),
        "rollout/tokens": float(rollouts.lengths.sum() + prompts),
        **drawn.seconds,
    }


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else 0.0
