"""The scores of a benchmark, from the scored answers to its rows."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from perl_jax.evaluation.answered import Answered
from perl_jax.evaluation.benchmark import Benchmark, ScoredRows, mean_of_rows, task_of
from perl_jax.evaluation.judging import Judge, score_all
from perl_jax.evaluation.predictions import Answers, Order, ScoredAnswers
from perl_jax.evaluation.sensitivity import order_statistics
from perl_jax.permutation import permute, rule_for
from perl_jax.rewards import Grader
from perl_jax.types import Example

# Long enough that a busy machine compares the same answers as another one.
_DEADLINE = 10.0


def score_answers(
    benchmark: Benchmark, answered: Sequence[tuple[Example, Answers]], judge: Judge | None
) -> list[ScoredAnswers]:
    """Scores all answers to some rows."""
    asked = [
        (example, response)
        for row, answers in answered
        for example, responses in zip(_shown(row, answers), answers.responses, strict=True)
        for response in responses
    ] + [(row, answers.again) for row, answers in answered if answers.again is not None]
    scored = iter(score_all(benchmark, asked, judge))
    nested = [
        tuple(tuple(next(scored) for _ in responses) for responses in answers.responses)
        for _, answers in answered
    ]
    return [
        ScoredAnswers(row, answers, of_row, None if answers.again is None else next(scored))
        for (row, answers), of_row in zip(answered, nested, strict=True)
    ]


def _shown(example: Example, answers: Answers) -> list[Example]:
    """The row under each order that was asked."""
    if answers.orders is None:
        return [example]
    rule = rule_for(example, unknown="keep")
    return [
        example if number == 0 else permute(example, order, rule)
        for number, order in enumerate(answers.orders)
    ]


def scores_of(
    benchmark: Benchmark,
    rows: Sequence[ScoredAnswers],
    skipped: Mapping[str, int],
    *,
    with_orders: bool,
    seed: int,
) -> dict[str, Any]:
    """The content of ``scores.json``; see docs/evaluation.md.

    Args:
        benchmark: How scores are averaged.
        rows: All rows that were asked.
        skipped: How many rows were not, by reason.
        with_orders: Whether other orders were asked.
        seed: Of the bootstrap intervals.
    """
    judged = [(row.example, row.score) for row in rows if row.score is not None]
    tasks: dict[str, list[tuple[Example, float]]] = {}
    for example, score in judged:
        if (task := task_of(example)) is not None:
            tasks.setdefault(task, []).append((example, score))
    more = benchmark.more(judged) if judged else {}
    scores: dict[str, Any] = {
        "benchmark": benchmark.name,
        "overall": _overall(benchmark, judged),
        "by_task": {task: mean_of_rows(tasks[task]) for task in sorted(tasks)},
        "examples": len(rows),
        "judged": len(judged),
        "unjudged": len(rows) - len(judged),
        "skipped": dict(sorted(skipped.items())),
        "more": {name: _or_none(value) for name, value in more.items()},
    }
    if with_orders:
        # Two expressions may be the same answer.
        with Grader(deadline=_DEADLINE) as grader:
            answered = [answered_of(row) for row in rows]
            scores["orders"] = order_statistics(answered, seed=seed, grader=grader)
    return scores


def _overall(benchmark: Benchmark, judged: ScoredRows) -> float | None:
    return _or_none(benchmark.overall(judged)) if judged else None


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def answered_of(row: ScoredAnswers) -> Answered:
    """The answers under several orders, as the statistics read them."""
    example, answers = row.example, row.answers
    own: Order = tuple(range(len(example.images)))
    return Answered(
        id=row.example.id,
        task=task_of(example),
        rule=rule_for(example, unknown="keep"),
        orders=answers.orders or (own,),
        examples=tuple(_shown(row.example, answers)),
        predictions=[[one.prediction for one in scored] for scored in row.scored],
        scores=[[one.score for one in scored] for scored in row.scored],
        again=() if row.again is None else (row.again.prediction,),
    )
