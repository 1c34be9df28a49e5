"""What an evaluation found: one record for every response, and the numbers computed from them."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from perl_jax.rewards import Grade


@dataclass(frozen=True)
class Record:
    """One response to one example under one order.

    Attributes:
        id: Names the example within the evaluation: its own id, or that with ``#2`` and so on
            where an earlier example has it.
        source: Of the example.
        kind: Its ``question_type``, or None.
        order: New slot j showed the image of slot ``order[j]``.
        rollout: Its number among the responses under this order.
        response: What the policy wrote.
        answer: The truth under this order.
        prediction: What the last box of the response holds; None where that cannot be graded.
        grade: Of the response.
        consistent: Whether the answers of this rollout are the same under all orders of the
            example; the same on all of them, and None where there is one order only.
        tokens: The length of the response.
        truncated: Whether it was cut off at the most tokens.
    """

    id: str
    source: str
    kind: str | None
    order: tuple[int, ...]
    rollout: int
    response: str
    answer: str
    prediction: str | None
    grade: Grade
    consistent: bool | None
    tokens: int
    truncated: bool

    @property
    def in_own_order(self) -> bool:
        """Whether the images stood as the example has them."""
        return self.order == tuple(range(len(self.order)))

    def as_json(self) -> dict[str, Any]:
        """The record as plain values, the grade's in a mapping of their own."""
        return {**asdict(self), "order": list(self.order)}


@dataclass(frozen=True)
class Scores:
    """Means over examples that weigh the same; NaN where no example counts.

    A response whose grading failed is in no accuracy; its answer still counts for consistency.

    Attributes:
        accuracy: Of the responses under the examples' own orders.
        accuracy_all_orders: Of the responses under all orders.
        order_consistency: The share that was answered the same under all orders, among
            examples with more than one.
        examples: How many there are.
        consistency_examples: How many have more than one order.
    """

    accuracy: float
    accuracy_all_orders: float
    order_consistency: float
    examples: int
    consistency_examples: int


@dataclass(frozen=True)
class Evaluation(Scores):
    """The result of `evaluate`: the scores over all examples, and more.

    Attributes:
        by_source: Of each source, and of each kind within it as ``source/kind``, where its
            examples have one.
        length: The mean length of the responses, in tokens.
        truncated: The share of responses that were cut off.
        unscored: The share of responses whose grading failed.
        records: One for each response.
    """

    by_source: Mapping[str, Scores]
    length: float
    truncated: float
    unscored: float
    records: tuple[Record, ...] = field(repr=False)

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Evaluation":
        """Computes all numbers from the records."""
        parts: dict[str, list[Record]] = {}
        for record in records:
            parts.setdefault(record.source, []).append(record)
            if record.kind is not None:
                parts.setdefault(f"{record.source}/{record.kind}", []).append(record)
        return cls(
            **asdict(_scores(records)),
            by_source={name: _scores(parts[name]) for name in sorted(parts)},
            length=_mean([record.tokens for record in records]),
            truncated=_mean([record.truncated for record in records]),
            unscored=_mean([record.grade.outcome == "unscored" for record in records]),
            records=tuple(records),
        )

    def metrics(self) -> dict[str, float]:
        """The numbers under the names that they are logged by; undefined ones are left out."""
        values: dict[str, float] = {
            "eval/accuracy": self.accuracy,
            "eval/accuracy_all_orders": self.accuracy_all_orders,
            "eval/order_consistency": self.order_consistency,
            "eval/length": self.length,
            "eval/truncated": self.truncated,
            "eval/unscored": self.unscored,
            "eval/examples": float(self.examples),
        }
        for name, scores in self.by_source.items():
            values[f"eval/accuracy/{name}"] = scores.accuracy
            values[f"eval/order_consistency/{name}"] = scores.order_consistency
        return {name: value for name, value in values.items() if not math.isnan(value)}

    def summary(self) -> dict[str, float]:
        """Accuracy, order consistency and the number of examples; undefined ones are left out."""
        values = {
            "accuracy": self.accuracy,
            "order_consistency": self.order_consistency,
            "examples": self.examples,
        }
        return {name: value for name, value in values.items() if not math.isnan(value)}

    def table(self) -> str:
        """The scores of all examples and of every source, in percent, as text."""
        rows: dict[str, Scores] = {**self.by_source, "all": self}
        width = max(map(len, rows))
        lines = [f"{'':{width}}  {'accuracy':>8}  {'all orders':>10}  {'consistent':>10}  examples"]
        lines += [
            f"{name:{width}}  {_percent(scores.accuracy):>8}"
            f"  {_percent(scores.accuracy_all_orders):>10}"
            f"  {_percent(scores.order_consistency):>10}  {scores.examples:8d}"
            for name, scores in rows.items()
        ]
        return "\n".join(lines)

    def write_records(self, path: str | Path) -> None:
        """Writes the records as JSONL, in the order in which the examples were given."""
        with Path(path).open("w", encoding="utf-8", newline="\n") as file:
            for record in self.records:
                file.write(json.dumps(record.as_json(), ensure_ascii=False) + "\n")


def _scores(records: Sequence[Record]) -> Scores:
    by_example: dict[str, list[Record]] = {}
    for record in records:
        by_example.setdefault(record.id, []).append(record)
    own, all_orders, consistent = [], [], []
    for group in by_example.values():
        own += _mean_of(record.grade.score for record in group if record.in_own_order)
        all_orders += _mean_of(record.grade.score for record in group)
        consistent += _mean_of(record.consistent for record in group if record.in_own_order)
    return Scores(
        _mean(own), _mean(all_orders), _mean(consistent), len(by_example), len(consistent)
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _mean_of(values: Iterable[float | None]) -> list[float]:
    """The mean of the values that are there, or nothing where none is."""
    there = [float(value) for value in values if value is not None]
    return [_mean(there)] if there else []


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f}"
