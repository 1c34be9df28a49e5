"""What a page shows of a group: its orders beside each other, and what was said to each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perl_jax.inspection.word_diff import Piece, word_diff
from perl_jax.legible import legible
from perl_jax.page.groups import Group
from perl_jax.page.pictures import Picture
from perl_jax.permutation.refusal import REASONS
from perl_jax.rewards import last_boxed

_MAX_VALUE_CHARACTERS = 200
_MAX_QUESTION_CHARACTERS = 4_000
_MOST_ANSWERS = 6


@dataclass(frozen=True)
class Response:
    """Responses to one order that are alike in everything.

    Attributes:
        count: How many.
        text: What they say, without its middle if it is long.
        verdict: ``right``, ``wrong``, ``partly right`` or ``no grade``.
        figures: Name and value of what else is known: rewards, advantage, length.
        cut_off: Whether it ended at the limit of tokens.
    """

    count: int
    text: str
    verdict: str
    figures: tuple[tuple[str, str], ...]
    cut_off: bool


@dataclass(frozen=True)
class Slot:
    """An image of an order: its number in the own order, from 1, and its picture if it was kept."""

    number: int
    moved: bool
    picture: Picture | None


@dataclass(frozen=True)
class Column:
    """A group under one order.

    Attributes:
        own: Whether the order is the example's own.
        right: How many graded responses are right, in words.
        answers: How often each answer was given.
    """

    own: bool
    slots: tuple[Slot, ...]
    question: tuple[Piece, ...]
    truth: tuple[Piece, ...]
    right: str
    answers: tuple[tuple[str, int], ...]
    responses: tuple[Response, ...]


@dataclass(frozen=True)
class Card:
    """A group as it is shown.

    Attributes:
        reward: The mean reward, for a filter; empty if there is none.
        kind: ``flip``, ``steady`` or ``own order``, for a filter.
        summary: How many are right under each order.
        reason: Why it has only its own order; empty if not said.
    """

    step: int
    group: int
    id: str
    source: str
    outcome: str
    reward: str
    kind: str
    summary: str
    reason: str
    columns: tuple[Column, ...]


def card(group: Group, pictures: Mapping[str, Picture], max_characters: int) -> Card:
    """The card of a group; a longer response loses its middle."""
    questions = _marked(group.questions)
    truths = _marked(group.truths)
    columns = tuple(
        _column(group, order, questions[order], truths[order], pictures, max_characters)
        for order in range(len(group.orders))
    )
    steady = "steady" if group.permuted else "own order"
    reason = group.unpermuted
    reward = group.mean_reward
    return Card(
        step=group.step,
        group=group.group,
        id=_short(group.id),
        source=_short(group.source),
        outcome=_short(group.outcome.replace("_", " ")),
        reward="" if reward is None else f"{reward:.3f}",
        kind="flip" if group.flips else steady,
        summary=" → ".join(column.right for column in columns),
        reason="" if reason is None else _short(f"{reason}: {REASONS.get(reason, '')}".strip(": ")),
        columns=columns,
    )


def without_middle(text: str, limit: int) -> str:
    """At most ``limit`` characters of a text: its start, and its end, where the answer is."""
    if len(text) <= limit:
        return text
    start, end = text[: limit // 2], text[len(text) - limit // 2 :]
    return f"{start}\n[… {len(text) - len(start) - len(end):,} characters …]\n{end}"


def _column(
    group: Group,
    order: int,
    question: tuple[Piece, ...],
    truth: tuple[Piece, ...],
    pictures: Mapping[str, Picture],
    max_characters: int,
) -> Column:
    slots = group.orders[order]
    total, count = group.right(order)
    boxed = (last_boxed(text).text or "no answer" for text in group.responses[order])
    answers = Counter(_short(answer) for answer in boxed)
    return Column(
        own=list(slots) == list(group.orders[0]),
        slots=tuple(
            Slot(shown + 1, shown != place, pictures.get(group.images[shown]))
            for place, shown in enumerate(slots)
        ),
        question=question,
        truth=truth,
        right=f"{total:g} of {count} right" if count else "no grade",
        answers=tuple(answers.most_common(_MOST_ANSWERS)),
        responses=_responses(group, order, max_characters),
    )


def _responses(group: Group, order: int, max_characters: int) -> tuple[Response, ...]:
    """The responses to an order, in their order; those that are alike stand together."""
    alike: Counter[tuple[str, str, tuple[tuple[str, str], ...], bool]] = Counter()
    for number, text in enumerate(group.responses[order]):
        accuracy = group.accuracy[order][number]
        components = {name: values[order][number] for name, values in group.rewards.items()}
        figures = (
            ("reward", _number(group.reward[order][number])),
            ("advantage", _number(group.advantages[order][number], "+")),
            *((_short(name), _number(value)) for name, value in components.items()),
            ("tokens", f"{group.lengths[order][number]:,}"),
        )
        shown = legible(without_middle(text, max_characters))
        alike[shown, _verdict(accuracy), figures, not group.stopped[order][number]] += 1
    return tuple(Response(count, *one) for one, count in alike.items())


def _verdict(accuracy: float | None) -> str:
    if accuracy is None:
        return "no grade"
    return "right" if accuracy >= 1 else "wrong" if accuracy <= 0 else "partly right"


def _marked(texts: Sequence[str]) -> list[tuple[Piece, ...]]:
    """The texts under each order; what differs from the own order is marked, and there too.

    With several other orders, the own one is not marked, as each differs from it elsewhere.
    """
    own, *others = (legible(text, _MAX_QUESTION_CHARACTERS) for text in texts)
    pairs = [word_diff(own, other) for other in others]
    first = pairs[0][0] if len(pairs) == 1 else word_diff(own, own)[0]
    return [first, *(after for _, after in pairs)]


def _number(value: float | None, sign: str = "") -> str:
    return "none" if value is None else f"{value:{sign}.3g}"


def _short(text: str) -> str:
    return legible(text, _MAX_VALUE_CHARACTERS)
