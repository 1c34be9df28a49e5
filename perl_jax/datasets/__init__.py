"""The published training sets: each module reads one set's files as examples, in a fixed order."""

from perl_jax.datasets.dataset import DataSet

__all__ = ["DataSet"]
