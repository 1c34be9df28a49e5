"""How well a policy answers held-out examples, and whether the order of the images matters to it.

`evaluate` asks every example under several orders; `Evaluation` holds the numbers and the records
that they were computed from.
"""

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
