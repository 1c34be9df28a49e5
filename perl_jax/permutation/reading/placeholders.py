"""Finds the places of images in the text, and the captions that label these places.

An image placeholder, plain (``<image>``) or tagged (``<image 1>``, ``<image1>``, ``<image_1>``,
``<|image_1|>``), marks a place. Places stay where they are while images move: slot j keeps its
placeholder and shows another image. A tag's number is the number of its slot, counted from 1, and
is therefore never rewritten. A caption such as ``Image-1: <image>`` labels the place and stays too.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from perl_jax.permutation.reading.words import NUMBER, POSITION, compiled, read_token
from perl_jax.permutation.refusal import CannotPermute

PLAIN = re.compile(r"<image>", re.IGNORECASE)
TAG = re.compile(r"<(?P<bar>\|?)image[ _-]?(?P<number>\d+)(?P=bar)>", re.IGNORECASE)
MASK = "\0"
"""Stands in for every character of a placeholder or caption while a text is searched."""
UNDERSTOOD = "\a"
"""Stands in for every character of a reference that has been read."""

# What may stand between two placeholders of one list: then no sentence depends on their places.
_LIST = re.compile(
    r"(?i)(?:\s|[,;:.&/|()\[\]\-\u2013•*\"'\0]|\b(?:and|or|vs|versus|options?|choices|candidates)\b"
    r"|\(?\b[A-Z][.:)])*"
)
_ROLE = re.compile(
    r"(?i)\b(?:reference|query|source|target|test|template|original|edited|before|after|start|starting"
    r"|end|ending)(?:\s+(?:image|picture|photo|frame))?\s*[:=-]?\s*$"
)
_LABEL = (
    rf"(?P<name>(?:the\s+)?\b(?:NOUN[ \t]*[-_#]?[ \t]*(?P<number>{NUMBER}|(?-i:[A-Z]))\b"
    rf"|(?P<ordinal>{POSITION})\s+NOUN\b))"
)
_BEFORE = rf"{_LABEL}(?P<mark>\s*[\])]?\s*[:=-]?)\s*$"
_AFTER = rf"[ \t]*\n?[ \t]*(?P<mark>[(\[])\s*{_LABEL}\s*[)\]]"


@dataclass(frozen=True)
class Span:
    """Characters ``start:end`` of a text."""

    start: int
    end: int


@dataclass(frozen=True)
class FieldSpan(Span):
    """Characters of one of an example's fields."""

    field: int


@dataclass(frozen=True)
class Placeholder(FieldSpan):
    """One place of an image: it shows the image of ``slot``."""

    slot: int


@dataclass(frozen=True)
class Captions:
    """The captions of placeholders, and the letters that name slots."""

    spans: tuple[FieldSpan, ...] = ()
    names: tuple[str, ...] = ()  # one a slot, where captions are letters


def find_placeholders(fields: Sequence[str], num_images: int) -> tuple[Placeholder, ...]:
    """Finds the placeholders of a question and its options, in reading order.

    Where there are fewer plain placeholders than images, the images without one come first, as
    Mantis-Eval and BLINK are prompted.

    Raises:
        CannotPermute: ``placeholder_mismatch`` if they do not fit the images.
    """
    plain = [(f, match) for f, text in enumerate(fields) for match in PLAIN.finditer(text)]
    tags = [(f, match) for f, text in enumerate(fields) for match in TAG.finditer(text)]
    if plain and tags:
        raise CannotPermute("placeholder_mismatch", "plain and numbered placeholders are mixed")
    if len(plain) > num_images:
        detail = f"{len(plain)} placeholders, {num_images} images"
        raise CannotPermute("placeholder_mismatch", detail)
    slots = [int(match["number"]) - 1 for _, match in tags]
    for slot in slots:
        if not 0 <= slot < num_images:
            raise CannotPermute("placeholder_mismatch", f"tag {slot + 1} of {num_images} images")
    numbered = zip(plain or tags, slots or range(num_images - len(plain), num_images), strict=True)
    return tuple(Placeholder(*match.span(), field, slot) for (field, match), slot in numbered)


