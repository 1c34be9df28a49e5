"""Policy-gradient losses per token: the clipped surrogate, CISPO, and importance weights."""

import math
from typing import Literal, assert_never, get_args

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from perl_jax.objectives import checks
from perl_jax.objectives.checks import keep, masked_max, masked_mean

Level = Literal["token", "sequence"]
LEVELS: tuple[Level, ...] = get_args(Level)
Stats = dict[str, jax.Array]

MAX_LOG_RATIO = 20.0


def policy_loss(
    logprobs: ArrayLike,
    old_logprobs: ArrayLike,
    advantages: ArrayLike,
    mask: ArrayLike,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = 3.0,
    level: Level = "token",
) -> tuple[jax.Array, Stats]:
    r"""The clipped surrogate, as a loss per token (`aggregate` makes one number of it).

    ``L = max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high))`` (PPO, arXiv 1707.06347 eq. 7; two
    separate clips as in DAPO, arXiv 2503.14476). Where A < 0 the dual clip bounds it once more,
    ``min(L, -A dual_clip)`` (arXiv 1912.09729), so that one token which has become much likelier
    cannot dominate a batch.

    The ratio r is, with ``d = logprobs - old_logprobs``,

    - ``token``: ``exp(d_t)``.
    - ``sequence``: ``s = exp(mean_t d_t)`` over the response's unmasked tokens, for each of them
      (GSPO, arXiv 2507.18071): the clips act on whole responses and should be much tighter.
      Written as GSPO-token, ``sg(s) * exp(logprobs_t - sg(logprobs_t))``: the value is s, the
      gradient goes through the token's own log-probability. With one advantage per response, any
      aggregation gives GSPO's gradient; one advantage per token works too.

    Log-ratios are bounded to [-20, 20], where their gradient stops. No gradient flows into
    ``old_logprobs`` and ``advantages``: with one update per batch, pass the log-probabilities
    themselves as old ones, which gives ratio 1 and the plain policy gradient.

    Args:
        logprobs: float ``[..., R]`` under the policy being trained.
        old_logprobs: float ``[..., R]`` under the policy before this batch's first update.
        advantages: float ``[...]``, one a response, or ``[..., R]``, one a token.
        mask: Bool, or 0 and 1, ``[..., R]``. Elsewhere the loss and every gradient are 0,
            whatever stands there, NaN and infinities included.
        clip_low: The most that the ratio may fall below 1. 1 never clips.
        clip_high: The most that it may rise above 1. ``math.inf`` never clips.
        dual_clip: The largest ratio for negative advantages, above 1. None switches it off.
        level: Where the ratio is taken.

    Returns:
        The loss, float32 ``[..., R]``, and float32 scalars without gradient, over the mask:

        - ``tokens``: their number, the weight for averaging the means below over micro-batches.
        - ``clip_fraction_high``, ``clip_fraction_low``, ``dual_clip_fraction``: the shares of
          tokens whose gradient the upper (A > 0), the lower (A < 0) and the dual clip cut off.
        - ``ratio_mean``, ``ratio_min``, ``ratio_max``: of r at the given level.
        - ``approx_kl``: the mean of ``exp(d) - 1 - d``, which estimates KL(old || policy).

        With an empty mask the ratios are 1 and all else is 0.

    Raises:
        ValueError: For shapes that differ, an unknown level or a bound out of its range.
    """
    checks.choice("level", level, LEVELS)
    _check_clips(clip_low, clip_high)
    if dual_clip is not None:
        checks.at_least("dual_clip", dual_clip, 1, exclusive=True)
    new, old, advantage, keep_mask = _enter(logprobs, old_logprobs, advantages, mask)
    log_ratio = new - old
    match level:
        case "token":
            ratio = jnp.exp(jnp.clip(log_ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO))
        case "sequence":
            ratio = _sequence_ratio(new, log_ratio, keep_mask)
        case _:
            assert_never(level)

    clipped_ratio = jnp.clip(ratio, 1 - clip_low, 1 + clip_high)
    loss = jnp.maximum(-advantage * ratio, -advantage * clipped_ratio)
    negative = advantage < 0
    dual_clipped = jnp.zeros_like(negative)
    if dual_clip is not None:
        dual_clipped = negative & (ratio > dual_clip)
        loss = jnp.where(dual_clipped, -advantage * dual_clip, loss)

    stats = _ratio_stats(ratio, log_ratio, keep_mask)
    stats["clip_fraction_high"] = _fraction((advantage > 0) & (ratio > 1 + clip_high), keep_mask)
    stats["clip_fraction_low"] = _fraction(negative & (ratio < 1 - clip_low), keep_mask)
    stats["dual_clip_fraction"] = _fraction(dual_clipped, keep_mask)
    return keep(loss, keep_mask), jax.lax.stop_gradient(stats)


