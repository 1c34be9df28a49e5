"""Reads which picture an answer names: ``Image 3``, ``the third image``, ``the left one``."""

import re
from dataclasses import dataclass

from perl_jax.rewards.words import CARDINALS, ORDINALS, PICTURE

_PLACE = (
    r"(?:leftmost|rightmost|left|right|top|bottom|middle|center|centre|upper|lower|last)"
    r"(?:[- ](?:left|right|center))?"
)
_ORDINAL = "|".join(ORDINALS)
_REFERENCE = re.compile(
    rf"(?:the\s+)?(?:"
    rf"(?P<noun>{PICTURE})s?\s*(?:no\.?\s*|number\s*|#\s*|[-_]\s*)?\(?(?P<number>[0-9]{{1,3}})\)?"
    r"|(?:#|no\.?|number)\s*(?P<numbered>[0-9]{1,3})"
    rf"|(?P<ordinal>{_ORDINAL})(?P<counted>\s+(?:{PICTURE}s?|one))?"
    rf"|(?P<place>{_PLACE})(?P<placed>\s+(?:{PICTURE}|one|side|corner))?"
    rf"|(?:{PICTURE}|one)\s+(?:on|at|in|to)\s+the\s+(?P<where>{_PLACE})(?:\s+side)?"
    r"|(?:on|at|in)\s+the\s+(?P<there>left|right|middle|center|centre|top|bottom)"
    r"|(?P<bare>[0-9]{1,3}))"
)
_WORDED = re.compile(rf"((?:the\s+)?{PICTURE}\s+)([a-z]+)")
_COUNTED = re.compile(rf"(?:the\s+)?(?:{_ORDINAL})\s+{PICTURE}s", re.IGNORECASE)
_BARE_ORDINAL = re.compile(rf"(?:the\s+)?(?:{_ORDINAL})", re.IGNORECASE)
_CENTER = re.compile("centre|middle")
_TOP, _BOTTOM = re.compile("upper"), re.compile("lower")


@dataclass(frozen=True)
class Reference:
    """A picture, by its number or its place.

    Attributes:
        picture: The number, or the words of the place.
        form: How it is said: ``named`` (by a noun or a sign), ``ordinal``, ``place`` or ``bare``.
    """

    picture: str
    form: str


def read_reference(words: str) -> Reference | None:
    """Returns the picture that words in small letters name; None if they name none, or more."""
    worded = _WORDED.fullmatch(words)
    if worded and worded[2] in CARDINALS:
        words = f"{worded[1]}{CARDINALS[worded[2]]}"
    found = _REFERENCE.fullmatch(words)
    if found is None:
        return None
    if number := found["number"] or found["numbered"]:
        return Reference(str(int(number)), "named")
    if found["ordinal"]:
        number = str(ORDINALS[found["ordinal"]])
        return Reference(number, "named" if found["counted"] else "ordinal")
    if place := found["place"] or found["where"] or found["there"]:
        place = _BOTTOM.sub("bottom", _TOP.sub("top", _CENTER.sub("center", place)))
        return Reference(place.replace("-", " "), "place")
    return Reference(str(int(found["bare"])), "bare")


def with_noun_of_last(items: tuple[str, ...]) -> tuple[str, ...]:
    """The items of "the first and third images" as the first image and third images.

    So too where the noun is left out: several ordinals are those of pictures.
    """
    bare = len(items) > 1 and all(map(_BARE_ORDINAL.fullmatch, items))
    if not bare and not _COUNTED.fullmatch(items[-1]):
        return items
    return tuple(item + " image" if _BARE_ORDINAL.fullmatch(item) else item for item in items)


def same_picture(given: Reference, true: Reference) -> bool:
    """Whether two references name one picture; a bare number or ordinal needs the other's noun."""
    return given.picture == true.picture and (
        given.form == true.form or "named" in (given.form, true.form)
    )
