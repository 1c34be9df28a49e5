"""Sampling responses from a policy."""

from perl_jax.rollout.config import SamplerConfig
from perl_jax.rollout.sampler import Sampler
from perl_jax.rollout.sampling import Sampling
from perl_jax.rollout.strategies import Strategy
from perl_jax.types import Group, Rollouts

__all__ = ["Group", "Rollouts", "Sampler", "SamplerConfig", "Sampling", "Strategy"]
