r"""Reads plain numbers exactly: ``-1,234.5``, ``\frac{1}{2}``, ``50%``, ``3 \text{ cm}``."""

import re
from dataclasses import dataclass
from fractions import Fraction

from perl_jax.rewards.extract import MAX_CHARACTERS
from perl_jax.rewards.number_words import in_digits
from perl_jax.rewards.units import (
    DECADE,
    Unit,
    counted,
    may_be_left_out,
    priced,
    read_unit,
    same_dimension,
)
from perl_jax.rewards.words import SCALES, is_counted_noun

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.[0-9]*)?|\.[0-9]+)"
_FRACTION = (
    rf"\\frac\s*(?:\{{\s*(?P<top>-?{_DECIMAL})\s*\}}\s*\{{\s*(?P<bottom>-?{_DECIMAL})\s*\}}"
    r"|(?P<short>[0-9][0-9]))"
)
# Alternatives that start alike stand with the longer one first.
_VALUE = re.compile(
    rf"(?P<mixed>[0-9]+) +(?:and +)?(?P<over>[0-9]+)\s*/\s*(?P<under>[0-9]+)"
    rf"|(?P<whole>[0-9]*)\s*{_FRACTION}"
    rf"|(?P<factor>{_DECIMAL})(?:[eE](?P<e>[+-]?[0-9]{{1,3}})(?![0-9A-Za-z.])"
    r"|\s*(?:\\times|\\cdot|\*)\s*10\s*\^\s*(?:\{\s*(?P<power>[+-]?[0-9]{1,3})\s*\}"
    r"|(?P<digit>[0-9])(?![0-9])))"
    rf"|(?P<dividend>{_DECIMAL})\s*/\s*(?P<divisor>{_DECIMAL})"
    r"|(?P<some>[0-9]{1,9})\s+(?:out\s+of|in)\s+(?P<all>[0-9]{1,9})(?![0-9.,:/])"
    r"|(?P<start>[0-9]*\.[0-9]*)(?:\\(?:overline|bar|dot)\s*(?:\{\s*(?P<over_bar>[0-9]+)\s*\}"
    r"|(?P<one_bar>[0-9]))|\((?P<in_brackets>[0-9]+)\))"
    r"|(?P<begun>[0-9]{0,15}\.[0-9]{0,15}?)(?P<cycle>[0-9]{1,6}?)(?P=cycle){2,20}\s*(?:\.\.\.|\\[lc]?dots(?![a-z]))"
    rf"|(?P<plain>{_DECIMAL})"
)
_PREFIX = re.compile(
    r"([+-]?)\s*(?:(\\?\$|€|£|¥|₹|US\s?\$|(?:USD|EUR|GBP|INR|RMB|Rs\.?)(?![A-Za-z]))\s*([+-]?)\s*)?"
)
_BRACKETED = re.compile(r"([+-]?)\s*\(([^()]*)\)(.*)", re.DOTALL)
_TEXT = re.compile(r"\\(?:text|mathrm|mbox|textrm|rm)\s*\{([^{}]*)\}")
_PERCENT = re.compile(r"\\?%|(?:percent|per cent|pct|percentage)\b", re.IGNORECASE)
_SCALE = re.compile(rf"({'|'.join(SCALES)})\b", re.IGNORECASE)
_MINUS = re.compile(r"(?:minus|negative)\s+(?=[a-zA-Z0-9.\\])", re.IGNORECASE)
_YEAR = re.compile(
    r"^(?:in\s+(?:the\s+year\s+)?|(?:the\s+)?year\s+)(?=[12][0-9]{3}$)", re.IGNORECASE
)
_DECADE = re.compile(r"(?:the\s+)?((?:1[0-9]|20)[0-9]0)s", re.IGNORECASE)
# "5 red balls" are five; other adjectives could change the number.
_LOOK = re.compile(
    r"^(?:red|blue|green|yellow|black|white|brown|orange|purple|pink|gr[ae]y|small|large|big|tiny"
    r"|tall|short|long|round|square|wooden|metal|shaded)\s+(?=[a-z])",
    re.IGNORECASE,
)
_TOTAL = re.compile(r"\s+(?:in\s+)?total$|\s+(?:in\s+all|altogether)$", re.IGNORECASE)
_AGE = re.compile(r"(?<=years|onths|weeks)\s+old$", re.IGNORECASE)
# One measure of several: a number, its unit, and what joins it with the next.
_MEASURE = re.compile(
    rf"(?P<value>{_DECIMAL})\s*(?P<unit>[A-Za-z]+)\.?(?:\s*$|\s*,?\s+and\s+(?=[0-9])|\s*(?=[0-9]))"
)
_FEET, _INCHES = re.compile(r"(?<=[0-9])\s*'(?!')"), re.compile(r"(?<=[0-9])\s*(?:''|\")")
_LONGEST_REST = 80
_LONGEST_PERIOD = 40


