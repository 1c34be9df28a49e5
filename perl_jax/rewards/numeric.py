r"""Reads plain numbers exactly: ``-1,234.5``, ``\frac{1}{2}``, ``50%``, ``3 \text{ cm}``."""

import re
from dataclasses import dataclass
from fractions import Fraction

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.[0-9]*)?|\.[0-9]+)"
_NUMBER = re.compile(rf"{_DECIMAL}")
_SCIENTIFIC = re.compile(
    rf"({_DECIMAL})(?:[eE]([+-]?[0-9]{{1,3}})|(?:\\times|\\cdot|\*)10\^(?:\{{([+-]?[0-9]{{1,3}})\}}|([0-9])))"
)
_MIXED = re.compile(r"(?<![0-9.,])([0-9]+) ([0-9]+)/([0-9]+)$")
_APART = re.compile(r"[0-9.] +[0-9.]|, ")
_RATIO = re.compile(rf"({_DECIMAL})/({_DECIMAL})")
_FRACTION = re.compile(
    rf"([0-9]*)\\frac(?:\{{(-?{_DECIMAL})\}}\{{(-?{_DECIMAL})\}}|([0-9])([0-9]))"
)
_EXPONENT = r"(?:\^(?:[0-9]|\{-?[0-9]\}))?"
_TEXT_UNIT = re.compile(rf"\\(?:text|mathrm|mbox|textrm)\{{([^{{}}]{{1,40}})\}}({_EXPONENT})$")
# Single letters are not here: 5m is a product as often as a length.
_WORD_UNIT = re.compile(
    r"(?<=[0-9}. ])((?:sq(?:uare)?\.? )?(?:[cmk]m|kg|mg|ml|ft|feet|foot|inch(?:es)?|yards?|miles?"
    r"|(?:centi|milli|kilo)?(?:met(?:er|re)|gram)s?|lit(?:er|re)s?|degrees?|units?|seconds?|sec"
    r"|minutes?|min|hours?|days?|weeks?|months?|years?|dollars?|cents?|points?))"
    rf"({_EXPONENT})$"
)
_DEGREES = re.compile(r"\^(?:\{\\circ\}|\\circ)$")


@dataclass(frozen=True)
class Tolerance:
    """The most that a number may differ from the true one: ``max(absolute, relative * |true|)``."""

    absolute: float = 0.0
    relative: float = 0.0

    def allows(self, value: Fraction, true: Fraction) -> bool:
        """Whether ``value`` is close enough to ``true``."""
        # In decimal, as written: 97 is within 0.03 of 100, but the float 0.03 is a little less.
        bound = max(Fraction(str(self.absolute)), Fraction(str(self.relative)) * abs(true))
        return abs(value - true) <= bound


@dataclass(frozen=True)
class Number:
    """A plain number, whether it has a percent sign, and its unit."""

    value: Fraction
    percent: bool = False
    unit: str = ""


def read_number(text: str) -> Number | None:
    """Returns the number that a cleaned text is; None if it is not a plain number.

    Only digits are read, never an expression, and exponents have at most three digits: no text
    makes this slow.
    """
    text, unit = _split_unit(text.strip())
    # 1 1/2 is a mixed number; in any other place a space between digits separates two numbers.
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", text)
    if _APART.search(text):
        return None
    text = text.replace(" ", "").removeprefix("$")
    percent = text.endswith("%")
    text = text.removesuffix("%")
    while text.startswith("(") and text.endswith(")") and text.count("(") == 1:
        text = text[1:-1]
    sign = -1 if text.startswith("-") else 1
    value = _read_unsigned(text[1:] if text[:1] in ("-", "+") else text)
    return None if value is None else Number(sign * value, percent, unit)


def same_number(number: Number, true: Number, tolerance: Tolerance) -> bool:
    """Whether a number is the true one.

    A percent sign on one side only may be read either way: 50% is 0.5, and also answers 50 to a
    question for a percentage (the published grader drops the sign). A unit on one side only is
    dropped; two units must agree.
    """
    if number.unit and true.unit and number.unit != true.unit:
        return False
    values = [number.value]
    if number.percent and not true.percent:
        values.append(number.value / 100)
    if true.percent and not number.percent:
        values.append(number.value * 100)
    return any(tolerance.allows(value, true.value) for value in values)


def _read_unsigned(text: str) -> Fraction | None:
    if _NUMBER.fullmatch(text):
        return _decimal(text)
    if match := _SCIENTIFIC.fullmatch(text):
        exponent = int(match[2] or match[3] or match[4])
        return _decimal(match[1]) * Fraction(10) ** exponent
    if match := _RATIO.fullmatch(text):
        return _ratio(match[1], match[2])
    if match := _FRACTION.fullmatch(text):
        whole, top, bottom, short_top, short_bottom = match.groups()
        value = _ratio(top or short_top, bottom or short_bottom)
        if value is None or (whole and value < 0):
            return None
        return int(whole or "0") + value
    return None


def _decimal(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))


def _ratio(top: str, bottom: str) -> Fraction | None:
    return _decimal(top) / _decimal(bottom) if _decimal(bottom) else None


def _split_unit(text: str) -> tuple[str, str]:
    if match := _DEGREES.search(text):
        return text[: match.start()], "degree"
    match = _TEXT_UNIT.search(text) or _WORD_UNIT.search(text)
    if match is None or match.start() == 0:
        return text, ""
    name = " ".join(match[1].casefold().replace(".", "").split())
    power = match[2].strip("^{}")
    singular = name[:-1] if len(name) > 2 and name.endswith("s") else name
    return text[: match.start()], f"{singular}^{power}" if power else singular
