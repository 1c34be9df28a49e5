"""Checkpoints: one atomic step holds everything, is verified when read, and is never half there."""

from perl_jax.training.checkpoint.checkpoints import Checkpoints, Restored
from perl_jax.training.checkpoint.config import CheckpointConfig
from perl_jax.training.checkpoint.record import CheckpointError, FingerprintError

__all__ = ["CheckpointConfig", "CheckpointError", "Checkpoints", "FingerprintError", "Restored"]
