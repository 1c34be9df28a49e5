"""The statistics of an evaluation, in one list: the fields of `Scores`.

To add one, add a field to `Scores` with its `Statistic`, and a hand-computed example to
tests/evaluation/test_statistics.py. Logs, table, learning curves and docs/metrics.md read the list.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

from perl_jax.evaluation.records import Record


@dataclass(frozen=True)
class Statistic:
    """How one number is computed and where it is shown.

    Attributes:
        meaning: The meaning of the metric ``eval/<name>``, for docs/metrics.md.
        of: Computes it from records; NaN if none counts.
        unit: The metric's unit.
        by_source: Whether it is also logged for each source, as ``eval/<name>/<source>``.
        summary: Whether it is in `Evaluation.summary`.
        curve: Whether it is one of the learning curves, which show shares.
        column: Its heading in `Evaluation.table`; empty: not in it.
    """

    meaning: str
    of: Callable[[Sequence[Record]], float]
    unit: str = "share"
    by_source: bool = False
    summary: bool = False
    curve: bool = False
    column: str = ""


Value = Callable[[Record], float | None]


def over_records(value: Value) -> Callable[[Sequence[Record]], float]:
    """The mean over the records with a value."""

    def of(records: Sequence[Record]) -> float:
        values = [found for record in records if (found := value(record)) is not None]
        return math.fsum(values) / len(values) if values else math.nan

    return of


def over_examples(value: Value) -> Callable[[Sequence[Record]], float]:
    """The mean over examples of the mean over their records."""

    def of(records: Sequence[Record]) -> float:
        values: dict[str, list[float]] = {}
        for record in records:
            if (found := value(record)) is not None:
                values.setdefault(record.id, []).append(found)
        means = [math.fsum(of_one) / len(of_one) for of_one in values.values()]
        return math.fsum(means) / len(means) if means else math.nan

    return of


def in_own_order(value: Value) -> Value:
    """The value of records in the example's own order; None for other records."""
    return lambda record: value(record) if record.in_own_order else None


_OWN_SCORE = in_own_order(lambda record: record.grade.score)
_OWN_CONSISTENT = in_own_order(lambda record: record.consistent)


@dataclass(frozen=True)
class Scores:
    """The statistics of some records.

    A response whose grading failed is in no accuracy, but its answer counts for consistency.
    """

    # fmt: off
    accuracy: Annotated[float, Statistic(
        "greedy accuracy on held-out examples", over_examples(_OWN_SCORE),
        by_source=True, summary=True, curve=True, column="accuracy",
    )]
    accuracy_all_orders: Annotated[float, Statistic(
        "the same under all orders", over_examples(lambda record: record.grade.score),
        column="all orders",
    )]
    order_consistency: Annotated[float, Statistic(
        "held-out examples answered alike under all orders", over_examples(_OWN_CONSISTENT),
        by_source=True, summary=True, curve=True, column="consistent",
    )]
    length: Annotated[float, Statistic(
        "length of a held-out response", over_records(lambda record: record.tokens), "tokens"
    )]
    truncated: Annotated[float, Statistic(
        "held-out responses cut off at the token limit",
        over_records(lambda record: record.truncated),
    )]
    unscored: Annotated[float, Statistic(
        "held-out responses that could not be graded",
        over_records(lambda record: record.grade.outcome == "unscored"),
    )]
    examples: Annotated[int, Statistic(
        "held-out examples", lambda records: len({record.id for record in records}), "examples",
        summary=True, column="examples",
    )]
    # fmt: on


STATISTICS: dict[str, Statistic] = {
    name: kind.__metadata__[0] for name, kind in get_type_hints(Scores, include_extras=True).items()
}
"""The `Statistic` of every field of `Scores`."""


def compute(records: Sequence[Record]) -> dict[str, Any]:
    """The fields of `Scores`."""
    return {name: statistic.of(records) for name, statistic in STATISTICS.items()}
