"""Asks a policy held-out examples under several orders of their images."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from perl_jax.activity import Activity, silent
from perl_jax.evaluation.config import EvaluationConfig
from perl_jax.evaluation.consistency import (
    Order,
    Predictions,
    flips,
    flips_again,
    orders_of,
)
from perl_jax.evaluation.grading import grade_on_hosts
from perl_jax.evaluation.records import Record
from perl_jax.evaluation.results import Evaluation
from perl_jax.evaluation.slots import slot_of
from perl_jax.legible import brief
from perl_jax.models import Policy
from perl_jax.permutation import Rule, Rules, rule_for
from perl_jax.processing import Processor
from perl_jax.rewards import Grader, answer_text, asked_answer, last_boxed
from perl_jax.rollout import Group, Rollouts, Sampler
from perl_jax.types import Example, ImagePatches, prompt_of

KIND_COLUMN = "question_type"
"""The metadata column that splits the results of a source."""


@dataclass(frozen=True, eq=False)
class _Task:
    """One example under all its orders."""

    rule: Rule
    orders: tuple[Order, ...]
    examples: tuple[Example, ...]
    group: Group


@dataclass(frozen=True)
class _Compared:
    """How the answers to one example compare: `Record.consistent` and `Record.flips`.

    Attributes:
        consistent: By rollout.
        flips: By order and rollout.
    """

    consistent: Sequence[bool | None]
    flips: Sequence[Sequence[float | None]]


def evaluate(
    sampler: Sampler,
    model: Policy,
    examples: Iterable[Example],
    *,
    grader: Grader,
    config: EvaluationConfig,
    rules: Rules | None = None,
    seed: int = 0,
    activity: Activity = silent,
) -> Evaluation:
    """Asks every example under its own order and others, and grades and compares the answers.

    The result depends only on the policy's parameters and the arguments: the same seed asks the
    same orders. On several hosts, each must have all examples.

    Args:
        sampler: Draws the responses; has the processor.
        model: The policy.
        examples: Held-out rows, of which the first ``config.examples`` are asked. Each image is
            anything that the processor encodes, patches included.
        grader: Grades every response against the answer of its order.
        config: The numbers of examples, orders and tokens.
        rules: Your own permutation rules by source, besides the built-in ones.
        seed: Draws the orders, and the responses at a temperature above 0.
        activity: Hears how many examples are asked, as ``evaluating``.

    Raises:
        ValueError: There are no examples, one cannot be encoded or graded (names it), or a source
            of several images has no rule although orders are asked for.
    """
    chosen = list(islice(examples, config.examples))
    if not chosen:
        raise ValueError("examples: expected at least one to evaluate; got none")
    named = list(zip(_unique_ids(chosen), chosen, strict=True))
    records: list[Record] = []
    for first in range(0, len(named), config.batch):
        tasks = []
        activity("evaluating", first, len(named))
        for name, example in named[first : first + config.batch]:
            # Without other orders, a source needs no rule.
            rule = rule_for(example, rules=rules, unknown="error" if config.num_orders else "keep")
            orders = orders_of(example, rule, config.num_orders, seed)
            tasks.append(_task(name, rule, orders, sampler.processor))
        rollouts = sampler.sample(
            model,
            [task.group for task in tasks],
            num_rollouts=config.num_rollouts,
            max_new_tokens=config.max_new_tokens,
            strategy=config.strategy(),
            key=seed,
            most_orders=min(config.batch, len(named)) * (1 + config.num_orders),
            activity=_counting_examples(activity, first, len(tasks), len(named)),
        )
        records += _records(tasks, rollouts, sampler.processor, grader)
    return Evaluation.of(records)


def _counting_examples(activity: Activity, first: int, count: int, total: int) -> Activity:
    """Hears of the responses of a batch, and tells of the examples of the evaluation."""

    def tell(what: str, done: int = 0, of: int = 0) -> None:
        activity("evaluating", first + count * done // max(of, 1), total)

    return tell


def _unique_ids(examples: Sequence[Example]) -> list[str]:
    """One id for each example: its own, with a number if that is taken."""
    taken: dict[str, None] = {}
    for example in examples:
        name, number = example.id, 1
        while name in taken:
            number += 1
            name = f"{example.id}#{number}"
        taken[name] = None
    return list(taken)


def _task(
    name: str, rule: Rule, orders: Sequence[tuple[Order, Example]], processor: Processor
) -> _Task:
    own = orders[0][1]
    try:
        answer_text(own.answer)
        patches: list[ImagePatches] = []
        for image in own.images:
            patches.append(processor.preprocess(image, known=patches))
        prompts = [
            processor.encode(prompt_of(one), [patches[slot] for slot in order])
            for order, one in orders
        ]
    except ValueError as error:
        where = f"{own.place}: " if own.place else ""
        raise ValueError(
            f"{where}example {brief(own.id)} of {brief(own.source)}: {error}"
        ) from error
    shown = tuple(example for _, example in orders)
    return _Task(rule, tuple(order for order, _ in orders), shown, Group.of(name, prompts))


def _records(
    tasks: Sequence[_Task], rollouts: Rollouts, processor: Processor, grader: Grader
) -> list[Record]:
    """One record for every response, by example, order and rollout."""
    texts = rollouts.texts(processor.decode)
    places = [
        (g, k, n)
        for g, task in enumerate(tasks)
        for k in range(len(task.orders))
        for n in range(rollouts.tokens.shape[2])
    ]
    grades = grade_on_hosts(
        grader,
        [texts[g][k][n] for g, k, n in places],
        [
            asked_answer(tasks[g].examples[k].answer, tasks[g].examples[k].metadata)
            for g, k, _ in places
        ],
    )
    predictions = [
        [[_prediction(text) for text in texts_N] for texts_N in texts_KxN] for texts_KxN in texts
    ]
    compared = [_compare(*pair) for pair in zip(tasks, predictions, strict=True)]
    return [
        Record(
            id=tasks[g].group.id,
            source=tasks[g].examples[k].source,
            kind=_kind(tasks[g].examples[k]),
            order=tasks[g].orders[k],
            rollout=n,
            response=texts[g][k][n],
            answer=tasks[g].examples[k].answer,
            prediction=predictions[g][k][n],
            grade=grade,
            consistent=compared[g].consistent[n],
            flips=compared[g].flips[k][n],
            slot=slot_of(tasks[g].examples[k], tasks[g].rule, predictions[g][k][n]),
            true_slot=slot_of(tasks[g].examples[k], tasks[g].rule, tasks[g].examples[k].answer),
            tokens=int(rollouts.lengths[g, k, n]),
            truncated=not rollouts.stopped[g, k, n],
        )
        for (g, k, n), grade in zip(places, grades, strict=True)
    ]


def _compare(task: _Task, predictions_KxN: Sequence[Predictions]) -> _Compared:
    own = predictions_KxN[0]
    if len(predictions_KxN) == 1:
        return _Compared([None] * len(own), [[None] * len(own)])
    example, others = task.examples[0], len(own) - 1
    flipped = flips(example, task.rule, task.orders, predictions_KxN)
    again = flips_again(example, task.rule, own, own).sum(axis=1).tolist()
    return _Compared(
        [not flipped[:, n, n].any() for n in range(len(own))],
        [
            [count / others if others else None for count in again],
            *flipped.mean(axis=1).tolist(),
        ],
    )


def _prediction(response: str) -> str | None:
    return last_boxed(response).text or None


def _kind(example: Example) -> str | None:
    kind = example.metadata.get(KIND_COLUMN)
    return None if kind is None else str(kind)
