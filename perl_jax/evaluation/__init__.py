"""Evaluation on held-out examples under several orders of their images."""

from perl_jax.evaluation.config import EvaluationConfig
from perl_jax.evaluation.consistency import is_consistent, orders_of
from perl_jax.evaluation.evaluate import evaluate
from perl_jax.evaluation.records import Record
from perl_jax.evaluation.results import Evaluation
from perl_jax.evaluation.statistics import STATISTICS, Scores

__all__ = [
    "STATISTICS",
    "Evaluation",
    "EvaluationConfig",
    "Record",
    "Scores",
    "evaluate",
    "is_consistent",
    "orders_of",
]
