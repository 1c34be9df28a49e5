"""Reads whole numbers and fractions in words: ``two hundred and fifty``, ``two-thirds``."""

import re
from fractions import Fraction

from perl_jax.rewards.words import CARDINALS

_UNIT = "one|two|three|four|five|six|seven|eight|nine"
_BELOW_TWENTY = "|".join(
    sorted((word for word, value in CARDINALS.items() if 10 <= value < 20), key=len, reverse=True)
)
_TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
# Below a thousand; at least one part must be there.
_GROUP = re.compile(
    rf"(?:(?P<hundreds>{_UNIT}|an?)[ -]hundred"
    rf"(?:(?:\s+and)?[ -]+(?=(?:{_TENS}|{_BELOW_TWENTY}|{_UNIT})(?![a-z])))?)?"
    rf"(?:(?P<tens>{_TENS})(?:[ -](?P<ones>{_UNIT}))?|(?P<teens>{_BELOW_TWENTY})"
    rf"|(?P<unit>{_UNIT}))?(?![A-Za-z-])",
    re.IGNORECASE,
)
_SCALE = re.compile(r"[ -](thousand|million|billion|trillion)(?![A-Za-z-])", re.IGNORECASE)
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_JOINT = re.compile(r",?\s+(?:and\s+)?", re.IGNORECASE)
_PARTS = {"half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6,
          "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10}  # fmt: skip
_FRACTION = re.compile(
    rf"(?:(?P<count>an?|{_UNIT})[- ])?(?P<part>{'|'.join(_PARTS)})s?", re.IGNORECASE
)
_AND_FRACTION = re.compile(
    r"(?P<whole>[0-9]{1,9}|[A-Za-z -]{3,40}?)\s+and\s+"
    rf"(?P<part>(?:an?|{_UNIT})[- ][a-z]+)(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)


def read_whole(text: str) -> tuple[int, int] | None:
    """The whole number that a text begins with in words, and where it ends; None without one.

    Groups must fall in size, so that "five six" and "two million million" are no numbers.
    """
    if re.match(r"zero(?![A-Za-z-])", text, re.IGNORECASE):
        return 0, 4
    total, end, smallest, start = 0, 0, 10**15, 0
    while (found := _GROUP.match(text, start)) and found.end() > start:
        value = _group(found)
        scale = _SCALE.match(text, found.end())
        size = _SCALES[scale[1].casefold()] if scale else 1
        if size >= smallest:
            return None
        total, smallest = total + value * size, size
        end = (scale or found).end()
        joint = _JOINT.match(text, end)
        if size == 1 or joint is None:
            break
        start = joint.end()
    rest = _GROUP.match(text, end + 1) if end else None
    # "Five six" is two numbers.
    if not end or (rest and rest.end() > end + 1 and text[end : end + 1] in (" ", "-")):
        return None
    return total, end


def read_fraction(text: str) -> Fraction | None:
    """The fraction that all of a text is in words: ``half``, ``two-thirds``; else None."""
    found = _FRACTION.fullmatch(text)
    if found is None or not (found["count"] or found["part"].casefold() == "half"):
        return None
    count = (found["count"] or "one").casefold()
    return Fraction(CARDINALS.get(count, 1), _PARTS[found["part"].casefold()])


def in_digits(text: str) -> str:
    """A text with the number in words that it begins with in digits: ``5 cats``."""
    if fraction := read_fraction(text):
        return f"{fraction.numerator}/{fraction.denominator}"
    if (mixed := _AND_FRACTION.fullmatch(text)) and (part := read_fraction(mixed["part"])):
        whole = mixed["whole"].strip()
        value = (int(whole), len(whole)) if whole.isdecimal() else read_whole(whole)
        if value and value[1] == len(whole) and part < 1:
            return f"{value[0]} {part.numerator}/{part.denominator}{mixed['rest']}"
    whole_number = read_whole(text)
    return text if whole_number is None else f"{whole_number[0]}{text[whole_number[1] :]}"


def _group(found: re.Match[str]) -> int:
    part = {
        name: CARDINALS.get((word or "").casefold(), 0) for name, word in found.groupdict().items()
    }
    hundreds = 1 if (found["hundreds"] or "").casefold() in ("a", "an") else part["hundreds"]
    return 100 * hundreds + part["tens"] + part["ones"] + part["teens"] + part["unit"]
