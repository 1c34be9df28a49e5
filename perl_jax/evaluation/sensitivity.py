"""How much a model's answers depend on the order of the images."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perl_jax.evaluation.answered import Answered
from perl_jax.evaluation.bootstrap import intervals
from perl_jax.evaluation.consistency import Same, by_text, flips, flips_again
from perl_jax.evaluation.slots import slot_of
from perl_jax.legible import brief
from perl_jax.rewards import Grader, check_truth
from perl_jax.rewards.matching import match
from perl_jax.rewards.numeric import Tolerance

_STATISTICS = (
    "accuracy_own_order",
    "accuracy_over_orders",
    "accuracy_under_all_orders",
    "flip_rate",
    "noise_floor",
    "flip_excess",
    "missing",
)


@dataclass(frozen=True)
class _Row:
    """One example with several orders.

    Attributes:
        values: One for each of `_STATISTICS`; NaN where it has none.
        named: The share of its answers that name a slot, by slot; None if no truth names one.
        right: The share of its truths that do.
    """

    values: tuple[float, ...]
    named: Mapping[int, float] | None
    right: Mapping[int, float]


def order_statistics(
    answered: Sequence[Answered], *, seed: int = 0, grader: Grader | None = None
) -> dict[str, Any]:
    """How sensitive the answers are to the order of the images, over all examples and by task.

    Only examples with more than one order count, and each weighs the same, however many orders
    and answers it has. The result can be written as JSON::

        {"examples": 120, "permuted": 100, "accuracy_own_order": INTERVAL, ...,
         "slots": [{"slot": 1, "named": INTERVAL, "right": INTERVAL, "bias": INTERVAL}, ...],
         "by_task": {TASK: the same without by_task}}

    ``permuted`` is the number of examples with more than one order. An INTERVAL is
    ``{"value", "low", "high", "examples"}``: the mean over the examples that have a value, their
    number, and the 95 % interval of the percentile bootstrap over examples (1,000 draws, see
    `bootstrap.intervals`), all null where no example has one.

    - ``accuracy_own_order``, ``accuracy_over_orders``: the mean score under the own order; the
      mean over orders of their mean scores. Unknown scores are left out.
    - ``accuracy_under_all_orders``: the share of answers that are right (score 1) under every
      order. With N answers to an order, the n-th ones under all orders belong together. Where a
      score is unknown, they are left out.
    - ``flip_rate``: the share of pairs of an answer under the own order and one under another
      order that differ beyond what the order changes; all N x N pairs of each other order count.
      The own answer is permuted as the truth would be, then both are compared as grading does, see
      `consistency.is_consistent`. As there, a pair flips in which an answer is missing, or the own
      one cannot answer the example.
    - ``noise_floor``: the same for pairs of two answers under the own order: one of
      ``predictions[0]`` and one of ``again``, or without ``again`` two of ``predictions[0]``. Here
      answers that are spelled alike are alike, and so are two missing ones: it is exactly 0 for a
      deterministic policy. It is null where the own order was asked only once.
    - ``flip_excess``: the difference of the two, over the examples that have both.
    - ``missing``: the share of answers, under all orders, that could not be read.
    - ``slots``: for every slot, counted from 1, the share of answers that name it, the share of
      truths that name it, and the difference: positive where the slot is named more often than it
      is right. Over the answers under all orders to examples whose truth names a slot, see
      `slots.slot_of`: the j-th option or the j-th image. Slots that nothing names are not listed.

    Args:
        answered: The examples with their answers. The ids must differ.
        seed: Draws the examples of the bootstrap.
        grader: Compares expressions symbolically; without it they compare by their spelling.

    Raises:
        ValueError: An example's orders, predictions and scores do not fit together.
    """
    same = by_text if grader is None else _by_grading(grader)
    for one in answered:
        _check(one)
    rows = [_row(one, same) if len(one.orders) > 1 else None for one in answered]
    by_task: dict[str, list[_Row | None]] = {}
    for one, row in zip(answered, rows, strict=True):
        if one.task is not None:
            by_task.setdefault(one.task, []).append(row)
    tasks = {task: _summary(by_task[task], seed) for task in sorted(by_task)}
    return {**_summary(rows, seed), "by_task": tasks}


def _by_grading(grader: Grader) -> Same:
    """By text where that decides, and by symbolic mathematics where it does not."""

    def same(answer: str, truth: str) -> bool:
        found = match(answer, truth, Tolerance()).equal
        if found is None and check_truth(truth) is None:
            (grade,) = grader.grade([rf"\boxed{{{answer}}}"], [truth])
            return grade.score == 1.0
        return found is True

    return same


def _check(one: Answered) -> None:
    """Raises ValueError unless there are as many examples, predictions and scores as orders."""
    count, orders = len(one.predictions[0]) if one.predictions else 0, len(one.orders)
    if not orders or not orders == len(one.examples) == len(one.predictions) == len(one.scores):
        raise ValueError(
            f"{brief(one.id)}: expected as many examples, predictions and scores as orders; got "
            f"{len(one.examples)}, {len(one.predictions)} and {len(one.scores)} for {orders}"
        )
    lengths = [len(part) for part in (*one.predictions, *one.scores)]
    if not count or set(lengths) != {count}:
        raise ValueError(
            f"{brief(one.id)}: expected as many predictions and scores under every order; "
            f"got {lengths}"
        )
    if list(one.orders[0]) != list(range(len(one.examples[0].images))):
        raise ValueError(f"{brief(one.id)}: expected its own order first; got {one.orders[0]}")


def _row(one: Answered, same: Same) -> _Row:
    of_orders = [_mean(scores) for scores in one.scores]
    together = [float(min(s) == 1) for s in zip(*one.scores, strict=True) if None not in s]
    own, rule, answers = one.examples[0], one.rule, one.predictions[0]
    flip_rate = float(flips(own, rule, one.orders, one.predictions, same).mean())
    noise_floor = math.nan
    if one.again:
        noise_floor = float(flips_again(own, rule, answers, one.again, same).mean())
    elif len(answers) > 1:
        # An answer is not compared with itself, which never differs.
        pairs = len(answers) * (len(answers) - 1)
        noise_floor = float(flips_again(own, rule, answers, answers, same).sum()) / pairs
    values = {
        "accuracy_own_order": of_orders[0],
        "accuracy_over_orders": _mean(score for score in of_orders if not math.isnan(score)),
        "accuracy_under_all_orders": _mean(together),
        "flip_rate": flip_rate,
        "noise_floor": noise_floor,
        "flip_excess": flip_rate - noise_floor,
        "missing": _mean(float(p is None) for of_order in one.predictions for p in of_order),
    }
    return _Row(tuple(values[name] for name in _STATISTICS), *_slots(one))


def _slots(one: Answered) -> tuple[Mapping[int, float] | None, Mapping[int, float]]:
    """The shares of answers and of truths by the slot that they name, over all orders."""
    right = [slot_of(example, one.rule, example.answer) for example in one.examples]
    if None in right:
        return None, {}
    named = [
        slot_of(example, one.rule, prediction)
        for example, predictions in zip(one.examples, one.predictions, strict=True)
        for prediction in predictions
    ]
    return _shares(named), _shares(right)


def _shares(slots: Sequence[int | None]) -> dict[int, float]:
    counts = Counter(slots)
    return {slot: count / len(slots) for slot, count in counts.items() if slot is not None}


def _summary(rows: Sequence[_Row | None], seed: int) -> dict[str, Any]:
    """All numbers of some examples; None stands for one with its own order alone."""
    counted = [row for row in rows if row is not None]
    slots = sorted({slot for row in counted for slot in {*(row.named or {}), *row.right}})
    table = []
    for row in counted:
        line = [*row.values]
        for slot in slots:
            named = math.nan if row.named is None else row.named.get(slot, 0.0)
            right = math.nan if row.named is None else row.right.get(slot, 0.0)
            line += [named, right, named - right]
        table.append(line)
    values = np.array(table, np.float64).reshape(len(table), len(_STATISTICS) + 3 * len(slots))
    found = [interval.as_json() for interval in intervals(values, seed)]
    statistics, of_slots = found[: len(_STATISTICS)], iter(found[len(_STATISTICS) :])
    return {
        "examples": len(rows),
        "permuted": len(counted),
        **dict(zip(_STATISTICS, statistics, strict=True)),
        "slots": [
            {"slot": slot + 1, "named": next(of_slots), "right": next(of_slots),
             "bias": next(of_slots)}
            for slot in slots
        ],
    }  # fmt: skip


def _mean(values: Iterable[float | None]) -> float:
    """The mean of the known values; NaN if there are none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else math.nan