def cispo_loss(
    logprobs: ArrayLike,
    old_logprobs: ArrayLike,
    advantages: ArrayLike,
    mask: ArrayLike,
    *,
    clip_low: float = 1.0,
    clip_high: float = 4.0,
) -> tuple[jax.Array, Stats]:
    r"""CISPO: clips the importance weight instead of the update (arXiv 2506.13585 eq. 4 and 5).

    ``L = -sg(clip(r, 1 - clip_low, 1 + clip_high)) A logprobs`` with ``r = exp(logprobs -
    old_logprobs)``. Every token keeps a gradient, also those that `policy_loss` would silence,
    which are often rare and decisive. The defaults bound the weight to [0, 5]: only from above, as
    in the paper.

    Arguments and results are those of `policy_loss`, with the clips acting on the weight. The clip
    fractions count every weight outside its bounds, whatever the sign of its advantage.
    """
    _check_clips(clip_low, clip_high)
    new, old, advantage, keep_mask = _enter(logprobs, old_logprobs, advantages, mask)
    log_ratio = jax.lax.stop_gradient(new) - old
    ratio = jnp.exp(jnp.clip(log_ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO))
    weight = jnp.clip(ratio, 1 - clip_low, 1 + clip_high)
    stats = _ratio_stats(ratio, log_ratio, keep_mask)
    stats["clip_fraction_high"] = _fraction(ratio > 1 + clip_high, keep_mask)
    stats["clip_fraction_low"] = _fraction(ratio < 1 - clip_low, keep_mask)
    return keep(-weight * advantage * new, keep_mask), stats


def truncated_importance_weights(
    logprobs: ArrayLike, sampler_logprobs: ArrayLike, mask: ArrayLike, *, cap: float = 2.0
) -> tuple[jax.Array, Stats]:
    r"""Weights per token that correct for a sampler whose numerics differ from the trainer's.

    ``w = min(exp(logprobs - sampler_logprobs), cap)``, where both sides have the same parameters,
    but other kernels and precisions. Multiply a policy loss per token with it before aggregation.
    Truncation (as in V-trace, arXiv 1802.01561) trades a little bias for a bounded variance.

    Args:
        logprobs: float ``[..., R]``, the trainer's, under the parameters that sampled: the
            ``old_logprobs`` of the policy loss.
        sampler_logprobs: float ``[..., R]``, as the sampler reported them.
        mask: Bool, or 0 and 1, ``[..., R]``.
        cap: The largest weight.

    Returns:
        The weights, float32 ``[..., R]``, 0 outside the mask and without gradient, and float32
        scalars over the mask: ``weight_mean``, ``truncated_fraction``, and ``logprob_gap_mean``
        and ``logprob_gap_max``, of ``|logprobs - sampler_logprobs|``, whose growth is the first
        sign that sampler and trainer drift apart. All are 0 with an empty mask.
    """
    checks.at_least("cap", cap, 0, exclusive=True)
    new, sampler, keep_mask = _enter_pair("sampler_logprobs", logprobs, sampler_logprobs, mask)
    gap = jax.lax.stop_gradient(new) - sampler
    ratio = jnp.exp(jnp.clip(gap, -MAX_LOG_RATIO, MAX_LOG_RATIO))
    weights = keep(jnp.minimum(ratio, cap), keep_mask)
    stats = {
        "weight_mean": masked_mean(weights, keep_mask),
        "truncated_fraction": _fraction(ratio > cap, keep_mask),
        **_gap_stats(gap, keep_mask),
    }
    return weights, stats


