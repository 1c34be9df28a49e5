"""The losses: what a micro-batch adds to the loss of its mini-batch.

Token weights are computed over the whole mini-batch, so the shares of micro-batches and their
gradients add up however the batch is cut.
"""

from collections.abc import Sequence
from typing import Literal, assert_never

import jax
import jax.numpy as jnp

from perl_jax.models import Policy
from perl_jax.models.policy import Array
from perl_jax.objectives import (
    Objective,
    checks,
    masked_importance_weights,
    truncated_importance_weights,
)
from perl_jax.update.forward import Head, response_logprobs
from perl_jax.update.packing import MicroBatch
from perl_jax.update.stats import Stats, over_tokens

Importance = Literal["truncate", "mask_token", "mask_sequence"]


def policy_gradient_loss(
    model: Policy,
    batch: MicroBatch,
    banned: jax.Array,
    running: Sequence[jax.Array] | None = None,
    *,
    head: Head,
    objective: Objective,
    importance_cap: float | None,
    importance: Importance = "truncate",
) -> tuple[jax.Array, Stats]:
    """The share of the objective's loss, KL penalty and entropy bonus, and its statistics.

    The batch's values are ``weights`` and ``sampled`` (the sampler's log-probabilities)
    ``[O, N, R]``, ``advantages`` ``[O, N]`` or ``[O, N, R]``, and ``[O, N, R]`` ``old`` for several
    updates a batch, ``reference`` for a KL penalty in the loss; scalars ``unchanged``, True where
    the policy itself is the old one, whatever ``old`` holds, and ``kl_coefficient`` if it is not
    the objective's. ``banned`` and ``running`` are as in `response_logprobs`, ``importance``
    and its cap as in `UpdateConfig`. Statistics are over tokens with a positive weight.
    """
    logprobs, entropy = response_logprobs(model, batch, banned, head, running)
    values = batch.values
    weights = jnp.asarray(values["weights"])
    mask = weights > 0
    # Of the first update of a batch the ratio is 1, but its gradient is not 0.
    own = jax.lax.stop_gradient(logprobs)
    old = values.get("old", own)
    if "unchanged" in values:
        old = jnp.where(values["unchanged"], own, old)
    loss, means = objective.token_loss(logprobs, old, values["advantages"], mask)
    del means["tokens"]
    means["clip_fraction"] = means["clip_fraction_high"] + means["clip_fraction_low"]
    extremes = {
        "max/policy/ratio_max": means.pop("ratio_max"),
        "min/policy/ratio_min": means.pop("ratio_min"),
    }
    factors, gap = _importance(importance, (old, values["sampled"], mask), importance_cap)
    extremes["max/policy/logprob_gap_max"] = gap.pop("logprob_gap_max")
    means["logprob_gap_mean"] = gap.pop("logprob_gap_mean")
    if importance_cap is not None:
        loss = loss * factors
        means |= {f"importance_{name}": mean for name, mean in gap.items()}
    means["entropy"] = _mean(entropy, mask)
    if "reference" in values:
        kl = objective.penalty(logprobs, values["reference"], mask)
        loss = loss + values.get("kl_coefficient", objective.kl_coefficient) * kl
        means["kl"] = _mean(kl, mask)
    if objective.entropy_coefficient:
        loss = loss - objective.entropy_coefficient * entropy
    share = jnp.sum(weights * loss)
    named = {f"policy/{name}": mean for name, mean in means.items()}
    return share, over_tokens(named, mask) | extremes | {"sum/policy/loss": share}


def supervised_loss(
    model: Policy,
    batch: MicroBatch,
    banned: jax.Array,
    running: Sequence[jax.Array] | None = None,
    *,
    head: Head,
) -> tuple[jax.Array, Stats]:
    """The share of the cross-entropy of given responses; values are ``weights`` ``[O, N, R]``.

    The statistic ``supervised/likely`` is the share of tokens with a probability above 1/2: a lower
    bound of the accuracy of greedy decoding that needs no logits.
    """
    logprobs, entropy = response_logprobs(model, batch, banned, head, running)
    weights = jnp.asarray(batch.values["weights"])
    mask = weights > 0
    share = -jnp.sum(weights * jnp.where(mask, logprobs, 0.0))
    likely = (logprobs > jnp.log(0.5)).astype(jnp.float32)
    means = {"policy/entropy": _mean(entropy, mask), "supervised/likely": _mean(likely, mask)}
    return share, over_tokens(means, mask) | {"sum/supervised/loss": share}


def _importance(
    how: Importance, arrays: tuple[Array, Array, Array], cap: float | None
) -> tuple[jax.Array, Stats]:
    """The weights for the gap between sampler and trainer, and statistics by the logs' names.

    ``arrays`` are the old log-probabilities, the sampler's and the mask.
    """
    if cap is None:
        how, cap = "truncate", 1.0  # Only the gap is used.
    match how:
        case "truncate":
            weights, stats = truncated_importance_weights(*arrays, cap=cap)
            stats["weight_truncated"] = stats.pop("truncated_fraction")
        case "mask_token":
            weights, stats = masked_importance_weights(*arrays, bound=cap)
            stats["weight_masked"] = stats.pop("masked_fraction")
        case "mask_sequence":
            weights, stats = masked_importance_weights(*arrays, bound=cap, level="sequence")
            stats["weight_masked"] = stats.pop("masked_fraction")
        case _:
            assert_never(how)
    return weights, stats


def _mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    return checks.masked_mean(jax.lax.stop_gradient(values), mask)
