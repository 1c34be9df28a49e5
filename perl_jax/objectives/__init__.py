"""Objectives of reinforcement learning on rollouts: arrays in, arrays out.

Pure functions of JAX arrays, to be jitted and differentiated, that know no model and no config:

    rewards ──group_advantages──▶ advantages ──┐
    hidden ──token_logprobs──▶ logprobs ──policy_loss, kl_penalty──▶ per token ──aggregate──▶ loss

Arithmetic is float32 whatever comes in. Masks are bool, or 0 and 1; what they leave out reaches
neither values nor gradients, NaN included. Shapes and settings are checked while tracing.
"""

from perl_jax.objectives.advantages import group_advantages, token_advantages
from perl_jax.objectives.aggregation import aggregate, aggregation_weights
from perl_jax.objectives.kl import adapted_kl_coefficient, kl_penalty
from perl_jax.objectives.logprobs import token_logprobs
from perl_jax.objectives.policy import (
    cispo_loss,
    masked_importance_weights,
    policy_loss,
    truncated_importance_weights,
)
from perl_jax.objectives.presets import PRESETS, Objective, ObjectiveConfig

__all__ = [
    "PRESETS",
    "Objective",
    "ObjectiveConfig",
    "adapted_kl_coefficient",
    "aggregate",
    "aggregation_weights",
    "cispo_loss",
    "group_advantages",
    "kl_penalty",
    "masked_importance_weights",
    "policy_loss",
    "token_advantages",
    "token_logprobs",
    "truncated_importance_weights",
]
