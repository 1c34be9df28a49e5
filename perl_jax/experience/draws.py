"""Graded rollouts: concatenated, measured and recorded."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perl_jax.permutation import Orders
from perl_jax.rewards import Rewards
from perl_jax.types import Group, Rollouts


@dataclass(frozen=True, eq=False)
class Draw:
    """Graded rollouts of b examples; arrays are ``[b, K, N]`` and ``[b, K, N, R]``.

    ``texts`` are the responses' texts, ``[b, K, N]``, None where this host has not decoded them.
    ``seconds`` are durations by their names in the logs.
    """

    orders: Sequence[Orders]
    groups: Sequence[Group]
    rollouts: Rollouts
    rewards: Rewards
    texts: np.ndarray
    seconds: Mapping[str, float]


def padded(rollouts: Rollouts, orders: int, length: int) -> Rollouts:
    """Pads rollouts to K orders and R tokens, so that later programs see few shapes."""
    _, k, _, r = rollouts.tokens.shape
    rows = [(0, 0), (0, orders - k), (0, 0)]
    return Rollouts(
        tokens=np.pad(rollouts.tokens, [*rows, (0, length - r)]),
        logprobs=np.pad(rollouts.logprobs, [*rows, (0, length - r)]),
        lengths=np.pad(rollouts.lengths, rows),
        stopped=np.pad(rollouts.stopped, rows),
        stats=rollouts.stats,
    )


def concatenate(draws: Sequence[Draw]) -> Draw:
    """Concatenates the draws of a step; responses are padded to the longest."""
    longest = max(draw.rollouts.tokens.shape[-1] for draw in draws)
    drawn = [padded(d.rollouts, d.rollouts.tokens.shape[1], longest) for d in draws]
    rewards = [draw.rewards for draw in draws]
    sampled = [(one.tokens, one.logprobs, one.lengths, one.stopped) for one in drawn]
    graded = [(one.reward, one.accuracy, one.scored) for one in rewards]
    tokens, logprobs, lengths, stopped = map(np.concatenate, zip(*sampled, strict=True))
    reward, accuracy, scored = map(np.concatenate, zip(*graded, strict=True))
    names = rewards[0].components
    components = {name: np.concatenate([one.components[name] for one in rewards]) for name in names}
    stats: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for draw in draws:
        stats.update(draw.rollouts.stats)
        failed.update(draw.rewards.failed)
        seconds.update(draw.seconds)
    return Draw(
        [one for draw in draws for one in draw.orders],
        [one for draw in draws for one in draw.groups],
        Rollouts(tokens, logprobs, lengths, stopped, stats),
        Rewards(reward, accuracy, scored, components, failed),
        np.concatenate([draw.texts for draw in draws]),
        seconds,
    )


def rollout_metrics(drawn: Draw) -> dict[str, float]:
    """Metrics over all drawn rollouts, of kept and of dropped groups."""
    rollouts, rewards, scored = drawn.rollouts, drawn.rewards, drawn.rewards.scored
    real = rollouts.lengths > 0
    prompts = sum(
        len(prompt.tokens) * int((rollouts.lengths[b, k] > 0).sum())
        for b, group in enumerate(drawn.groups)
        for k, prompt in enumerate(group.prompts)
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
