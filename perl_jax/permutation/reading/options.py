"""Reads the options of a multiple-choice example, and the image that each one stands for."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from perl_jax.permutation.reading.placeholders import FieldSpan, Placeholder, mask
from perl_jax.permutation.reading.references import read_references
from perl_jax.permutation.reading.scan import Reader
from perl_jax.permutation.refusal import CannotPermute
from perl_jax.types import Example

_LABEL = re.compile(r"\s*(?:\((?P<a>[A-Z])\)|(?P<b>[A-Z])[.):])")
# A label inside a question: "(A)" anywhere, other forms where a line begins or an image follows.
_STYLES = (
    re.compile(r"\((?P<letter>[A-Z])\)"),
    re.compile(r"(?m)^[ \t]*(?P<letter>[A-Z])[.):]"),
    re.compile(r"(?<![\w(.])(?P<letter>[A-Z])[.):]\s*(?=<\|?image)"),
)


@dataclass(frozen=True)
class Option(FieldSpan):
    """One choice: the characters of a field that follow its label, its letter, and its label."""

    letter: str
    label_start: int

    def shows(self, place: Placeholder) -> bool:
        """Whether a placeholder stands within the option."""
        return place.field == self.field and self.start <= place.start < self.end


def fields_of(example: Example) -> tuple[str, ...]:
    """The texts in which images may stand, in reading order: turns, question, options."""
    return (*(turn.text for turn in example.turns), example.question, *example.options)


def question_field(example: Example) -> int:
    """The number of the question among the fields; the options follow it."""
    return len(example.turns)


def find_options(example: Example) -> tuple[Option, ...]:
    """The options of an example: its ``options``, or else the lettered list in its question.

    Raises:
        CannotPermute: ``options_ambiguous`` if letters repeat or two lists could be meant.
    """
    field = question_field(example)
    options = _listed(example) if example.options else inline_options(example.question, field)
    letters = [option.letter for option in options]
    if len(set(letters)) != len(letters):
        raise CannotPermute("options_ambiguous", " ".join(letters))
    return options


def _listed(example: Example) -> tuple[Option, ...]:
    options = []
    for index, text in enumerate(example.options):
        label = _LABEL.match(text)
        letter = (label["a"] or label["b"]) if label else chr(ord("A") + index)
        field = question_field(example) + 1 + index
        options.append(Option(label.end() if label else 0, len(text), field, letter, 0))
    return tuple(options)


def inline_options(question: str, field: int) -> tuple[Option, ...]:
    """The last list of labels A, B, C, ... in a question, which is the field of that number.

    Raises:
        CannotPermute: ``options_ambiguous`` if two lists could be meant.
    """
    found = [labels for style in _STYLES if len(labels := _last_run(style, question)) > 1]
    if not found:
        return ()
    if len({tuple(label.start("letter") for label in labels) for labels in found}) > 1:
        raise CannotPermute("options_ambiguous", "two lists of options in the question")
    labels = found[0]
    # The last option ends with its line, or with the first line that holds text.
    last = re.compile(r"\s*[^\n]*").match(question, labels[-1].end())
    ends = [label.start() for label in labels[1:]] + [last.end() if last else len(question)]
    return tuple(
        Option(label.end(), end, field, label["letter"], label.start())
        for label, end in zip(labels, ends, strict=True)
    )


def _last_run(style: re.Pattern[str], question: str) -> list[re.Match[str]]:
    run: list[re.Match[str]] = []
    for label in style.finditer(question):
        if label["letter"] == "A":
            run = [label]
        elif run and label["letter"] == chr(ord("A") + len(run)):
            run.append(label)
        elif run:
            raise CannotPermute("options_ambiguous", f"{label[0].strip()} is out of order")
    return run


def option_slots(
    example: Example, options: Sequence[Option], placeholders: Sequence[Placeholder], reader: Reader
) -> dict[str, int]:
    """The slot that each letter stands for, by showing its image or by naming it.

    An option shows an image when a placeholder is all that it holds; it names one when a reference
    is all that distinguishes it from the other naming options. The others ("None of the above")
    stand for no image.

    Raises:
        CannotPermute: ``options_ambiguous`` if an option mixes an image with words, shows several,
            or if several options stand for one slot.
    """
    slots = _shown(example, options, placeholders) or _named(example, options, reader)
    if len(set(slots.values())) != len(slots):
        raise CannotPermute("options_ambiguous", "two options stand for one image")
    return slots


def _shown(
    example: Example, options: Sequence[Option], placeholders: Sequence[Placeholder]
) -> dict[str, int]:
    fields, slots = fields_of(example), {}
    for option in options:
        places = [place for place in placeholders if option.shows(place)]
        if not places:
            continue
        text = fields[option.field]
        rest = mask(text, places)[option.start : option.end].strip(" \n\t\0.,;")
        if rest or len(places) > 1:
            raise CannotPermute("options_ambiguous", text[option.start : option.end].strip())
        slots[option.letter] = places[0].slot
    return slots


def _named(example: Example, options: Sequence[Option], reader: Reader) -> dict[str, int]:
    fields = fields_of(example)
    slots: dict[str, int] = {}
    templates = set()
    for option in options:
        text = fields[option.field][option.start : option.end]
        scan = read_references(text, reader)
        if len(scan.mentions) == 1 and not scan.runs and not scan.doubts:
            mention = scan.mentions[0]
            slots[option.letter] = mention.slot
            templates.add((text[: mention.start] + text[mention.end :]).strip(" .\n").lower())
    return slots if len(slots) > 1 and len(templates) < 2 else {}
