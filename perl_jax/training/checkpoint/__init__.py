"""Checkpoints: each step is one atomic unit that holds everything and is verified when read."""

from perl_jax.training.checkpoint.checkpoints import Checkpoints, Restored
from perl_jax.training.checkpoint.config import CheckpointConfig
from perl_jax.training.checkpoint.record import CheckpointError, FingerprintError

__all__ = ["CheckpointConfig", "CheckpointError", "Checkpoints", "FingerprintError", "Restored"]