@dataclass(frozen=True)
class Tolerance:
    """The most that a number may differ from the true one: ``max(absolute, relative * |true|)``."""

    absolute: float = 0.0
    relative: float = 0.0

    @property
    def any(self) -> bool:
        """Whether numbers may differ at all."""
        return bool(self.absolute or self.relative)

    def allows(self, value: Fraction, true: Fraction) -> bool:
        """Whether ``value`` is close enough to ``true``."""
        if value == true:
            return True
        # In decimal, as written: 97 is within 0.03 of 100, but the float 0.03 is a little less.
        bound = max(Fraction(str(self.absolute)), Fraction(str(self.relative)) * abs(true))
        return abs(value - true) <= bound


@dataclass(frozen=True)
class Number:
    """A plain number, whether it has a percent sign, its unit, and whether it has several."""

    value: Fraction
    percent: bool = False
    unit: Unit | None = None
    is_compound: bool = False


def read_number(text: str) -> Number | None:
    """Returns the number that a cleaned text is; None if it is not a plain number.

    All of the text must be accounted for: after the number only words that multiply it, a percent
    sign, a unit or one counted noun may stand. Only digits are read, never an expression, and
    exponents have at most three digits: no text makes this slow.
    """
    # Python refuses numbers of thousands of digits; a box never holds so many.
    if len(text) > MAX_CHARACTERS:
        return None
    text = _in_digits(_YEAR.sub("", text.strip()))
    if decade := _DECADE.fullmatch(text):
        return Number(Fraction(decade[1]), unit=DECADE)
    if bracketed := _BRACKETED.fullmatch(text):
        return _in_brackets(*bracketed.groups())
    sign, currency, start = _prefix(text)
    found = _VALUE.match(text, start)
    value = _value(found) if found else None
    if found is None or value is None:
        return None
    rest = _read_rest(text[found.end() :], one=0 < value <= 1)
    if rest is None:
        return None if currency else _read_compound(text)
    unit = read_unit(currency) if currency else rest.unit
    if unit and rest.unit not in (None, unit):
        unit = priced(unit, rest.unit)
        if unit is None:
            return None
    return Number(sign * value * rest.value, rest.percent, unit)


def _in_digits(text: str) -> str:
    """The text with the words of the number that it begins with in digits: ``-5 cats``."""
    minus = _MINUS.match(text)
    rest = in_digits(text[minus.end() :] if minus else text)
    return "-" + rest if minus else rest


def _read_compound(text: str) -> Number | None:
    """Reads a measure in units that get smaller, such as ``5 ft 2 in``, in the first of them."""
    if len(text) > _LONGEST_REST:
        return None
    is_marked = text.endswith(("'", '"'))
    text = _INCHES.sub(" in ", _FEET.sub(" ft ", _TEXT.sub(r" \1 ", text))).strip()
    total, first, last, start = Fraction(0), None, None, 0
    while found := _MEASURE.match(text, start):
        # 1h 30m
        is_minute = found["unit"] == "m" and last == read_unit("h")
        unit = read_unit("min" if is_minute else found["unit"])
        value = _decimal(found["value"])
        if unit is None:
            return None
        first = first or unit
        if last and (last.dimensions != unit.dimensions or value * unit.size >= last.size):
            return None
        total += value * unit.size / first.size
        last, start = unit, found.end()
    # A mark alone must not be one of primes or minutes of arc: its unit has to be on both sides.
    if first is None or (last == first and not is_marked) or start < len(text):
        return None
    return Number(total, unit=first, is_compound=True)


def _prefix(text: str) -> tuple[int, str, int]:
    """The sign and currency before a number, in either order, and where the number starts."""
    found = _PREFIX.match(text)
    before, currency, after = found.groups() if found else ("", "", "")
    sign = (-1) ** (before + (after or "")).count("-")
    currency = (currency or "").removeprefix("\\").removesuffix(".")
    currency = "$" if currency.endswith("$") else currency
    return sign, currency, found.end() if found else 0


