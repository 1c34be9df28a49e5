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
        curve: The title of the learning curves, of shares, that show it; empty: none.
        column: Its heading in `Evaluation.table`; empty: not in it.
    """

    meaning: str
    of: Callable[[Sequence[Record]], float]
    unit: str = "share"
    by_source: bool = False
    summary: bool = False
    curve: str = ""
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


def under_all_orders(records: Sequence[Record]) -> float:
    """The share of rollouts that are right under every order; NaN if none has all grades."""
    rollouts: dict[tuple[str, int], list[float | None]] = {}
    for record in records:
        rollouts.setdefault((record.id, record.rollout), []).append(record.grade.score)
    right: dict[str, list[float]] = {}
    for (name, _), scores in rollouts.items():
        if None not in scores:
            right.setdefault(name, []).append(float(all(score == 1 for score in scores)))
    means = [math.fsum(of_one) / len(of_one) for of_one in right.values()]
    return math.fsum(means) / len(means) if means else math.nan


def largest_slot_bias(records: Sequence[Record]) -> float:
    """The largest excess, over slots, of the share of answers that name it over that of truths.

    Over examples with several orders whose truth names a slot; NaN if there are none.
    """
    counted = [r for r in records if r.true_slot is not None and r.consistent is not None]

    def excess(slot: int) -> Callable[[Record], float]:
        return lambda record: float(record.slot == slot) - float(record.true_slot == slot)

    slots = {slot for r in counted for slot in (r.slot, r.true_slot) if slot is not None}
    return max((over_examples(excess(slot))(counted) for slot in slots), default=math.nan)


def in_own_order(value: Value) -> Value:
    """The value of records in the example's own order; None for other records."""
    return lambda record: value(record) if record.in_own_order else None


def in_other_orders(value: Value) -> Value:
    """The value of records in other orders; None for those in the example's own."""
    return lambda record: None if record.in_own_order else value(record)


_HELD_OUT = "Held-out examples"
_SENSITIVITY = "Held-out examples: sensitivity to order"
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
        by_source=True, summary=True, curve=_HELD_OUT, column="accuracy",
    )]
    accuracy_all_orders: Annotated[float, Statistic(
        "the same under all orders", over_examples(lambda record: record.grade.score),
        column="all orders",
    )]
    order_consistency: Annotated[float, Statistic(
        "held-out examples answered alike under all orders", over_examples(_OWN_CONSISTENT),
        by_source=True, summary=True, curve=_HELD_OUT, column="consistent",
    )]
    all_orders_right: Annotated[float, Statistic(
        "held-out examples answered right under every order", under_all_orders,
        column="every order",
    )]
    flip_rate: Annotated[float, Statistic(
        "pairs of answers, under the own order and under another one, that differ beyond what the "
        "order changes",
        over_examples(in_other_orders(lambda record: record.flips)),
        by_source=True, curve=_SENSITIVITY, column="flips",
    )]
    noise_floor: Annotated[float, Statistic(
        "pairs of answers under the same, own order that differ; only with "
        "`evaluation.num_rollouts` above 1, as it is 0 by definition at temperature 0",
        over_examples(in_own_order(lambda record: record.flips)),
        by_source=True, curve=_SENSITIVITY, column="noise",
    )]
    slot_bias: Annotated[float, Statistic(
        "share of answers that name a slot (an option, or an image), less the share of truths that "
        "do, of the slot where this is largest",
        largest_slot_bias, by_source=True, curve=_SENSITIVITY, column="slot bias",
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
