"""Reads what is written in digits but never computed: dates, times, ranges, scores, versions."""

import re
from dataclasses import dataclass
from fractions import Fraction

from perl_jax.rewards.dates import read_date, read_time

_NUMBER = r"[$€£]?\s?[0-9]+(?:[.,][0-9]+)*\s?%?"
_RANGE = re.compile(
    rf"-?\s*{_NUMBER}(?:\s*-{{1,3}}\s*{_NUMBER})+|{_NUMBER}\s+to\s+{_NUMBER}", re.IGNORECASE
)
_RANGE_IN_UNITS = re.compile(
    rf"{_NUMBER}(?P<unit>[A-Za-z]{{1,2}})(?:\s*-{{1,3}}\s*{_NUMBER}(?P=unit))+"
)
_JOINT = re.compile(r"\s*-{1,3}\s*|\s+to\s+", re.IGNORECASE)
_VERSION = re.compile(r"[A-Za-z]{1,10}\s?[0-9]+(?:\.[0-9]+)+|[0-9]+(?:\.[0-9]+){2,}")
_RATIO_IN_WORDS = re.compile(r"([0-9.]+)\s+(?:to|is to)\s+([0-9.]+)")
_FRACTION = re.compile(r"[0-9]+\s*/\s*[0-9]+|\\frac\s*\{[0-9]+\}\s*\{[0-9]+\}")
_DECIMAL = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_LONG_RATIO = re.compile(r"[0-9.]+(?:\s*:\s*[0-9.]+){2,9}")
_LONGEST = 60
_PLAIN = re.compile(r"[0-9.,\s]+")
_RATIO = re.compile(r"[0-9.]+\s*:\s*[0-9.]+")


@dataclass(frozen=True)
class Written:
    """A text that is compared part by part.

    Attributes:
        kind: ``time``, ``times`` (from one to another), ``date``, ``range`` or ``version``.
        parts: What must agree.
    """

    kind: str
    parts: tuple[str, ...]


def read_written(text: str) -> Written | None:
    """Returns a cleaned text as a date, a time or a range; None if it is none.

    Ranges are all numbers with a hyphen between them: years, scores, codes. As expressions,
    5-7 would be -2, and 2024-03-01 the number 2020.
    """
    text = text.strip()
    if time := read_time(text):
        return Written("time", time)
    if date := read_date(text):
        return Written("date", date)
    ends = [read_time(end) for end in _JOINT.split(text)] if len(text) < _LONGEST else []
    if len(ends) == 2 and all(ends):
        return Written("times", tuple(part for end in ends if end for part in end))
    if _VERSION.fullmatch(text):
        return Written("version", (text.replace(" ", "").casefold(),))
    if _RANGE.fullmatch(text) or _RANGE_IN_UNITS.fullmatch(text):
        minus = "-" if text.startswith("-") else ""
        parts = _JOINT.split(text.removeprefix("-").strip())
        return Written("range", (minus, *(part.replace(" ", "") for part in parts)))
    return None


def compare_written(given: str, true: str, *, alone: bool) -> bool | None:
    """Whether two texts are the same date, time or range; None if neither has to be one.

    A side of an equation, which is not ``alone``, may be computed: 9 - 2 = 7. So may 2:10, if
    the truth is a ratio that is no time.
    """
    written, true_written = read_written(given), read_written(true)
    if _RATIO.fullmatch(given.strip()) and _PLAIN.fullmatch(true.strip()):
        return False  # 10:2 names two numbers, and neither is 5
    ratios = [_RATIO_IN_WORDS.sub(r"\1:\2", text.strip()) for text in (given, true)]
    if ratios != [given.strip(), true.strip()] and all(map(_RATIO.fullmatch, ratios)):
        return _parts(ratios[0]) == _parts(ratios[1])  # "3 to 4" and 3:4
    are_ratios = _LONG_RATIO.fullmatch(given.strip()) and _LONG_RATIO.fullmatch(true.strip())
    if are_ratios and written is None and true_written is None:
        return _proportional(_parts(given), _parts(true))
    if true_written is not None:
        return written == true_written
    is_ratio = _RATIO.fullmatch(true.strip()) or _FRACTION.fullmatch(true.strip())
    if written is None or not alone or (written.kind == "time" and is_ratio):
        return None
    return False


def _parts(ratio: str) -> list[str]:
    return [part.strip() for part in ratio.split(":")]


def _proportional(given: list[str], true: list[str]) -> bool:
    """Whether two ratios are the same but for a factor: 2:4:6 is 1:2:3."""
    if len(given) != len(true) or not all(map(_DECIMAL.fullmatch, given + true)):
        return False
    pairs = [(Fraction(one), Fraction(other)) for one, other in zip(given, true, strict=True)]
    first, true_first = pairs[0]
    return all(one * true_first == other * first for one, other in pairs)
