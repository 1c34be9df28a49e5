"""Advantages: rewards of rollouts relative to others, the factors of a policy gradient."""

from typing import Literal, assert_never, get_args

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from perl_jax.objectives import checks
from perl_jax.objectives.checks import keep

Baseline = Literal["mean", "leave_one_out", "batch_mean", "none"]
Scale = Literal["std", "batch_std", "none"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
SCALES: tuple[Scale, ...] = get_args(Scale)


def group_advantages(
    rewards_BxG: ArrayLike,
    mask_BxG: ArrayLike | None = None,
    *,
    baseline: Baseline = "mean",
    scale: Scale = "std",
    ddof: int = 1,
    epsilon: float = 1e-6,
) -> jax.Array:
    r"""Advantages of rollouts relative to their group.

    ``A_i = (r_i - b_i) / (s + epsilon)`` with, over the n unmasked rollouts of the group,

    =================  ==============================================================
    baseline           b_i
    =================  ==============================================================
    ``mean``           the group's mean reward (GRPO, arXiv 2402.03300)
    ``leave_one_out``  the mean of the other n - 1 rewards (RLOO, arXiv 2402.14740)
    ``batch_mean``     the mean of all rewards of the batch, groups mixed (REINFORCE++, arXiv
                       2501.03262)
    ``none``           0
    =================  ==============================================================

    =============  ==================================================================
    scale          s
    =============  ==================================================================
    ``std``        the group's standard deviation (GRPO)
    ``batch_std``  that of all rewards of the batch, groups mixed (arXiv 2508.08221)
    ``none``       not divided at all, epsilon included (Dr. GRPO, arXiv 2503.20783)
    =============  ==================================================================

    A standard deviation divides its sum of squares by ``count - ddof``. The papers leave ddof
    open; verl and TRL take 1, PyTorch's default, and so do we.

    The last axis is the group. ``[B, G]`` pools all orders of an example under one baseline, as
    PeRL does (arXiv 2506.14907); rewards reshaped to ``[B, K, N]`` give every order its own.

    Edge cases, all of them finite:

    - A masked rollout gets 0 and counts nowhere, even where its reward is NaN.
    - A group of one has nothing to compare with: 0 with baseline ``mean`` or
      ``leave_one_out``. (verl passes such a reward through as its own advantage.)
    - Where the rewards that ``scale`` looks at are all equal, the advantages are exactly 0, not
      rounding noise divided by epsilon; with baseline ``none`` too.
    - An empty mask gives zeros.

    Args:
        rewards_BxG: Real numbers ``[..., G]``.
        mask_BxG: Bool, or 0 and 1, of the same shape; which rollouts count. None: all.
        baseline: What is subtracted.
        scale: What divides.
        ddof: 0 for the population's standard deviation, 1 for the sample's.
        epsilon: Added to the standard deviation, in units of reward.

    Returns:
        float32, of the shape of the rewards.

    Raises:
        ValueError: For an unknown baseline or scale, or a mask of another shape.
    """
    checks.choice("baseline", baseline, BASELINES)
    checks.choice("scale", scale, SCALES)
    checks.at_least("ddof", ddof, 0)
    checks.at_least("epsilon", epsilon, 0)
    rewards = checks.real("rewards_BxG", rewards_BxG)
    checks.min_rank("rewards_BxG", rewards, 1, "[..., G]")
    mask = checks.boolean("mask_BxG", mask_BxG, rewards.shape)

    rewards = keep(rewards, mask)
    advantages = _minus_baseline(rewards, mask, baseline)
    return _scaled(advantages, rewards, mask, scale, (-1,), ddof, epsilon)


def token_advantages(
    rewards_BxG: ArrayLike,
    penalties_BxGxR: ArrayLike,
    mask_BxGxR: ArrayLike,
    *,
    baseline: Baseline = "batch_mean",
    scale: Scale = "batch_std",
    ddof: int = 1,
    epsilon: float = 1e-6,
) -> jax.Array:
    r"""Advantages per token: a reward at the end of a response, and a penalty at each token.

    A token answers for what comes after it: its return is the reward minus the penalties from this
    token on, ``q_it = r_i - sum_{u >= t} p_iu`` (REINFORCE++, arXiv 2501.03262; the discount is 1).
    ``A_it = (q_it - b_i) / (s + epsilon)``, with the baselines and scales of `group_advantages`.
    The baselines of a group are those of its rewards, without penalties. ``batch_mean`` and the
    scales are over the returns of all unmasked tokens of the batch or group, so that a long
    response counts for more than a short one.

    Args:
        rewards_BxG: Real numbers ``[..., G]``.
        penalties_BxGxR: Real numbers ``[..., G, R]``, such as a coefficient times `kl_penalty`.
        mask_BxGxR: Bool, or 0 and 1, ``[..., G, R]``; which tokens count. A rollout without any
            counts nowhere.
        baseline: What is subtracted.
        scale: What divides.
        ddof: As in `group_advantages`.
        epsilon: As in `group_advantages`.

    Returns:
        float32 ``[..., G, R]``, 0 outside the mask.

    Raises:
        ValueError: For an unknown baseline or scale, or shapes that do not fit.
    """
    checks.choice("baseline", baseline, BASELINES)
    checks.choice("scale", scale, SCALES)
    checks.at_least("ddof", ddof, 0)
    checks.at_least("epsilon", epsilon, 0)
    penalties = checks.real("penalties_BxGxR", penalties_BxGxR)
    checks.min_rank("penalties_BxGxR", penalties, 2, "[..., G, R]")
    mask = checks.boolean("mask_BxGxR", mask_BxGxR, penalties.shape)
    rewards, counts = checks.real("rewards_BxG", rewards_BxG), jnp.any(mask, axis=-1)
    checks.same_shape("rewards_BxG", rewards, counts.shape)

    rewards = keep(rewards, counts)
    later = jax.lax.cumsum(keep(penalties, mask), axis=mask.ndim - 1, reverse=True)
    returns = keep(rewards[..., None] - later, mask)
    if baseline == "batch_mean":
        advantages = _centred(returns, mask, tuple(range(mask.ndim)))
    else:
        centred = _minus_baseline(rewards, counts, baseline)
        advantages = keep(centred[..., None] - later, mask)
    return _scaled(advantages, returns, mask, scale, (-2, -1), ddof, epsilon)


def _minus_baseline(rewards: jax.Array, mask: jax.Array, baseline: Baseline) -> jax.Array:
    """Rewards minus their baseline; 0 outside the mask."""
    match baseline:
        case "none":
            return rewards
        case "mean":
            return _centred(rewards, mask, (-1,))
        case "batch_mean":
            return _centred(rewards, mask, tuple(range(rewards.ndim)))
        case "leave_one_out":
            # r_i - (sum - r_i) / (n - 1) is n / (n - 1) times r_i minus the mean.
            count = _count(rewards, mask, (-1,))
            return _centred(rewards, mask, (-1,)) * count / jnp.maximum(count - 1, 1)
        case _:
            assert_never(baseline)


def _scaled(
    advantages: jax.Array,
    values: jax.Array,
    mask: jax.Array,
    scale: Scale,
    group: tuple[int, ...],
    ddof: int,
    epsilon: float,
) -> jax.Array:
    """Advantages divided by the deviation of values, over the axes of a group or over all."""
    axes: tuple[int, ...]
    match scale:
        case "none":
            return advantages
        case "std":
            axes = group
        case "batch_std":
            axes = tuple(range(values.ndim))
        case _:
            assert_never(scale)
    std = _std(values, mask, axes, ddof)
    # The two selects keep 0 / 0 out when epsilon is 0.
    divisor = jnp.where(std > 0, std + epsilon, jnp.ones_like(std))
    return jnp.where(std > 0, advantages / divisor, jnp.zeros_like(advantages))


def _centred(values: jax.Array, mask: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Values minus their mean over the axes; 0 outside the mask.

    The smallest value goes first: equal values then give exact zeros, where the mean of twelve
    times 0.9 is not 0.9 in float32.
    """
    least = jnp.min(values, axis=axes, keepdims=True, initial=jnp.inf, where=mask)
    shifted = keep(values - least, mask)
    mean = jnp.sum(shifted, axis=axes, keepdims=True) / jnp.maximum(_count(values, mask, axes), 1)
    return keep(shifted - mean, mask)


def _std(values: jax.Array, mask: jax.Array, axes: tuple[int, ...], ddof: int) -> jax.Array:
    """The standard deviation over the axes, which stay; 0 where it is not defined."""
    squares = jnp.sum(_centred(values, mask, axes) ** 2, axis=axes, keepdims=True)
    return jnp.sqrt(squares / jnp.maximum(_count(values, mask, axes) - ddof, 1))


def _count(values: jax.Array, mask: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    return jnp.sum(mask, axis=axes, keepdims=True, dtype=values.dtype)