def mask(text: str, spans: Iterable[Span], character: str = MASK) -> str:
    """The text with every character of the spans replaced; its length stays."""
    parts, end = [], 0
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        start = max(span.start, end)
        parts += [text[end:start], character * (span.end - start)]
        end = max(end, span.end)
    return "".join([*parts, text[end:]])


def find_captions(
    fields: Sequence[str],
    placeholders: Sequence[Placeholder],
    moved: Collection[int],
    nouns: tuple[str, ...],
    base: int,
) -> Captions:
    """Finds the captions beside placeholders: all moved ones have one, or none counts as one.

    Raises:
        CannotPermute: ``caption_mismatch`` if captions contradict the slots or are incomplete.
    """
    found = _beside(fields, placeholders, nouns)
    complete = [
        captions
        for captions in found
        if captions and all(p in captions for p in placeholders if p.slot in moved)
    ]
    for captions in complete:
        names = _agreement(captions, base)
        if names is not None:
            spans = (FieldSpan(*match.span("name"), p.field) for p, match in captions.items())
            return Captions(tuple(spans), names)
    explicit = [
        match["name"]
        for captions in found
        for p, match in captions.items()
        if p.slot in moved and (match["mark"] or "").strip()
    ]
    if complete or explicit:
        detail = explicit or [match["name"] for match in complete[0].values()]
        raise CannotPermute("caption_mismatch", ", ".join(detail))
    return Captions()


def check_places(
    fields: Sequence[str],
    placeholders: Sequence[Placeholder],
    captions: Captions,
    moved: Collection[int],
) -> None:
    """Raises CannotPermute where the place of a moved image matters to the sentence around it."""
    slots = [place.slot for place in placeholders]
    if any(slots.count(slot) > 1 for slot in moved):
        raise CannotPermute("repeated_tag")
    if slots != sorted(slots):
        raise CannotPermute("tags_out_of_order")
    for index, text in enumerate(fields):
        text = mask(text, [s for s in (*placeholders, *captions.spans) if s.field == index])
        places = [p for p in placeholders if p.field == index and p.slot in moved]
        for left, right in pairwise(places):
            between = text[left.end : right.start]
            if not _LIST.fullmatch(between):
                raise CannotPermute("inline_placeholder", between.strip())
        if places and (role := _ROLE.search(text[: places[0].start])):
            raise CannotPermute("inline_placeholder", role[0].strip())


def _beside(
    fields: Sequence[str], placeholders: Sequence[Placeholder], nouns: tuple[str, ...]
) -> tuple[dict[Placeholder, re.Match[str]], dict[Placeholder, re.Match[str]]]:
    """The possible captions before, and the possible captions after, each placeholder."""
    before, after = compiled(_BEFORE, nouns), compiled(_AFTER, nouns)
    earlier: dict[Placeholder, re.Match[str]] = {}
    later: dict[Placeholder, re.Match[str]] = {}
    for place in placeholders:
        text = fields[place.field]
        others = [p for p in placeholders if p.field == place.field and p != place]
        low = max((p.end for p in others if p.end <= place.start), default=0)
        high = min((p.start for p in others if p.start >= place.end), default=len(text))
        if match := before.search(text[: place.start], low):
            earlier[place] = match
        if match := after.match(text, place.end, high):
            later[place] = match
    return earlier, later


def _agreement(captions: dict[Placeholder, re.Match[str]], base: int) -> tuple[str, ...] | None:
    """The letters that captions give to slots (none for numbers), or None if they disagree."""
    letters: dict[int, str] = {}
    for place, match in captions.items():
        token = match["number"] or match["ordinal"]
        if re.fullmatch("[A-Z]", token):
            letters[place.slot] = token
        elif (reading := read_token(token, len(captions), base)) and reading[1] != place.slot:
            return None
    if not letters:
        return ()
    if len(letters) != len(captions) or len(set(letters.values())) != len(letters):
        return None
    return tuple(letters.get(slot, "") for slot in range(max(letters) + 1))
