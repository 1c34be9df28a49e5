r"""Splits lists, orders, sets, matrices and systems of equations into their items."""

import re
from dataclasses import dataclass
from typing import Literal

Joint = Literal["comma", "arrow", "and", "or"]

_SEPARATOR = re.compile(
    r"\\[{}]|[,;]?\s(?:and\s)?(?P<then>then)\s|[,;]?\s(?P<word>and|or|&)\s|(?P<sign>\\(?:lor|land|vee|wedge))(?![a-z])|[,;]?\s*\\text\{\s*(?P<text>and|or)\s*\}|[()\[\]{},;→]"
)
_SIGNS = {"\\lor": "or", "\\vee": "or", "\\land": "and", "\\wedge": "and"}
_OPENING = ("(", "[", "{", "\\{")
_CLOSING = (")", "]", "}", "\\}")
_BLOCK = re.compile(
    r"\\begin\{(?P<name>[pbB]?matrix|smallmatrix|cases)\}(?P<body>.*)\\end\{(?P=name)\}", re.DOTALL
)
_ARRAY = re.compile(
    r"(?P<open>[(\[]|\\\{)\s*\\begin\{array\}\s*\{[clr| ]*\}(?P<body>.*)"
    r"\\end\{array\}\s*(?:[)\]]|\.?)",
    re.DOTALL,
)
_ORDER = re.compile(
    r"[1-9][0-9]?(?:(?:\s*-\s*[1-9][0-9]?){2,}|(?:\s*>\s*[1-9][0-9]?){2,})"
    r"|[A-J](?:(?:\s*-\s*[A-J]){2,}|(?:\s*>\s*[A-J]){2,})"
)
_BOTH_SIGNS = re.compile(r"\\pm(?![a-z])")
_LEADING_PLUS = re.compile(r"^((?:[^=]*=)?)\s*\+\s*")
_BOTH = re.compile(r"both\s+((?:(?!\band\b)[^,;])*\sand\s(?:(?!\band\b)[^,;])*)", re.IGNORECASE)
_TRANSPOSED = re.compile(r"(?<=[)\]])\s*\^\s*\{?\s*(?:T|\\top)\s*\}?$")
_NAMED = re.compile(r"(\([A-Za-z](?:\s*,\s*[A-Za-z])+\s*\))\s*=\s*(\(.*\))", re.DOTALL)
_BLOCK_LABEL = re.compile(
    r"^(?:[A-Za-z](?:_[0-9A-Za-z])?|[a-z]\([a-z]\))\s*=\s*(?=\\begin|[(\[]\s*\\begin)"
)
_CONDITION = re.compile(r"^(?:\\text\s*\{\s*(?:if|for|when|where)\s*\}|(?:if|for|when|where)\s)\s*")
_ENCLOSED = re.compile(r"\([0-9]{1,3}\)(?:\s*\([0-9]{1,3}\))+")
_LETTERS = re.compile(r"(?:\([A-J]\)\s*|[A-J]\s*){2,10}")


@dataclass(frozen=True)
class Sequence:
    r"""Items, their brackets (``()``, ``[)``, ``\{\}`` or empty) and what stands between them."""

    items: tuple[str, ...]
    brackets: str
    joint: Joint = "comma"

    @property
    def is_set(self) -> bool:
        r"""Whether the order of the items says nothing: ``\\{1, 2\\}``, ``1 and 2``."""
        return self.brackets == "\\{\\}" or (not self.brackets and self.joint in ("and", "or"))


def read_sequence(text: str) -> Sequence | None:
    """Splits a cleaned text at its outermost separators; None if it is a single item."""
    text = text.strip()
    inner, brackets = _without_brackets(text)
    items, joints, start, depth = [], set(), 0, 0
    for token in _SEPARATOR.finditer(inner):
        if token.group() in _OPENING:
            depth += 1
        elif token.group() in _CLOSING:
            depth -= 1
            if depth < 0:
                return None
        elif depth == 0:
            items.append(inner[start : token.start()].strip())
            joints.add(
                _SIGNS.get(token["sign"])
                or token["then"]
                or token["word"]
                or token["text"]
                or token.group()
            )
            start = token.end()
    items.append(inner[start:].strip())
    if len(items) == 1:
        # (5) and \{5\} are 5 in brackets; {5} and (x+1)(x-1) are not lists.
        return None
    if not all(items) or depth != 0:
        return None
    return Sequence(tuple(items), brackets, _joint(joints))


def read_items(text: str) -> tuple[str, ...]:
    """The entries of a cleaned matrix or system, the items of a list, or the text itself."""
    if block := read_block(text):
        return tuple(cell for row in block[1] for cell in row)
    sequence = read_sequence(text)
    return (text,) if sequence is None else sequence.items


def read_letters(text: str) -> Sequence | None:
    """Reads options without separators, ``AD`` or ``(A)(D)``, as a set; ``BA`` as a list."""
    letters = re.findall("[A-J]", text)
    if not _LETTERS.fullmatch(text) or len(set(letters)) < len(letters):
        return None
    in_order = letters == sorted(letters)
    return Sequence(tuple(letters), "\\{\\}" if in_order else "")


