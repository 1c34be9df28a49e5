r"""Writes inequalities as intervals: ``-1 < x < 3``, ``x < 1 or x > 3``, ``\{x \mid x > 3\}``."""

import re
from dataclasses import dataclass
from typing import Literal

_BUILDER = re.compile(
    r"\\\{\s*(?P<name>[a-zA-Z])(?:\s*\\in\s*(?:\\mathbb\s*\{?\s*R\s*\}?|R))?\s*(?:\\mid(?![a-z])|\||:)(?P<body>.*)\\\}",
    re.DOTALL,
)
_MEMBER = re.compile(r"(?P<name>[a-zA-Z])\s*\\in\s*(?=[(\[])")
_LESS, _MORE = (
    r"<|\\lt(?![a-z])|\\leq?(?:slant)?(?![a-z])",
    r">|\\gt(?![a-z])|\\geq?(?:slant)?(?![a-z])",
)
_RELATION = re.compile(rf"(?P<less>{_LESS})|(?P<more>{_MORE})")
_NAME = re.compile(r"[a-df-hj-zA-Z]|\\(?:theta|alpha|beta|lambda)")
_OR = re.compile(r"\s*(?:,?\s+or\s|\\text\s*\{\s*or\s*\}|\\lor(?![a-z])|\\vee(?![a-z]))\s*")
_AND = re.compile(r"\s*(?:\sand\s|\\text\s*\{\s*and\s*\}|\\land(?![a-z])|\\wedge(?![a-z]))\s*")
_BOUND = re.compile(r"(?:\\(?:frac|sqrt|pi|infty|cdot)(?![A-Za-z])|[0-9.+\-*/^(){}\s])+")
_INTERVAL = r"[(\[][^()\[\]]*,[^()\[\]]*[)\]]"
_UNION = re.compile(rf"\s*{_INTERVAL}(?:\s*\\cup\s*{_INTERVAL})*\s*")
_LONGEST = 300


@dataclass(frozen=True)
class Interval:
    """A set of real numbers as LaTeX, how it was written, and the variable, if any."""

    latex: str
    form: Literal["interval", "member", "builder", "inequality", "several"]
    name: str = ""


def read_interval(text: str) -> Interval | None:
    """Reads a cleaned text as intervals; None if it is none."""
    text = text.strip()
    if len(text) > _LONGEST:
        return None
    if _UNION.fullmatch(text):
        return Interval(text, "interval")
    if (member := _MEMBER.match(text)) and _UNION.fullmatch(text, member.end()):
        return Interval(text[member.end() :], "member", member["name"])
    if builder := _BUILDER.fullmatch(text):
        found = read_interval(builder["body"])
        if found is None or found.name != builder["name"]:
            return None
        return Interval(found.latex, "builder", found.name)
    return _read_inequalities(text)


def same_in_other_form(given: Interval, true: Interval) -> bool:
    """Whether two sets are written in different ways, but of the same variable."""
    return given.form != true.form and (not given.name or not true.name or given.name == true.name)


@dataclass(frozen=True)
class _Side:
    bound: str
    closed: bool


@dataclass(frozen=True)
class _Stretch:
    name: str
    low: _Side | None = None
    high: _Side | None = None

    @property
    def latex(self) -> str:
        low = f"{'[' if self.low.closed else '('}{self.low.bound}" if self.low else r"(-\infty"
        high = f"{self.high.bound}{']' if self.high.closed else ')'}" if self.high else r"\infty)"
        return f"{low},{high}"


def _read_inequalities(text: str) -> Interval | None:
    stretches = [_read_all(part) for part in _OR.split(text)]
    if not all(stretches) or len({one.name for one in stretches if one}) > 1:
        return None
    latex = r" \cup ".join(one.latex for one in stretches if one)
    is_several = len(stretches) > 1 or _AND.search(text)
    return Interval(
        latex, "several" if is_several else "inequality", stretches[0].name if stretches[0] else ""
    )


def _read_all(text: str) -> _Stretch | None:
    """Reads one inequality, or a lower and an upper bound joined by "and"."""
    parts = [_read_one(part) for part in _AND.split(text)]
    if len(parts) == 1:
        return parts[0]
    if len(parts) > 2 or parts[0] is None or parts[1] is None or parts[0].name != parts[1].name:
        return None
    one, other = parts if parts[0].low else parts[::-1]
    if one is None or other is None or not one.low or one.high or not other.high or other.low:
        return None
    return _Stretch(one.name, one.low, other.high)


def _read_one(text: str) -> _Stretch | None:
    """Reads ``x < 3``, ``3 > x`` or ``1 < x < 3``."""
    relations = list(_RELATION.finditer(text))
    if not 1 <= len(relations) <= 2 or len({bool(one["less"]) for one in relations}) > 1:
        return None
    edges = [0, *(edge for one in relations for edge in one.span()), len(text)]
    terms = [text[a:b].strip() for a, b in zip(edges[::2], edges[1::2], strict=True)]
    closed = ["q" in one.group() or one.group() in (r"\le", r"\ge") for one in relations]
    if relations[0]["more"]:
        terms, closed = terms[::-1], closed[::-1]
    names = [place for place, term in enumerate(terms) if _NAME.fullmatch(term)]
    if len(names) != 1 or not all(_BOUND.fullmatch(t) or i in names for i, t in enumerate(terms)):
        return None
    place = names[0]
    if len(terms) == 3 and place != 1:
        return None
    low = _Side(terms[place - 1], closed[place - 1]) if place else None
    high = _Side(terms[place + 1], closed[place]) if place + 1 < len(terms) else None
    return _Stretch(terms[place], low, high)