def _in_brackets(sign: str, inner: str, after: str) -> Number | None:
    number, rest = read_number(inner), _read_rest(after, one=False)
    if number is None or rest is None or (after.strip() and (number.unit or number.percent)):
        return None
    value = -number.value if sign == "-" else number.value
    return Number(value * rest.value, number.percent or rest.percent, number.unit or rest.unit)


def divides_by_zero(text: str) -> bool:
    """Whether a cleaned text is a plain fraction over zero."""
    _, _, start = _prefix(text)
    found = _VALUE.match(text, start)
    if found is None:
        return False
    below = found["under"] or found["bottom"] or found["divisor"]
    return below is not None and not _decimal(below)


def same_number(number: Number, true: Number, tolerance: Tolerance) -> bool:
    """Whether a number is the true one.

    A percent sign on one side only may be read either way: 50% is 0.5, and also answers 50 to a
    question for a percentage (the published grader drops the sign). A percentage has no unit. A
    unit on one side only is dropped; of two units one must convert into the other.
    """
    value = number.value
    if (number.percent and true.unit) or (true.percent and number.unit):
        return False
    one_sided = (number.unit or true.unit) if not (number.unit and true.unit) else None
    if one_sided and (not may_be_left_out(one_sided) or number.is_compound or true.is_compound):
        return False
    if number.unit and true.unit:
        if not same_dimension(number.unit, true.unit):
            return False
        if number.unit.dimensions == true.unit.dimensions:
            value *= number.unit.size / true.unit.size
    values = [value]
    if number.percent and not true.percent:
        values.append(value / 100)
    if true.percent and not number.percent:
        values.append(value * 100)
    return any(tolerance.allows(value, true.value) for value in values)


def _value(found: re.Match[str]) -> Fraction | None:
    """The value of an unsigned number; None where it divides by zero."""
    part = found.groupdict()
    if part["mixed"]:
        return _sum(part["mixed"], _ratio(part["over"], part["under"]))
    if part["top"] or part["short"]:
        top, bottom = (part["top"], part["bottom"]) if part["top"] else tuple(part["short"])
        value = _ratio(top, bottom)
        negative = value is not None and value < 0
        return None if part["whole"] and negative else _sum(part["whole"] or "0", value)
    if part["factor"]:
        exponent = int(part["e"] or part["power"] or part["digit"])
        return _decimal(part["factor"]) * Fraction(10) ** exponent
    if part["some"]:
        # "6 in 1" is no share.
        return _ratio(part["some"], part["all"]) if int(part["some"]) <= int(part["all"]) else None
    if part["dividend"]:
        return _ratio(part["dividend"], part["divisor"])
    if part["start"]:
        return _repeating(part["start"], part["over_bar"] or part["one_bar"] or part["in_brackets"])
    if part["begun"]:
        return _repeating(part["begun"], part["cycle"])
    return _decimal(part["plain"])


def _repeating(start: str, period: str) -> Fraction | None:
    if len(period) > _LONGEST_PERIOD:
        return None
    places = len(start.partition(".")[2])
    tail = Fraction(int(period), (10 ** len(period) - 1) * 10**places)
    return (_decimal(start) if start != "." else Fraction(0)) + tail


def _decimal(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))


def _ratio(top: str, bottom: str) -> Fraction | None:
    return _decimal(top) / _decimal(bottom) if _decimal(bottom) else None


def _sum(whole: str, part: Fraction | None) -> Fraction | None:
    return None if part is None else int(whole) + part


def _read_rest(text: str, *, one: bool) -> Number | None:
    """What follows a number: the factor of its words, a percent sign, a unit; None if more."""
    if not text.strip():
        return Number(Fraction(1))
    if len(text) > _LONGEST_REST:
        return None
    text = _AGE.sub("", _TOTAL.sub("", text))
    plain = _TEXT.sub(r" \1 ", text).strip()
    factor = 1
    while scale := _SCALE.match(plain):
        factor *= SCALES[scale[1].casefold()]
        plain = plain[scale.end() :].strip()
    percent = _PERCENT.match(plain)
    if percent:
        plain = plain[percent.end() :].strip()
    if not plain:
        return Number(Fraction(factor), percent is not None)
    if percent:
        return None
    unit = read_unit(plain if factor > 1 else text)
    if unit is None and is_counted_noun(_LOOK.sub("", plain), one and factor == 1):
        unit = counted(plain)
    return None if unit is None else Number(Fraction(factor), unit=unit)