def masked_importance_weights(
    logprobs: ArrayLike,
    sampler_logprobs: ArrayLike,
    mask: ArrayLike,
    *,
    bound: float = 2.0,
    level: Level = "token",
) -> tuple[jax.Array, Stats]:
    r"""Weights that leave out what sampler and trainer disagree on, instead of cutting them.

    With ``r_t = exp(logprobs - sampler_logprobs)``, as in `truncated_importance_weights`,

    - ``token``: ``r_t`` within ``[1 / bound, bound]``, else 0 (IcePop of Ring-1T, arXiv
      2510.18855). A single token that the two see differently is left out.
    - ``sequence``: 1 for all tokens of a response if the geometric mean of its r_t is within
      ``[1 / bound, bound]``, else 0 (the geometric rejection of verl's rollout correction). The
      mean, unlike the product, needs no other bound for long responses; it is near 1, so a useful
      bound is too, such as 1.01.

    A weight of 0 takes a token out of the sum of the loss, not out of the number of tokens that it
    is divided by.

    Arguments and results are those of `truncated_importance_weights`, with ``masked_fraction``, the
    tokens of weight 0, in place of ``truncated_fraction``.

    Args:
        logprobs: As there.
        sampler_logprobs: As there.
        mask: As there.
        bound: The largest ratio that is kept, more than 1.
        level: What is left out.

    Raises:
        ValueError: For shapes that differ, an unknown level or a bound of at most 1.
    """
    checks.choice("level", level, LEVELS)
    checks.at_least("bound", bound, 1, exclusive=True)
    new, sampler, keep_mask = _enter_pair("sampler_logprobs", logprobs, sampler_logprobs, mask)
    gap = jax.lax.stop_gradient(new) - sampler
    match level:
        case "token":
            bounded = gap
            weights = jnp.exp(jnp.clip(gap, -MAX_LOG_RATIO, MAX_LOG_RATIO))
        case "sequence":
            count = jnp.sum(keep_mask, axis=-1, keepdims=True, dtype=gap.dtype)
            mean = jnp.sum(gap, axis=-1, keepdims=True) / jnp.maximum(count, 1)
            bounded, weights = jnp.broadcast_to(mean, gap.shape), jnp.ones_like(gap)
        case _:
            assert_never(level)
    # A NaN is not within the bounds.
    kept = keep_mask & (jnp.abs(bounded) <= jnp.log(jnp.asarray(bound, gap.dtype)))
    weights = keep(weights, kept)
    stats = {
        "weight_mean": masked_mean(weights, keep_mask),
        "masked_fraction": _fraction(~kept, keep_mask),
        **_gap_stats(gap, keep_mask),
    }
    return weights, stats


def _enter(
    logprobs: ArrayLike, old_logprobs: ArrayLike, advantages: ArrayLike, mask: ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """The arguments of a loss: checked, float32, one value a token, and 0 outside the mask."""
    new, old, keep_mask = _enter_pair("old_logprobs", logprobs, old_logprobs, mask)
    advantage = checks.real("advantages", advantages)
    if advantage.shape == new.shape[:-1]:
        advantage = jnp.broadcast_to(advantage[..., None], new.shape)
    elif advantage.shape != new.shape:
        raise ValueError(
            f"advantages: expected shape {list(new.shape[:-1])} (one a response) or "
            f"{list(new.shape)} (one a token); got {list(advantage.shape)}"
        )
    return new, old, jax.lax.stop_gradient(keep(advantage, keep_mask)), keep_mask


def _enter_pair(
    other_name: str, logprobs: ArrayLike, other: ArrayLike, mask: ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array]:
    new = checks.real("logprobs", logprobs)
    checks.min_rank("logprobs", new, 1, "[..., R]")
    old = checks.real(other_name, other)
    checks.same_shape(other_name, old, new.shape)
    keep_mask = checks.boolean("mask", mask, new.shape)
    return keep(new, keep_mask), jax.lax.stop_gradient(keep(old, keep_mask)), keep_mask


def _check_clips(clip_low: float, clip_high: float) -> None:
    checks.at_least("clip_low", clip_low, 0)
    checks.at_least("clip_high", clip_high, 0)
    if isinstance(clip_low, int | float) and (clip_low > 1 or math.isnan(clip_low)):
        raise ValueError(f"clip_low: expected at most 1, where it never clips; got {clip_low!r}")


def _sequence_ratio(new: jax.Array, log_ratio: jax.Array, mask: jax.Array) -> jax.Array:
    """The ratio of a whole response at each of its tokens, with the token's own gradient."""
    count = jnp.sum(mask, axis=-1, keepdims=True, dtype=new.dtype)
    mean = jnp.sum(log_ratio, axis=-1, keepdims=True) / jnp.maximum(count, 1)
    mean = jax.lax.stop_gradient(jnp.clip(mean, -MAX_LOG_RATIO, MAX_LOG_RATIO))
    # The difference is exactly 0 and comes first, so that it takes no digits from the mean.
    return jnp.exp((new - jax.lax.stop_gradient(new)) + mean)


def _ratio_stats(ratio: jax.Array, log_ratio: jax.Array, mask: jax.Array) -> Stats:
    bounded = jnp.clip(log_ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO)
    any_token = jnp.any(mask)
    return {
        "tokens": jnp.sum(mask, dtype=ratio.dtype),
        "ratio_mean": jnp.where(any_token, masked_mean(ratio, mask), jnp.ones((), ratio.dtype)),
        "ratio_min": -masked_max(-ratio, mask, empty=-1.0),
        "ratio_max": masked_max(ratio, mask, empty=1.0),
        "approx_kl": masked_mean(jnp.expm1(bounded) - bounded, mask),
    }


def _gap_stats(gap: jax.Array, mask: jax.Array) -> Stats:
    return {
        "logprob_gap_mean": masked_mean(jnp.abs(gap), mask),
        "logprob_gap_max": masked_max(jnp.abs(gap), mask, empty=0.0),
    }


def _fraction(condition: jax.Array, mask: jax.Array) -> jax.Array:
    return masked_mean(condition.astype(jnp.float32), mask)
