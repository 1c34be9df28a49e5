"""Changes answers to fit an order: letters that follow their images, orders, bare references."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perl_jax.permutation.reading.options import Option, fields_of, question_field
from perl_jax.permutation.reading.placeholders import MASK
from perl_jax.permutation.reading.scan import Mention, Reader
from perl_jax.permutation.reading.words import NOUNS, NUMBER, POSITION, SIDE
from perl_jax.permutation.refusal import CannotPermute
from perl_jax.types import Example

_LETTER = re.compile(
    r"(?P<before>\s*(?:(?i:(?:the\s+)?(?:(?:final|correct)\s+)?answer)(?:\s+is)?\s*:?\s*)?"
    r"(?:\\boxed\{)?\(?)(?P<letter>[A-Z])(?P<after>\)?\}?[.:]?\s*)"
)
_ITEM = rf"(?:(?:{'|'.join(NOUNS)})\s*)?\d{{1,2}}"
_ORDERS = (
    re.compile(rf"(?i)(?<![\w.]){_ITEM}(?:\s*(?:→|⇒|[-=]?>)\s*{_ITEM})+(?![\w.]\d)"),
    re.compile(rf"(?i)\[\s*{_ITEM}(?:\s*,\s*{_ITEM})+\s*\]"),
)
# The whole of an option or an answer may also be "2, 1, 3", "(2, 1, 3)" or "2-1-3".
_BARE_ORDER = re.compile(rf"(?i)\s*\(?\s*{_ITEM}(?:\s*(?:,|-|→|⇒|[-=]?>)\s*{_ITEM})+\s*\)?\.?\s*")
NO_ORDER = re.compile(
    r"(?i)\W*(?:none(?:\s+of\s+(?:the|these)(?:\s+\w+){0,2})?|(?:it\s+)?(?:cannot|can't|can\s+not)\s+be\s+(?:determined|told)"
    r"|no\s+(?:such\s+)?(?:order|option|answer)(?:\s+\w+){0,3}|unknown|unsure|i\s+don't\s+know)\W*"
)
"""An option or an answer that gives no order of the images: "None of the above"."""
ROMAN = re.compile(r"(?i)\W*[ivx]{1,4}\W*")
"""An answer that may be a Roman number: "I", "ii"."""
_ONES = re.compile(r"(?<=\w)\s+ones?\b", re.IGNORECASE)
_ONE_BARE = re.compile(rf"(?:{NUMBER}|{POSITION}|{SIDE})\b", re.IGNORECASE)
_PLAIN_ITEM = rf"(?:the\s+)?(?:{NUMBER}|{POSITION}|{SIDE})\b(?:\s+ones?)?"
# The marks and words that may stand around the number of an image: "#3", "(3)", "**number 3**".
_OPENS = r"(?:\\boxed\{|[(\[*\"'\u201c\s]|\b(?:number|no\.|nr\.)|#)*"
_CLOSES = r"[)\]*\"'\u201d}.\s]*"
_BARE = re.compile(
    rf"(?i){_OPENS}{_PLAIN_ITEM}{_CLOSES}"
    rf"(?:(?:,\s*and\b|,\s*or\b|,|&|\band\b|\bor\b){_OPENS}{_PLAIN_ITEM}{_CLOSES})*"
)


def letter_of(answer: str) -> str | None:
    """The letter that an answer consists of, as in "B", "(B)" or "Answer: B"; else None."""
    match = _LETTER.fullmatch(answer)
    return match["letter"] if match else None


def follow_letter(
    example: Example,
    options: Sequence[Option],
    letter_slots: Mapping[str, int],
    new_slot: Sequence[int],
    fixed: Sequence[str],
) -> str:
    """The answer whose letter stands, after the permutation, for the picture it stood for before.

    Raises:
        CannotPermute: ``answer_not_a_letter``, ``letter_outside_options``,
            ``moved_image_without_letter`` or ``duplicate_images``.
    """
    fields, question = fields_of(example), question_field(example)
    whole = {fields[o.field].strip(): o.letter for o in options if o.field > question}
    letter = whole.get(example.answer.strip()) or letter_of(example.answer)
    if letter is None:
        raise CannotPermute("answer_not_a_letter", example.answer)
    known = {option.letter for option in options} | set(letter_slots) | set(fixed)
    if letter not in known:
        raise CannotPermute("letter_outside_options", letter)
    lettered = set(letter_slots.values())
    for slot, new in enumerate(new_slot):
        if slot != new and not {slot, new} <= lettered:
            raise CannotPermute("moved_image_without_letter", f"slot {slot}")
    if letter not in letter_slots:  # "None of the above" stands for no image
        return example.answer
    slot = letter_slots[letter]
    for other in lettered - {slot}:
        if same_image(example.images[slot], example.images[other]):
            raise CannotPermute("duplicate_images", f"slots {slot} and {other}")
    new_letter = {s: name for name, s in letter_slots.items()}[new_slot[slot]]
    if example.answer.strip() in whole:
        return {name: text for text, name in whole.items()}[new_letter]
    match = _LETTER.fullmatch(example.answer)
    assert match is not None
    return match["before"] + new_letter + match["after"]


def same_image(a: Any, b: Any) -> bool:
    """Whether two images are the same object, array, bytes, path or picture."""
    if a is b:
        return True
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same_image(a[key], b[key]) for key in a)
    return type(a) is type(b) and bool(a == b)


def find_orders(text: str, reader: Reader, whole: bool, offset: int = 0) -> list[Mention]:
    """The numbers of every order of images in a text that begins at ``offset``, as mentions.

    With ``whole``, the whole text may also be an order without arrows or brackets.

    Raises:
        CannotPermute: ``malformed_order`` if an order repeats an image or names one that does not
            exist.
    """
    bare = _BARE_ORDER.fullmatch(text) if whole else None
    mentions = []
    for match in [bare] if bare else [m for order in _ORDERS for m in order.finditer(text)]:
        numbers = list(re.finditer(r"\d+", match[0]))
        slots = [int(number[0]) - reader.base for number in numbers]
        if len(set(slots)) != len(slots) or not set(slots) <= set(range(reader.num_slots)):
            raise CannotPermute("malformed_order", match[0].strip())
        start = match.start() + offset
        mentions += [
            Mention(start + number.start(), start + number.end(), "digits", slot)
            for number, slot in zip(numbers, slots, strict=True)
        ]
    return mentions


def has_arrows(text: str) -> bool:
    """Whether a text holds an order with arrows, which can be nothing else: "2→1→3"."""
    return _ORDERS[0].search(text) is not None


def looks_like_order(text: str, num_slots: int) -> bool:
    """Whether the whole text orders all images, counted from 0 or from 1."""
    if not (_BARE_ORDER.fullmatch(text) or any(order.fullmatch(text.strip()) for order in _ORDERS)):
        return False
    numbers = sorted(int(number) for number in re.findall(r"\d+", text))
    return numbers in (list(range(num_slots)), list(range(1, num_slots + 1)))


def find_name(text: str, reader: Reader, offset: int) -> list[Mention]:
    """The letter of a caption that is the whole text, which begins at ``offset``: "B", "(B)"."""
    match = _LETTER.fullmatch(text)
    if match is None or match["letter"] not in reader.names:
        return []
    start = offset + match.start("letter")
    return [Mention(start, start + 1, "name", reader.names.index(match["letter"]))]


def find_bare(text: str, reader: Reader, offset: int) -> list[Mention]:
    """References without a noun that are the whole text: "2", "the left one", "1 and 3".

    Their slots may lie outside: then they are counts, or slips. The text begins at ``offset``.
    """
    if _BARE.fullmatch(text) is None:
        return []
    return [
        Mention(match.start() + offset, match.end() + offset, *reading)
        for match in _ONE_BARE.finditer(_ONES.sub(lambda one: MASK * len(one[0]), text))
        if (reading := reader.read(match[0]))
    ]
