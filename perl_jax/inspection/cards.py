"""What a page shows of a row: as it is, and as the run would permute it, or why it does not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from perl_jax import permutation
from perl_jax.data.pipeline.preparer import check_text
from perl_jax.data.pipeline.rows import RowReader, Skipped
from perl_jax.data.sources.legible import legible
from perl_jax.data.sources.source import BadRow, Source
from perl_jax.inspection.thumbnails import Thumbnail, thumbnail
from perl_jax.inspection.word_diff import Piece, word_diff
from perl_jax.processing import ImageError
from perl_jax.types import Example, prompt_text

_MAX_CHARACTERS = 100_000
_MAX_VALUE_CHARACTERS = 2_000

_Pictures = tuple[Thumbnail | None, ...]


@dataclass(frozen=True)
class Look:
    """How rows are looked at.

    Attributes:
        permuted: Whether rows are also shown in another order, that of step 0 of a run.
        rules: The rules that come before the built-in ones.
        seed: Of the orders.
        max_side: Of the pictures, in pixels.
    """

    permuted: bool = False
    rules: permutation.Rules | None = None
    seed: int = 0
    max_side: int = 192


@dataclass(frozen=True)
class Side:
    """One column of a card: an example in one order, its texts in pieces.

    Attributes:
        order: For every slot, the number of its image in the row's own order, counted from 1.
        pictures: One for every slot; None where it cannot be decoded.
    """

    order: tuple[int, ...]
    pictures: _Pictures
    question: tuple[Piece, ...]
    answer: tuple[Piece, ...]
    options: tuple[tuple[Piece, ...], ...]

    @property
    def answer_changed(self) -> bool:
        """Whether the answer is another one than on the other side."""
        return any(piece.changed for piece in self.answer)


@dataclass(frozen=True)
class Card:
    """What is shown of a row.

    Attributes:
        title: The example's id, or the name of a row that could not be read.
        state: ``read``; ``permuted``; ``kept``: in its own order; or ``bad``.
        own: The row as it is, where it could be read.
        permuted: The row in another order, where it has one.
        reason: The code of why it is kept or bad; the message has it in words.
        rule: Names and values of the rule that applied.
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


def cards(source: Source, rows: Sequence[int], look: Look) -> Iterator[Card]:
    """The cards of the rows with these numbers."""
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
        check_text(example, prompt_text(example))
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
    )


def draw(example: Example, rule: permutation.Rule, seed: int) -> tuple[tuple[int, ...], Example]:
    """The first permuted order of an example at step 0 of a run, and the example in it.

    Raises:
        CannotPermute: The example keeps its own order; names the cause in the example.
        ValueError: A column that the rule reads holds what it should not.
    """
    movable, slots = permutation.movable_slots(example, rule), len(example.images)
    (order,) = permutation.sample_orders(seed, 0, example.id, slots, 1, movable=movable).tolist()
    return tuple(order), permutation.permute(example, order, rule)


@dataclass(frozen=True)
class _Result:
    """What became of a row."""

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
    # A column that the rule reads holds what it should not: the run would end with this error.
    except ValueError as error:
        return _Result("bad", type(error).__name__, str(error), rule)
    return _Result("permuted", rule=rule, order=order, example=permuted)


def _pictures(example: Example, max_side: int) -> tuple[_Pictures, BadRow | None]:
    """The pictures, and what is wrong with the first one that cannot be decoded."""
    pictures: list[Thumbnail | None] = []
    fault = None
    for number, image in enumerate(example.images, 1):
        try:
            pictures.append(thumbnail(image, max_side))
        except ImageError as error:
            pictures.append(None)
            fault = fault or BadRow("bad_image", example.id, f"image {number}: {error}")
    return tuple(pictures), fault


def _sides(example: Example, pictures: _Pictures, result: _Result) -> tuple[Side, Side | None]:
    """The columns of both orders, with what changed between them."""
    pairs = map(word_diff, _texts(example), _texts(result.example or example))
    before, after = zip(*pairs, strict=True)
    own = _side(tuple(range(len(pictures))), pictures, before)
    return own, _side(result.order, pictures, after) if result.example else None


def _side(order: tuple[int, ...], pictures: _Pictures, texts: Sequence[tuple[Piece, ...]]) -> Side:
    question, answer, *options = texts
    shown = tuple(pictures[slot] for slot in order)
    return Side(tuple(slot + 1 for slot in order), shown, question, answer, tuple(options))


def _texts(example: Example) -> list[str]:
    texts = (example.question, example.answer, *example.options)
    return [legible(text, _MAX_CHARACTERS) for text in texts]


def _short(text: str) -> str:
    return legible(text, _MAX_VALUE_CHARACTERS)


def _described(values: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    return tuple((_short(str(name)), _short(_value(value))) for name, value in values.items())


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
