r"""Units of measurement: which there are, how they are written, and how they convert."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

from perl_jax.rewards.words import is_counted_noun

# By dimension: the size of each unit in a common one, and its names (a plural s is understood).
_UNITS: Mapping[str, Mapping[str, str]] = {
    "length": {
        "1": "m meter metre", "1/100": "cm centimeter centimetre",
        "1/1000": "mm millimeter millimetre", "1000": "km kilometer kilometre",
        "1/10": "dm decimeter decimetre", "1/1000000": "um μm micrometer micrometre micron",
        "1/1000000000": "nm nanometer nanometre", "381/1250": "ft foot feet",
        "127/5000": "in inch inches", "1143/1250": "yd yard", "201168/125": "mi mile",
    },
    "mass": {
        "1": "g gram gramme", "1000": "kg kilogram", "1/1000": "mg milligram",
        "1000000": "tonne", "45359237/100000": "lb pound", "45359237/1600000": "oz ounce",
    },
    "time": {
        "1": "s sec second", "1/1000": "ms millisecond", "60": "min minute", "3600": "h hr hour",
        "86400": "day", "604800": "week", "2629746": "month mo", "31556952": "year yr",
    },
    "length^3": {
        "1/1000": "L l liter litre", "1/1000000": "mL ml milliliter millilitre cc",
        "473176473/125000000000": "gallon gal", "473176473/500000000000": "quart qt",
        "473176473/1000000000000": "pint",
    },
    "degree": {"1": "degree deg"},
    "angle": {"1": "anglesign"},
    "celsius": {"1": "celsius"},
    "fahrenheit": {"1": "fahrenheit"},
    "kelvin": {"1": "kelvin"},
    "K": {"1": "K"},
    "radian": {"1": "rad radian"},
    "mass length time^-2": {"1000": "N newton", "1000000": "kN"},
    "mass length^2 time^-2": {
        "1000": "J joule", "1000000": "kJ", "4184": "cal calorie", "4184000": "kcal",
        "3600000000": "kWh",
    },
    "mass length^2 time^-3": {"1000": "W watt", "1000000": "kW kilowatt"},
    "voltage": {"1": "V volt"},
    "current": {"1": "A amp ampere", "1/1000": "mA"},
    "resistance": {"1": "Ω ohm", "1000": "kΩ kilohm"},
    "mass length^-1 time^-2": {"1000": "Pa pascal", "1000000": "kPa"},
    "time^-1": {"1": "Hz hertz", "1000": "kHz"},
    "amount": {"1": "mol mole"},
    "length^2": {"316160658/78125": "acre", "10000": "hectare ha"},
    "usd": {"1": "$ dollar usd", "1/100": "cent"},
    "eur": {"1": "€ euro eur"},
    "gbp": {"1": "£ gbp"},
    "jpy": {"1": "yen jpy"},
    "cny": {"1": "yuan rmb cny"},
    "¥": {"1": "¥"},
    "inr": {"1": "₹ rupee rs"},
    "data": {
        "1": "byte", "1000": "KB kilobyte", "1000000": "MB megabyte", "1000000000": "GB gigabyte",
    },
    "bare": {"1": "unit"},
    "points": {"1": "point pt"},
}  # fmt: skip
_SINGULARS = {"people": "person", "men": "man", "women": "woman", "children": "child"}
_SPEEDS = {"mph": "mi/h", "kmh": "km/h", "kph": "km/h", "kmph": "km/h", "fps": "ft/s"}

_TOKEN = re.compile(
    r"(?P<name>[A-Za-zμΩ$€£¥₹]+)\.?\s*(?:\^\s*(?:(?P<digit>[1-9])|\{\s*(?P<power>-?[1-9])\s*\}))?"
    r"|(?P<sign>[/*])|\s+"
)
_FRACTION = re.compile(r"\\frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_WRAPPED = re.compile(
    r"\\(?:text|mathrm|mbox|textrm|operatorname|rm)\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
)
_CELSIUS = re.compile(
    r"(?:\^\s*(?:\{\s*\\circ\s*\}|\\circ)|\bdegrees?\b|\bdeg\b)\s*([CF])(?![A-Za-z])"
)
_LONGEST = 60


@dataclass(frozen=True)
class Unit:
    """A unit, as powers of dimensions and its size; ``word`` if it is one that has two meanings."""

    dimensions: tuple[tuple[str, int], ...]
    size: Fraction = Fraction(1)
    word: str = field(default="", compare=False)


DECADE = Unit((("decade", 1),))
"""What ``1990s`` is read in."""


def counted(noun: str) -> Unit:
    """The unit of a number of things."""
    noun = noun.casefold()
    return Unit((("things: " + _SINGULARS.get(noun, noun.removesuffix("s")), 1),))


def priced(currency: Unit, per: Unit) -> Unit | None:
    """The unit of ``$12 per hour``; None if the second does not say what it is paid for."""
    if any(power > 0 for _, power in per.dimensions):
        return None
    return Unit(tuple(sorted(currency.dimensions + per.dimensions)), currency.size * per.size)


def counts_other_things(label: str, unit: Unit) -> bool:
    """Whether a label such as "number of dogs" counts other things than a unit such as cats."""
    things = [name for name, _ in unit.dimensions if name.startswith("things: ")]
    last = label.rpartition(" ")[2]
    return bool(things) and is_counted_noun(last, False) and counted(last) != unit


def read_unit(text: str) -> Unit | None:
    r"""Reads ``cm^2``, ``square cm``, ``km/h``, ``\frac{\text{m}}{\text{s}^2}`` and such.

    Returns None unless all of the text is a unit.
    """
    if len(text) > _LONGEST:
        return None
    text = _CELSIUS.sub(lambda match: " celsius" if match[1] == "C" else " fahrenheit", _bare(text))
    text = re.sub(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)", " anglesign ", text)
    text = re.sub(r"\\mu(?![a-z])\s*", "μ", re.sub(r"\\Omega(?![a-z])", "Ω", text))
    text = re.sub(r"\bUS\s+(?=dollars?\b)", "", text)
    text = re.sub(r"\bms(?=\^\{?\s*-)", "m s", text)  # no milliseconds
    text = re.sub(r"\bper\b", "/", text, flags=re.IGNORECASE)
    text = re.sub(r"\\(?:cdot|times)\b", "*", text)
    text = re.sub(r"\b(?:square|sq)\b\.?\s*([A-Za-z]+)", r"\1^2", text, flags=re.IGNORECASE)
    text = re.sub(r"\b(?:cubic|cu)\b\.?\s*([A-Za-z]+)", r"\1^3", text, flags=re.IGNORECASE)
    text = re.sub(r"([A-Za-z]+)\s+squared\b", r"\1^2", text, flags=re.IGNORECASE)
    text = re.sub(r"([A-Za-z]+)\s+cubed\b", r"\1^3", text, flags=re.IGNORECASE)
    return _product(text.strip())


def same_dimension(one: Unit, other: Unit) -> bool:
    """Whether two units measure the same, so that only their sizes may differ."""
    if one.dimensions == other.dimensions:
        return True
    kinds = {name for unit in (one, other) for name, _ in unit.dimensions}
    # 30 degrees may mean degrees Celsius, 30° may not; "units" may be any unit.
    if _names()["£"] in (one, other) and "pound" in (one.word, other.word):
        return True
    if kinds in ({"¥", "jpy"}, {"¥", "cny"}):
        return True
    degrees = kinds in ({"degree", other} for other in ("celsius", "fahrenheit", "angle"))
    return degrees or kinds == {"K", "kelvin"} or "bare" in kinds


def may_be_left_out(unit: Unit) -> bool:
    """Whether a number without this unit may be the same: not for K, as 5K may be 5000, nor for A.

    Nor for a decade: 1990s is more than the year 1990.
    """
    return unit not in (_names()["K"], _names()["A"], DECADE)


def same_unit(one: Unit, other: Unit) -> bool:
    """Whether two units are the same, by whatever names."""
    return same_dimension(one, other) and one.size == other.size


def _bare(text: str) -> str:
    # In \text{ cm}^2 the exponent follows the closing brace.
    text = re.sub(r"\s+\^", "^", _WRAPPED.sub(r" \1 ", text))
    return _FRACTION.sub(r"\1/\2", text)


def _product(text: str) -> Unit | None:
    powers: Counter[str] = Counter()
    size, position, direction, names = Fraction(1), 0, 1, 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            return None
        position = token.end()
        if token["sign"]:
            if direction == -1 or (token["sign"] == "*" and not names):
                return None
            direction = -1 if token["sign"] == "/" else 1
        elif token["name"]:
            unit = _named(token["name"])
            if unit is None:
                return None
            power = int(token["digit"] or token["power"] or 1) * direction
            for name, times in unit.dimensions:
                powers[name] += times * power
            size *= unit.size**power
            direction, names = 1, names + 1
    if not names or direction == -1:
        return None
    word = "pound" if re.fullmatch("pounds?", text, re.IGNORECASE) else ""
    return Unit(tuple(sorted((name, power) for name, power in powers.items() if power)), size, word)


def _named(name: str) -> Unit | None:
    known = _names()
    if name in known:
        return known[name]
    word = name.casefold()
    if len(word) < 3:
        return None
    if word in _SPEEDS:
        return _product(_SPEEDS[word])
    return known.get(word) or known.get(word.removesuffix("s"))


@cache
def _names() -> Mapping[str, Unit]:
    return {
        name: Unit(_powers(dimension), Fraction(size))
        for dimension, sizes in _UNITS.items()
        for size, names in sizes.items()
        for name in names.split()
    }


def _powers(dimension: str) -> tuple[tuple[str, int], ...]:
    parts = (part.partition("^") for part in dimension.split())
    return tuple(sorted((base, int(power or 1)) for base, _, power in parts))
