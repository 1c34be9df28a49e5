"""Splits a text into words and marks, and finds those that could bear on an order of images."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from perl_jax.permutation.reading.placeholders import Span
from perl_jax.permutation.reading.scan import Reader
from perl_jax.permutation.reading.words import CARDINALS, LATIN, ORDINALS

Kind = Literal["number", "count", "ordinal", "side", "level", "letter", "sequence", "script"]
"""Digits, number words, ordinals, left and right, top and bottom, letters, words of time and roles,
and letters of another script."""

_TOKEN = re.compile(
    r"\d+(?:[.,:]\d+)*(?:(?:st|nd|rd|th)\b)?|[^\W\d_]+(?:['\u2019][^\W\d_]+)*|[^\s\w\0\a]",
    re.IGNORECASE,
)
_ENCLOSED = re.compile(r"[\u2160-\u2188\u2460-\u24ff\u2776-\u2793\u3280-\u3289]")  # as in "\u2461"
_ROMAN = ("ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x")
_FROM_END = ("last", "final", "penultimate", "antepenultimate")
_EARLY = ("initial", "foremost", "forth")
_SIDES = (
    "left", "right", "leftmost", "rightmost", "lefthand", "righthand", "middle", "center", "centre",
    "central",
)  # fmt: skip
_LEVELS = ("top", "bottom", "upper", "lower", "topmost", "bottommost", "uppermost", "lowermost")
_SEQUENCE = """
next following previous previously preceding prior subsequent subsequently former latter earlier
later before after afterward afterwards then source target original edit edits edited modified
altered change changes changed changing transform transforms transformed evolve evolves evolved
become becomes became video videos clip clips movie film footage storyboard camera above below
start starting input output removed added missing deleted inserted erased replaced disappeared
disappear disappears vanished vanish appeared emerged emerge increase increases increased decrease
decreases decreased shrink shrinks shrank shrunk grow grows grew grown worsened improved expanded
now already anymore longer elapsed initially originally eventually finally ultimately formerly
meanwhile firstly secondly thirdly fourthly lastly newly follow follows followed precede precedes
preceded
"""
_KINDS: dict[str, Kind] = {
    **dict.fromkeys((*_FROM_END, *_EARLY), "ordinal"),
    **dict.fromkeys(_SIDES, "side"),
    **dict.fromkeys(_LEVELS, "level"),
    **dict.fromkeys(_SEQUENCE.split(), "sequence"),
}


@dataclass(frozen=True)
class Token(Span):
    """A word, a number or a mark of a text, in lower case."""

    word: str


def tokens(text: str) -> Iterator[Token]:
    """The words and marks of a text; what is masked has none."""
    for match in _TOKEN.finditer(text):
        yield Token(*match.span(), match[0].lower())


def kind_of(token: Token, text: str, reader: Reader) -> Kind | None:
    """How a token of a text could bear on the order of the images; None if it could not."""
    word = token.word
    if word[0].isdecimal():
        return _kind_of_digits(word, reader)
    if word in CARDINALS:
        return "count" if CARDINALS.index(word) < reader.num_slots else None
    for listed in (ORDINALS, LATIN):
        if word in listed:
            return "ordinal" if listed.index(word) < reader.num_slots else None
    if word in ("middle", "center", "centre", "central"):
        return "side" if reader.num_slots > 2 else None
    if word in _KINDS:
        return _KINDS[word]
    if len(word) == 1 and word.isalpha() and word.isascii():
        return "letter" if _stands_alone(token, text) and _is_name(word, reader) else None
    if word in _ROMAN:
        return "letter" if _ROMAN.index(word) + 2 <= reader.num_slots else None
    if not word.isascii() and _ENCLOSED.search(word):
        return "number"
    return "script" if _is_of_another_script(word) else None


def _kind_of_digits(word: str, reader: Reader) -> Kind | None:
    if word.endswith(("st", "nd", "rd", "th")):
        return "ordinal" if not word[:-2].isdigit() or int(word[:-2]) <= reader.num_slots else None
    if not word.isascii():
        return "number"
    # Images may be counted from 0 or from 1; no image has the number 42 or 2.5.
    return "number" if word.isdigit() and int(word) <= reader.num_slots else None


def _stands_alone(token: Token, text: str) -> bool:
    """Whether a letter is a word of its own, unlike that of "T-shirt", "B2" or "e.g."."""
    before, after = text[max(0, token.start - 2) : token.start], text[token.end : token.end + 2]
    if re.match(r"\w|-\w|\.[^\W\d_]", after) or re.search(r"[^\W_]$|[^\W\d_]\.$", before):
        return False
    return not re.search(r"[\u00b0\\]$", before)


def _is_name(letter: str, reader: Reader) -> bool:
    sides = reader.num_slots <= 3 and letter in "lr"  # "L: a dog, R: a cat"
    in_range = ord(letter) - ord("a") < reader.num_slots
    return in_range or sides or letter.upper() in reader.names


def _is_of_another_script(word: str) -> bool:
    # Latin letters with their accents end at U+024F; a Greek letter is a symbol of a formula.
    if word.isascii() or (len(word) == 1 and 0x370 <= ord(word) <= 0x3FF):
        return False
    return any(letter.isalpha() and ord(letter) > 0x24F for letter in word)
