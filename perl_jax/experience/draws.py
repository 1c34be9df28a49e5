"""What was rolled out and graded: put together, measured, and recorded."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perl_jax.permutation import Orders
from perl_jax.rollout import Group, Rollouts


@dataclass(frozen=True, eq=False)
class Draw:
    """Examples that were rolled out and graded; arrays are ``[b, K, N]`` and ``[b, K, N, R]``."""

    orders: Sequence[Orders]
    groups: Sequence[Group]
    rollouts: Rollouts
    rewards: Mapping[str, np.ndarray]


def concatenate(draws: Sequence[Draw]) -> Draw:
    """All draws of a step as one, responses padded to the longest."""
    longest = max(draw.rollouts.tokens.shape[-1] for draw in draws)

    def join(name: str) -> np.ndarray:
        arrays = [getattr(draw.rollouts, name) for draw in draws]
        if arrays[0].ndim == 4:
            padding = [(0, 0)] * 3
            arrays = [np.pad(a, [*padding, (0, longest - a.shape[-1])]) for a in arrays]
        return np.concatenate(arrays)

    stats: Counter[str] = Counter()
    for draw in draws:
        stats.update(draw.rollouts.stats)
    rollouts = Rollouts(join("tokens"), join("logprobs"), join("lengths"), join("stopped"), stats)
    names = draws[0].rewards
    return Draw(
        [one for draw in draws for one in draw.orders],
        [one for draw in draws for one in draw.groups],
        rollouts,
        {name: np.concatenate([draw.rewards[name] for draw in draws]) for name in names},
    )


def rollout_metrics(drawn: Draw) -> dict[str, float]:
    """Means over all rollouts that were drawn, whether their group was kept or not."""
    rollouts, rewards = drawn.rollouts, drawn.rewards
    real = rollouts.lengths > 0
    scored = rewards["scored"]
    components = [name for name in rewards if name.startswith("component/")]
    prompts = sum(
        len(prompt.tokens) * int((rollouts.lengths[b, k] > 0).sum())
        for b, group in enumerate(drawn.groups)
        for k, prompt in enumerate(group.prompts)
    )
    return {
        "reward/mean": _mean(rewards["reward"][scored]),
        **{f"reward/{n.split('/')[1]}": _mean(rewards[n][scored]) for n in components},
        "reward/unscored": _mean(~scored[real]),
        "rollout/length": _mean(rollouts.lengths[real]),
        "rollout/length_max": float(rollouts.lengths.max()),
        "rollout/truncated": _mean(~rollouts.stopped[real]),
        "rollout/tokens": float(rollouts.lengths.sum() + prompts),
        "perf/compilations": float(rollouts.stats.get("compilations", 0)),
    }


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if values.size else 0.0


def record_of(drawn: Draw, kept: np.ndarray) -> dict[str, Any]:
    """What was drawn: ids, orders, tokens, rewards, and the numbers of the groups trained on."""
    rollouts = drawn.rollouts
    return {
        "ids": [one.examples[0].id for one in drawn.orders],
        "orders": [one.orders.tolist() for one in drawn.orders],
        "tokens": rollouts.tokens,
        "lengths": rollouts.lengths,
        "reward": drawn.rewards["reward"],
        "kept": kept.tolist(),
    }
