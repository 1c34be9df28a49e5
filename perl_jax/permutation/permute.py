"""Shows an example's images in another order, and keeps its question and answer true."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from perl_jax.permutation import answers
from perl_jax.permutation.orders import inverse
from perl_jax.permutation.reading import placeholders
from perl_jax.permutation.reading.options import (
    Option,
    fields_of,
    find_options,
    inline_options,
    option_slots,
    question_field,
)
from perl_jax.permutation.reading.references import read_references
from perl_jax.permutation.reading.rewriting import check_doubts, pair_first_and_last, rewrite
from perl_jax.permutation.reading.scan import Mention, Reader, Scan
from perl_jax.permutation.refusal import CannotPermute
from perl_jax.permutation.rules import Rule
from perl_jax.types import Example

_LABEL_BEFORE = re.compile(r"(?:^|\s)(?P<word>\w+\s+)?\(?[A-Z][.):]\s*$")
_LISTS = re.compile(r"(?i)[,;/\n]|\b(?:and|or|then|while|but|whereas)\b")
_ASKS_WHICH = re.compile(
    r"(?i)\b(?:which|what|whose)\b[^.?!]*\b(?:image|picture|photo|photograph|pic|img|one)s?\b"
    r"|\bwhich\s+(?:is|has|are|of)\b"
)


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


def permute(example: Example, order: Sequence[int], rule: Rule) -> Example:
    """A new example with its images in another order, its text and answer changed to fit.

    Placeholders stay where they are, as do captions of their places; the rule decides about the
    rest. Turns are rewritten as the question is. ``id``, ``source`` and ``metadata`` stay.
    Permuting the result by the inverse order gives back the example exactly, and the identity
    changes nothing.

    Args:
        example: A row with its images in their slots.
        order: A permutation of the slots: new slot j shows old image ``order[j]``.
        rule: The rule of its source, from `rule_for`.

    Raises:
        CannotPermute: If the result would not be exact with certainty. Its ``reason`` is a stable
            code, see `REASONS`.
        ValueError: If the order is no permutation of the slots, or moves one that the rule fixes.
    """
    order = tuple(int(slot) for slot in order)
    if sorted(order) != list(range(len(example.images))):
        raise ValueError(
            f"order: expected a permutation of 0 to {len(example.images) - 1}; got {list(order)}"
        )
    moved = {old for new, old in enumerate(order) if new != old}
    if not moved:
        return example
    if fixed := moved - set(movable_slots(example, rule)):
        raise ValueError(f"order: the rule of {example.source!r} fixes slots {sorted(fixed)}")
    permuted = _move(example, order, rule)
    try:
        restored = _move(permuted, inverse(order), rule)
    except CannotPermute as error:
        raise CannotPermute("not_reversible", str(error)) from None
    for name in ("turns", "question", "options", "answer"):
        if getattr(restored, name) != getattr(example, name):
            raise CannotPermute("not_reversible", f"{name}: {getattr(permuted, name)}")
    return permuted


@dataclass(frozen=True)
class _Layout:
    """The parts of an example that are read before its texts."""

    example: Example
    rule: Rule
    fields: tuple[str, ...]
    places: tuple[placeholders.Placeholder, ...]
    new_slot: tuple[int, ...]
    letters: Mapping[str, int]  # the slots that letters stand for, where letters are to follow
    named: tuple[Option, ...]  # the options whose words stay because they name slots for letters
    options: tuple[Option, ...]

    @property
    def moved(self) -> set[int]:
        return {old for old, new in enumerate(self.new_slot) if new != old}


def _move(example: Example, order: tuple[int, ...], rule: Rule) -> Example:
    layout = _lay_out(example, order, rule)
    _check_turns(layout)
    follows = rule.answer == "remap_letter" and _has_letter(layout)
    answer_text = "" if follows or answers.letter_of(example.answer) else example.answer
    *fields, answer = _rewritten((*layout.fields, answer_text), layout)
    said, (question, *options) = fields[: len(example.turns)], fields[len(example.turns) :]
    turns = tuple(replace(turn, text=text) for turn, text in zip(example.turns, said, strict=True))
    answer = answer or example.answer
    if follows and _change_needed(layout) is False:  # the answer is the same in any order
        if layout.options:
            raise CannotPermute("change_needed_conflict")
    elif follows:
        answer = answers.follow_letter(
            example, layout.options, layout.letters, layout.new_slot, rule.fixed_letters
        )
    images = tuple(example.images[slot] for slot in order)
    return replace(
        example,
        question=question,
        options=tuple(options),
        answer=answer,
        images=images,
        turns=turns,
    )


def _check_turns(layout: _Layout) -> None:
    """Refuses conversations with earlier answers where the rule changes answers.

    The rule speaks of the last answer only: an earlier letter or order may stand for anything.
    """
    follows = layout.rule.answer in ("remap_letter", "relabel_order")
    if follows and (said := _said_before(layout.example)):
        raise CannotPermute("earlier_answers", said[0])


def _said_before(example: Example) -> list[str]:
    """The earlier answers of a conversation."""
    return [turn.text for turn in example.turns if turn.role == "assistant"]


def _lay_out(example: Example, order: tuple[int, ...], rule: Rule) -> _Layout:
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
    named = tuple(
        option
        for option in options
        if option.letter in letters and not any(option.shows(place) for place in places)
    )
    layout = _Layout(example, rule, fields, places, inverse(order), letters, named, options)
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


def _check_no_option_moves(layout: _Layout) -> None:
    for place in layout.places:
        label = _LABEL_BEFORE.search(layout.fields[place.field][: place.start])
        # "Image A: <image>" is a caption, "A: <image>" is an option.
        lettered = label and (label["word"] or "").strip().lower() not in layout.rule.nouns
        is_option = place.field > question_field(layout.example)
        if place.slot in layout.moved and (is_option or lettered):
            raise CannotPermute("option_image_moves", f"slot {place.slot}")


def _has_letter(layout: _Layout) -> bool:
    answer = layout.example.answer.strip()
    return answers.letter_of(answer) is not None or answer in map(str.strip, layout.example.options)


def _change_needed(layout: _Layout) -> bool | None:
    """Whether the answer depends on the order of the images; None if the row does not say."""
    column = layout.rule.change_column
    value = None if column is None else layout.example.metadata.get(column)
    if value is None:
        return None
    known = {"true": True, "1": True, "false": False, "0": False}
    if str(value).lower() not in known:
        raise ValueError(
            f"metadata[{column!r}]: expected true or false; got {value!r} in example "
            f"{layout.example.id!r}"
        )
    return known[str(value).lower()]


def _rewritten(texts: tuple[str, ...], layout: _Layout) -> list[str]:
    """The fields and the answer, rewritten as the rule says."""
    rule, captions = layout.rule, placeholders.Captions()
    if rule.text == "rewrite":
        captions = placeholders.find_captions(
            layout.fields, layout.places, layout.moved, rule.nouns, rule.index_base
        )
        placeholders.check_places(layout.fields, layout.places, captions, layout.moved)
    count, strict = len(layout.new_slot), rule.sides == "strict"
    follows = rule.answer == "remap_letter"
    sequences = follows or rule.answer == "relabel_order"
    reader = Reader(count, rule.index_base, rule.nouns, captions.names, strict, sequences, follows)
    orders = _orders(texts, layout, reader)
    bare = _bare_references(texts, layout, reader)
    fixed, scans = (*layout.places, *captions.spans, *layout.named), []
    for index, text in enumerate(texts):
        extra = orders.get(index, []) + bare.get(index, [])
        masked = placeholders.mask(text, [span for span in fixed if span.field == index])
        masked = placeholders.mask(masked, extra)
        scan = read_references(masked, reader) if rule.text == "rewrite" else Scan(masked, reader)
        scan.mentions += extra
        scans.append(scan)
    check_doubts(scans, layout.moved)
    _check_lists(scans, layout)
    _check_explained(scans, layout)
    pair_first_and_last(scans, layout.new_slot)
    return [rewrite(text, scan, layout.new_slot) for text, scan in zip(texts, scans, strict=True)]


def _check_lists(scans: list[Scan], layout: _Layout) -> None:
    """Refuses earlier answers that list things without a word for their images: "a dog, a cat"."""
    for turn, scan in zip(layout.example.turns, scans, strict=False):  # the turns come first
        is_list = turn.role == "assistant" and _LISTS.search(turn.text.strip())
        if is_list and layout.rule.text == "rewrite" and not (scan.mentions or scan.runs):
            raise CannotPermute("earlier_answers", turn.text.strip())


def _check_explained(scans: list[Scan], layout: _Layout) -> None:
    """Refuses rows whose text does not show what their columns and answers say."""
    rule, refers = layout.rule, any(scan.mentions or scan.runs for scan in scans)
    if rule.text == "keep":
        return
    if rule.answer in ("invariant", "reference") and not refers and _change_needed(layout):
        raise CannotPermute("unexplained_change")
    if rule.answer == "remap_letter" and not _has_letter(layout) and not scans[-1].mentions:
        raise CannotPermute("answer_not_a_letter", layout.example.answer)


def _parts(texts: tuple[str, ...], layout: _Layout) -> list[tuple[int, int, str]]:
    """The texts that an answer may consist of: those of the options, and the answer itself."""
    parts = [(o.field, o.start, texts[o.field][o.start : o.end]) for o in layout.options]
    return [*parts, (len(texts) - 1, 0, texts[-1])]


def _orders(texts: tuple[str, ...], layout: _Layout, reader: Reader) -> dict[int, list[Mention]]:
    """The numbers of all orders, by text, where the rule relabels orders."""
    parts = _parts(texts, layout)
    if layout.rule.answer != "relabel_order":
        said = [*(part for _, _, part in parts), *_said_before(layout.example)]
        for part in said if layout.rule.text == "rewrite" else ():
            if answers.looks_like_order(part, reader.num_slots):
                raise CannotPermute("undeclared_order", part.strip())
        return {}
    found: dict[int, dict[int, Mention]] = {}
    for field, offset, text, whole in [
        *((field, offset, text, True) for field, offset, text in parts),
        *((field, 0, text, False) for field, text in enumerate(texts)),
    ]:
        for mention in answers.find_orders(text, reader, whole, offset):
            found.setdefault(field, {})[mention.start] = mention
    if not found:
        raise CannotPermute("no_order")
    return {field: list(mentions.values()) for field, mentions in found.items()}


def _bare_references(
    texts: tuple[str, ...], layout: _Layout, reader: Reader
) -> dict[int, list[Mention]]:
    """References without a noun in options and answer; refuses those that the rule excludes."""
    rule, found = layout.rule, dict[int, list[Mention]]()
    declared = rule.answer == "reference"
    asked = (layout.example.question, *(turn.text for turn in layout.example.turns))
    if not declared and (rule.text == "keep" or not any(map(_ASKS_WHICH.search, asked))):
        return found
    for text in _earlier_parts(layout.example):
        for mention in answers.find_bare(text, reader, 0):
            if mention.slot in layout.moved:
                raise CannotPermute("ambiguous_answer", text.strip())
    for field, offset, text in _parts(texts, layout):
        for mention in answers.find_bare(text, reader, offset):
            if declared and 0 <= mention.slot < reader.num_slots:
                found.setdefault(field, []).append(mention)
            elif declared:
                raise CannotPermute("reference_out_of_range", text.strip())
            elif mention.slot in layout.moved:
                raise CannotPermute("ambiguous_answer", text.strip())
    return found


def _earlier_parts(example: Example) -> Iterator[str]:
    """The texts before the question that an answer may consist of: answers, and texts of options.

    Whether a bare number or ordinal among them names an image, the rule does not say.
    """
    for field, turn in enumerate(example.turns):
        if turn.role == "assistant":
            yield turn.text
        else:
            yield from (turn.text[o.start : o.end] for o in inline_options(turn.text, field))
