"""The losses: what a micro-batch adds to the loss of its mini-batch.

Token weights are computed over the whole mini-batch, so the shares of micro-batches and their
gradients add up however the batch is cut.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from perl_jax.models import Policy
from perl_jax.objectives import Objective, checks, truncated_importance_weights
from perl_jax.update.forward import Head, response_logprobs
from perl_jax.update.packing import MicroBatch
from perl_jax.update.stats import Stats, over_tokens


def policy_gradient_loss(
    model: Policy,
    batch: MicroBatch,
    banned: jax.Array,
    running: Sequence[jax.Array] | None = None,
    *,
    head: Head,
    objective: Objective,
    importance_cap: float | None,
) -> tuple[jax.Array, Stats]:
    """The share of the objective's loss, KL penalty and entropy bonus, and its statistics.

    The batch's values are ``weights`` and ``sampled`` (the sampler's log-probabilities)
    ``[O, N, R]``, ``advantages`` ``[O, N]``, and ``[O, N, R]`` ``old`` for several updates a batch,
    ``reference`` for a KL penalty. ``banned`` and ``running`` are as in `response_logprobs`,
    ``importance_cap`` as in `UpdateConfig`. Statistics are over tokens with a positive weight.
    """
    logprobs, entropy = response_logprobs(model, batch, banned, head, running)
    values = batch.values
    weights = jnp.asarray(values["weights"])
    mask = weights > 0
    # With one update a batch the ratio is 1, but its gradient is not 0.
    old = values.get("old", jax.lax.stop_gradient(logprobs))
    loss, means = objective.token_loss(logprobs, old, values["advantages"], mask)
    del means["tokens"]
    means["clip_fraction"] = means["clip_fraction_high"] + means["clip_fraction_low"]
    extremes = {
        "max/policy/ratio_max": means.pop("ratio_max"),
        "min/policy/ratio_min": means.pop("ratio_min"),
    }
    cap = importance_cap or 1.0
    importance, gap = truncated_importance_weights(old, values["sampled"], mask, cap=cap)
    means["logprob_gap_mean"] = gap["logprob_gap_mean"]
    extremes["max/policy/logprob_gap_max"] = gap["logprob_gap_max"]
    if importance_cap is not None:
        loss = loss * importance
        means["importance_weight_mean"] = gap["weight_mean"]
        means["importance_weight_truncated"] = gap["truncated_fraction"]
    means["entropy"] = _mean(entropy, mask)
    if "reference" in values:
        kl = objective.penalty(logprobs, values["reference"], mask)
        loss = loss + objective.kl_coefficient * kl
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


def _mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    return checks.masked_mean(jax.lax.stop_gradient(values), mask)
