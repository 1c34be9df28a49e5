"""The published training sets: each one's files, as examples.

A module here knows one data set's published files and nothing of how examples are stored or read:
it turns a directory with those files into examples, in a fixed order.
"""

from perl_jax.datasets.dataset import DataSet

__all__ = ["DataSet"]
