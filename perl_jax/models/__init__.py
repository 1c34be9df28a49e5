"""Policies: loading them from and saving them to Hugging Face directories."""

from perl_jax.models.families import abstract_model, parse_config, read_config
from perl_jax.models.load import load_model
from perl_jax.models.policy import Policy, PolicyConfig
from perl_jax.models.save import save_model

__all__ = [
    "Policy",
    "PolicyConfig",
    "abstract_model",
    "load_model",
    "parse_config",
    "read_config",
    "save_model",
]
