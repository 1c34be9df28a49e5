"""Cards for a page: a row as it is and as a run would permute it, or why it is kept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from perl_jax import permutation
from perl_jax.data.pipeline.preparer import check_text
from perl_jax.data.pipeline.rows import RowReader, Skipped
from perl_jax.data.sources.source import BadRow, Source
from perl_jax.inspection.thumbnails import Thumbnail, thumbnail
from perl_jax.inspection.word_diff import Piece, word_diff
from perl_jax.legible import legible
from perl_jax.processing import ImageError
from perl_jax.types import Example

_MAX_CHARACTERS = 100_000
_MAX_VALUE_CHARACTERS = 2_000

_Pictures = tuple[Thumbnail | None, ...]


@dataclass(frozen=True)
class Look:
    """How rows are shown.

    Attributes:
        permuted: Whether to show rows also in the order of step 0 of a run.
        rules: Rules that come before the built-in ones.
        seed: The seed of the orders.
        max_side: The pictures' longest side in pixels.
    """

    permuted: bool = False
    rules: permutation.Rules | None = None
    seed: int = 0
    max_side: int = 192


@dataclass(frozen=True)
class Side:
    """One column of a card: an example in one order, its texts in pieces.

    Attributes:
        order: For every slot, the image's number in the row's own order, from 1.
        pictures: A picture for every slot; None: it cannot be decoded.
        turns: The role and the text of every message before the question.
    """

    order: tuple[int, ...]
    pictures: _Pictures
    question: tuple[Piece, ...]
    answer: tuple[Piece, ...]
    options: tuple[tuple[Piece, ...], ...]
    turns: tuple[tuple[str, tuple[Piece, ...]], ...] = ()

    @property
    def answer_changed(self) -> bool:
        """Whether the answer differs from the other side's."""
        return any(piece.changed for piece in self.answer)


@dataclass(frozen=True)
class Card:
    """What is shown of a row.

    Attributes:
        title: The example's id, or the name of an unreadable row.
        state: ``read``, ``permuted``, ``kept`` (in its own order) or ``bad``.
        own: The row as it is; None: it could not be read.
        permuted: The row in another order; None: it has none.
        reason: The code of why it is kept or bad; ``message`` says it in words.
        rule: The fields of the rule that applied.
        accounts: Of a permuted row, each word that could bear on the order of its images, after
            the name of its field, and what it was taken for.
    """

    title: str
    state: str
    source: str = ""
    own: Side | None = None
    permuted: Side | None = None
    reason: str = ""
    message: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    rule: tuple[tuple[str, str], ...] = ()
    accounts: tuple[tuple[str, str], ...] = ()


def cards(source: Source, rows: Sequence[int], look: Look) -> Iterator[Card]:
    """Yields the cards of the rows with these numbers."""
    reader = RowReader(source, lambda example: example)
    for number in rows:
        row = reader(number)
        if isinstance(row, Skipped):
            yield Card(_short(row.row), "bad", reason=row.reason, message=_short(row.message))
        else:
            yield card(row, look)


def card(example: Example, look: Look) -> Card:
    """The card of a row that could be read; it may still be bad."""
    pictures, fault = _pictures(example, look.max_side)
    try:
        check_text(example)
    except BadRow as error:
        fault = error
    if fault is not None:
        result = _Result("bad", fault.reason, fault.message)
    else:
        result = _permuted(example, look) if look.permuted else _Result("read")
    own, permuted = _sides(example, pictures, result)
    return Card(
        title=_short(example.id),
        state=result.state,
        source=_short(example.source),
        own=own,
        permuted=permuted,
        reason=result.reason,
        message=_short(result.message),
        metadata=_described(example.metadata),
        rule=_described(vars(result.rule) if result.rule else {}),
        accounts=_accounts(example, result),
    )


def draw(example: Example, rule: permutation.Rule, seed: int) -> tuple[tuple[int, ...], Example]:
    """The first permuted order of an example at step 0 of a run, and the example in it.

    Raises:
        CannotPermute: The example keeps its own order.
        ValueError: A column that the rule reads has an unexpected value.
    """
    movable, slots = permutation.movable_slots(example, rule), len(example.images)
    (order,) = permutation.sample_orders(seed, 0, example.id, slots, 1, movable=movable).tolist()
    return tuple(order), permutation.permute(example, order, rule)


@dataclass(frozen=True)
class _Result:
    state: str
    reason: str = ""
    message: str = ""
    rule: permutation.Rule | None = None
    order: tuple[int, ...] = ()
    example: Example | None = None


def _permuted(example: Example, look: Look) -> _Result:
    try:
        rule = permutation.rule_for(example, rules=look.rules)
    except ValueError as error:
        return _Result("kept", "unknown_source", str(error))
    try:
        order, permuted = draw(example, rule, look.seed)
    except permutation.CannotPermute as error:
        return _Result("kept", error.reason, str(error).removeprefix(f"{error.reason}: "), rule)
    # A column that the rule reads has an unexpected value; a run would end with this error.
    except ValueError as error:
        return _Result("bad", type(error).__name__, str(error), rule)
    return _Result("permuted", rule=rule, order=order, example=permuted)


def _accounts(example: Example, result: _Result) -> tuple[tuple[str, str], ...]:
    if result.rule is None or result.state != "permuted":
        return ()
    words = permutation.account(example, result.rule)
    return tuple((_short(f"{word.field}: {word.text}"), word.taken_for) for word in words)


def _pictures(example: Example, max_side: int) -> tuple[_Pictures, BadRow | None]:
    """The pictures, and the fault of the first broken one."""
    pictures: list[Thumbnail | None] = []
    fault = None
    for number, image in enumerate(example.images, 1):
        try:
            pictures.append(thumbnail(image, max_side))
        except ImageError as error:
            pictures.append(None)
            fault = fault or BadRow.of(example, "bad_image", f"image {number}: {error}")
    return tuple(pictures), fault


def _sides(example: Example, pictures: _Pictures, result: _Result) -> tuple[Side, Side | None]:
    pairs = map(word_diff, _texts(example), _texts(result.example or example))
    before, after = zip(*pairs, strict=True)
    roles = [turn.role for turn in example.turns]
    own = _side(tuple(range(len(pictures))), pictures, before, roles)
    return own, _side(result.order, pictures, after, roles) if result.example else None


def _side(
    order: tuple[int, ...],
    pictures: _Pictures,
    texts: Sequence[tuple[Piece, ...]],
    roles: Sequence[str],
) -> Side:
    question, answer, *others = texts
    turns, options = others[: len(roles)], others[len(roles) :]
    return Side(
        tuple(slot + 1 for slot in order),
        tuple(pictures[slot] for slot in order),
        question,
        answer,
        tuple(options),
        tuple(zip(roles, turns, strict=True)),
    )


def _texts(example: Example) -> list[str]:
    turns = (turn.text for turn in example.turns)
    texts = (example.question, example.answer, *turns, *example.options)
    return [legible(text, _MAX_CHARACTERS) for text in texts]


def _short(text: str) -> str:
    return legible(text, _MAX_VALUE_CHARACTERS)


def _described(values: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    return tuple((_short(str(name)), _short(_value(value))) for name, value in values.items())


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
