"""The parts of an example that are read before its texts: placeholders, options and letters."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perl_jax.legible import brief
from perl_jax.permutation import answers
from perl_jax.permutation.orders import inverse
from perl_jax.permutation.reading import placeholders
from perl_jax.permutation.reading.options import (
    Option,
    fields_of,
    find_options,
    option_slots,
    question_field,
)
from perl_jax.permutation.reading.scan import Reader
from perl_jax.permutation.refusal import CannotPermute
from perl_jax.permutation.rules import Rule
from perl_jax.types import Example

_LABEL_BEFORE = re.compile(r"(?:^|\s)(?P<word>\w+\s+)?\(?[A-Z][.):]\s*$")


@dataclass(frozen=True)
class Layout:
    """The parts of an example that are read before its texts.

    Attributes:
        letters: The slots that letters stand for, where letters are to follow.
        named: The options whose words stay because they name slots for letters.
    """

    example: Example
    rule: Rule
    fields: tuple[str, ...]
    places: tuple[placeholders.Placeholder, ...]
    new_slot: tuple[int, ...]
    letters: Mapping[str, int]
    named: tuple[Option, ...]
    options: tuple[Option, ...]

    @property
    def moved(self) -> set[int]:
        """The slots whose images move."""
        return {old for old, new in enumerate(self.new_slot) if new != old}

    @property
    def asked(self) -> str:
        """The question without the options and placeholders in it."""
        field = question_field(self.example)
        spans: list[placeholders.Span] = [p for p in self.places if p.field == field]
        inline = (option for option in self.options if option.field == field)
        spans += (placeholders.Span(option.label_start, option.end) for option in inline)
        return placeholders.mask(self.fields[field], spans)

    @property
    def has_letter(self) -> bool:
        """Whether the answer is a letter, or an option word for word."""
        answer = self.example.answer.strip()
        options = map(str.strip, self.example.options)
        return answers.letter_of(answer) is not None or answer in options

    @property
    def change_needed(self) -> bool | None:
        """Whether the answer depends on the order of the images; None if the row does not say."""
        column = self.rule.change_column
        value = None if column is None else self.example.metadata.get(column)
        if value is None:
            return None
        known = {"true": True, "1": True, "false": False, "0": False}
        if str(value).lower() not in known:
            raise ValueError(
                f"metadata[{column!r}]: expected true or false; got {brief(value)} in example "
                f"{brief(self.example.id)}"
            )
        return known[str(value).lower()]


def movable_slots(example: Example, rule: Rule) -> tuple[int, ...]:
    """The slots whose images the rule lets move in this example, for `sample_orders`.

    Raises:
        CannotPermute: If fewer than two may move, or stand in one message of a conversation; or
            the options cannot be read.
    """
    count = len(example.images)
    if rule.movable == "none":
        raise CannotPermute(rule.why)
    if count < 2:
        raise CannotPermute("single_image")
    if rule.movable == "option_images":
        slots = sorted(_letter_slots(example, rule).values())
    elif isinstance(rule.movable, tuple):
        slots = sorted(slot + count if slot < 0 else slot for slot in rule.movable)
        if slots and not 0 <= slots[0] <= slots[-1] < count:
            raise CannotPermute("slots_missing", f"{rule.movable} of {count} images")
    else:
        slots = list(range(0 if rule.movable == "all" else 1, count))
    if len(set(slots)) < 2:
        raise CannotPermute("too_few_movable", f"{len(slots)} of {count} images")
    return _in_one_message(example, slots) if example.turns else tuple(slots)


def _in_one_message(example: Example, slots: Sequence[int]) -> tuple[int, ...]:
    """Those of the slots that stand in one message, the one with most of them, or else the last.

    What is said between two messages is about the images before it, so none moves past it.
    """
    question = question_field(example)
    places = placeholders.find_placeholders(fields_of(example), len(example.images))
    messages = {place.slot: min(place.field, question) for place in places}
    within: dict[int, list[int]] = {}
    for slot in slots:
        within.setdefault(messages.get(slot, question), []).append(slot)
    most = max(within, key=lambda message: (len(within[message]), message))
    if len(within[most]) < 2:
        raise CannotPermute("inline_placeholder", "every image stands in a message of its own")
    return tuple(within[most])


def lay_out(example: Example, order: tuple[int, ...], rule: Rule) -> Layout:
    """Reads the parts of an example that is to be shown in an order."""
    fields = fields_of(example)
    places = placeholders.find_placeholders(fields, len(example.images))
    letters: dict[str, int] = {}
    try:
        options = find_options(example)
    except CannotPermute:
        if rule.answer == "remap_letter":
            raise
        options = ()  # such letters may label points in a picture; nothing follows them here
    if rule.answer == "remap_letter" and (options or answers.letter_of(example.answer)):
        letters = _letter_slots(example, rule)
    if rule.answer != "remap_letter":  # letters at images are captions here: "Image A: <image>"
        question = question_field(example)
        listed = (o for o in options if o.field > question or not any(o.shows(p) for p in places))
        options = tuple(listed)
    named = tuple(
        option
        for option in options
        if option.letter in letters and not any(option.shows(place) for place in places)
    )
    layout = Layout(example, rule, fields, places, inverse(order), letters, named, options)
    _check_turns(layout)
    if rule.answer != "remap_letter":
        _check_no_option_moves(layout)
    return layout


def _letter_slots(example: Example, rule: Rule) -> dict[str, int]:
    """The slots that option letters stand for."""
    count = len(example.images)
    options = find_options(example)
    places = placeholders.find_placeholders(fields_of(example), count)
    reader = Reader(count, rule.index_base, rule.nouns)
    slots = option_slots(example, options, places, reader)
    if not slots and isinstance(rule.movable, tuple) and not options:
        # The rule itself says where the options are: they are lettered in the order of the slots.
        return {chr(ord("A") + i): slot for i, slot in enumerate(movable_slots(example, rule)[:26])}
    if not slots:
        raise CannotPermute("no_option_images")
    return slots


def _check_no_option_moves(layout: Layout) -> None:
    for place in layout.places:
        label = _LABEL_BEFORE.search(layout.fields[place.field][: place.start])
        # "Image A: <image>" is a caption, "A: <image>" is an option.
        lettered = label and (label["word"] or "").strip().lower() not in layout.rule.nouns
        is_option = place.field > question_field(layout.example)
        if place.slot in layout.moved and (is_option or lettered):
            raise CannotPermute("option_image_moves", f"slot {place.slot}")


def _check_turns(layout: Layout) -> None:
    """Refuses conversations with earlier answers where the rule changes answers.

    The rule speaks of the last answer only: an earlier letter or order may stand for anything.
    """
    follows = layout.rule.answer in ("remap_letter", "relabel_order")
    if follows and (said := said_before(layout.example)):
        raise CannotPermute("earlier_answers", said[0])


def said_before(example: Example) -> list[str]:
    """The earlier answers of a conversation."""
    return [turn.text for turn in example.turns if turn.role == "assistant"]