def read_enclosed(text: str) -> Sequence | None:
    """Reads numbers that each stand in brackets, ``(1)(3)``, as a set: they are no product."""
    numbers = tuple(re.findall("[0-9]+", text))
    return Sequence(numbers, "\\{\\}") if _ENCLOSED.fullmatch(text.strip()) else None


def read_order(text: str) -> Sequence | None:
    """Reads three or more places as an order: ``2-1-3``, ``B-A-C`` or ``2 > 1 > 3``."""
    places = tuple(re.split(r"\s*[->]\s*", text.strip()))
    if not _ORDER.fullmatch(text.strip()) or len(set(places)) < len(places):
        return None
    return Sequence(places, "", "arrow")


def read_block(text: str) -> tuple[str, tuple[tuple[str, ...], ...]] | None:
    r"""Reads a whole matrix, or system of equations, as its kind and its rows of cells."""
    found = _BLOCK.fullmatch(text.strip()) or _ARRAY.fullmatch(text.strip())
    if found is None or "\\begin" in found["body"] or "\\end" in found["body"]:
        return None
    body = found["body"].strip().removesuffix("\\\\")
    rows = tuple(
        tuple(_CONDITION.sub("", cell.strip().rstrip(",;").strip()) for cell in row.split("&"))
        for row in body.split("\\\\")
    )
    part = found.groupdict()
    kind = "cases" if part.get("name") == "cases" or part.get("open") == r"\{" else "matrix"
    return (kind, rows) if all(cell for row in rows for cell in row) else None


def read_rows(text: str) -> tuple[str, tuple[tuple[str, ...], ...]] | None:
    """Reads ``[[1, 2], [3, 4]]`` as the rows of a matrix, and ``(1, 2)`` as a vector."""
    rows = read_sequence(_TRANSPOSED.sub("", text.strip()))
    if rows is None or rows.brackets not in ("[]", "()"):
        return None
    cells = [read_sequence(item) for item in rows.items]
    if not any(cells):
        return "vector", (rows.items,)
    if not all(row and row.brackets in ("[]", "()") for row in cells):
        return None
    return "matrix", tuple(row.items for row in cells if row)


def read_both_signs(text: str) -> Sequence | None:
    r"""Reads ``x = 2 \pm \sqrt{3}`` as the set of its two values."""
    if len(_BOTH_SIGNS.findall(text)) != 1 or "\\mp" in text or read_sequence(text):
        return None
    more, less = (_BOTH_SIGNS.sub(f" {sign} ", text) for sign in "+-")
    return Sequence((_LEADING_PLUS.sub(r"\1", more), less.strip()), "", "or")


def read_named_values(text: str) -> Sequence | None:
    """Reads ``(a, b) = (1, 2)`` as a = 1 and b = 2."""
    found = _NAMED.fullmatch(text.strip())
    names, values = (read_sequence(found[1]), read_sequence(found[2])) if found else (None, None)
    if names is None or values is None or len(names.items) != len(values.items):
        return None
    pairs = zip(names.items, values.items, strict=True)
    return Sequence(tuple(f"{name} = {value}" for name, value in pairs), "")


def without_block_label(text: str) -> str:
    """A matrix or system without the ``A =`` or ``f(x) =`` before it."""
    return _BLOCK_LABEL.sub("", text.strip())


def without_both(text: str) -> str:
    """A text without "both" before the two items that "and" joins."""
    found = _BOTH.fullmatch(text.strip())
    return found[1] if found else text


def compatible(given: Sequence, truth: Sequence) -> bool:
    """Whether brackets agree: an order's may differ, those of a pair or interval may not."""
    if not given.brackets or given.brackets == truth.brackets:
        return given.brackets == truth.brackets or truth.brackets in ("", "()", "[]", "\\{\\}")
    if not truth.brackets:
        return given.brackets in ("()", "[]", "\\{\\}")
    mixed = {given.brackets, truth.brackets} - {"()", "[]"}
    return not mixed and len(truth.items) > 2


def _joint(joints: set[str]) -> Joint:
    if "or" in joints:
        return "or"
    if joints & {"and", "&"}:
        return "and"
    return "arrow" if joints & {"→", "then"} else "comma"


def _without_brackets(text: str) -> tuple[str, str]:
    """Returns the text without the brackets around all of it, and these brackets."""
    opening = next((bracket for bracket in ("\\{", "(", "[") if text.startswith(bracket)), "")
    closing = next((bracket for bracket in ("\\}", ")", "]") if text.endswith(bracket)), "")
    if not opening or not closing or len(text) < len(opening) + len(closing):
        return text, ""
    depth = 0
    for token in _SEPARATOR.finditer(text):
        depth += (token.group() in _OPENING) - (token.group() in _CLOSING)
        if depth == 0 and token.end() < len(text) and token.group() in _CLOSING:
            return text, ""
    return text[len(opening) : len(text) - len(closing)], opening + closing
