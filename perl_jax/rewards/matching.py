r"""Compares an answer with the truth by strings alone: letters, numbers, lists, orders and words.

Nothing here evaluates anything, so all of it is safe in the main process. Pairs of LaTeX texts that
only mathematics can compare are handed on.
"""

import re
from dataclasses import dataclass

from perl_jax.rewards.normalise import as_latex, clean, is_prose, prose, unwrapped_text
from perl_jax.rewards.numeric import Tolerance, read_number, same_number

_TRUE_LETTER = re.compile(r"\(?([A-Z])\)?[.:]?")
# A letter alone, or an option as it is printed: "(B) the left image", "B. cat", "B: cat".
_LETTER = re.compile(
    r"(?:\(([A-Za-z])\)|([A-Za-z])[.:)]?)|(?:\(([A-Za-z])\)|([A-Za-z])[.:)])\s+\S.*"
)
_SEPARATOR = re.compile(r"\\[{}]|[()\[\]{},;→]|\s(?:and|or)\s|\\text\{\s*(?:and|or)\s*\}")
# Not the space between two digits, or between a command and a letter.
_LOOSE_SPACE = re.compile(r"(?<!\w)\s+|\s+(?!\w)")
_OPENING = ("(", "[", "{", "\\{")
_CLOSING = (")", "]", "}", "\\}")
_MAX_NESTING = 4


@dataclass(frozen=True)
class Match:
    """The comparison of an answer with the truth."""

    equal: bool | None  # None: every one of ``pairs`` must be compared symbolically
    how: str  # what decided: exact, letter, number, list, text or symbolic
    pairs: tuple[tuple[str, str], ...] = ()  # LaTeX texts (answer, truth)


@dataclass(frozen=True)
class _Sequence:
    r"""Items and their brackets: ``()``, ``[)``, ``\{\}`` and such, or an empty string."""

    items: tuple[str, ...]
    brackets: str


def match(answer: str, truth: str, tolerance: Tolerance) -> Match:
    """Compares the contents of a box with the ground truth.

    The truth decides the comparison. A capital letter is an option: a longer word never matches it,
    but an option as printed (``(B) the left image``) does. A number is compared exactly, or within
    the tolerance. A list is compared item by item, in order; in any order if the truth is in
    braces. Words are compared without regard to case and spacing.
    """
    if answer.strip() == truth.strip():
        return Match(True, "exact")
    return _match(clean(answer), clean(truth), tolerance, 0)


def _match(answer: str, truth: str, tolerance: Tolerance, depth: int) -> Match:
    if letter := _TRUE_LETTER.fullmatch(truth):
        return Match(_option(answer) == letter[1], "letter")
    sequence = read_sequence(truth)
    # A bare 1,234 is a number; [1,234] is a list.
    number = read_number(truth) if sequence is None or not sequence.brackets else None
    if number is not None:
        if (given := read_number(answer)) is not None:
            return Match(same_number(given, number, tolerance), "number")
    elif sequence is not None and depth < _MAX_NESTING:
        found = _match_sequence(answer, sequence, tolerance, depth)
        if found is not None:
            return found
    if prose(answer) == prose(truth) and (is_prose(truth) or answer == truth):
        return Match(True, "text")
    if is_prose(answer) or is_prose(truth):
        return Match(False, "text")
    if _LOOSE_SPACE.sub("", answer) == _LOOSE_SPACE.sub("", truth):
        return Match(True, "text")
    return Match(None, "symbolic", ((as_latex(answer), as_latex(truth)),))


def _option(answer: str) -> str:
    found = _LETTER.fullmatch(unwrapped_text(answer))
    if found is None:
        # \text{B}. and \textbf{(B)} the left image
        found = _LETTER.fullmatch(re.sub(r"\\text(?:bf)?\{(\(?[A-Za-z]\)?[.:]?)\}", r"\1", answer))
    return next(letter for letter in found.groups() if letter).upper() if found else ""


def read_sequence(text: str) -> _Sequence | None:
    """Splits a cleaned text at its outermost separators; None if it is a single item."""
    text = text.strip()
    inner, brackets = _without_brackets(text)
    items, start, depth = [], 0, 0
    for token in _SEPARATOR.finditer(inner):
        if token.group() in _OPENING:
            depth += 1
        elif token.group() in _CLOSING:
            depth -= 1
        elif depth == 0:
            items.append(inner[start : token.start()].strip())
            start = token.end()
    items.append(inner[start:].strip())
    if len(items) == 1:
        # (5) and \{5\} are 5 in brackets; {5} and (x+1)(x-1) are not lists.
        return None
    return _Sequence(tuple(items), brackets) if all(items) and depth == 0 else None


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


def _match_sequence(
    answer: str, truth: _Sequence, tolerance: Tolerance, depth: int
) -> Match | None:
    """Compares an answer with a true list; None if the answer is not a list."""
    given = read_sequence(answer)
    if given is None:
        return None
    if len(given.items) != len(truth.items) or not _compatible(given, truth):
        return Match(False, "list")
    if truth.brackets == "\\{\\}":
        return _match_unordered(given, truth, tolerance, depth)
    pairs: list[tuple[str, str]] = []
    for item, true_item in zip(given.items, truth.items, strict=True):
        found = _match(item, true_item, tolerance, depth + 1)
        if found.equal is False:
            return Match(False, "list")
        pairs.extend(found.pairs)
    return Match(None, "symbolic", tuple(pairs)) if pairs else Match(True, "list")


def _match_unordered(given: _Sequence, truth: _Sequence, tolerance: Tolerance, depth: int) -> Match:
    """Pairs the items of two sets; hands on the whole sets if strings cannot pair them."""
    left = list(given.items)
    undecided = False
    for true_item in truth.items:
        found = [_match(item, true_item, tolerance, depth + 1).equal for item in left]
        if True in found:
            left.pop(found.index(True))
        elif None in found:
            undecided = True
        else:
            return Match(False, "list")
    if not undecided:
        return Match(True, "list")
    left_set, right_set = (as_latex("\\{" + ",".join(s.items) + "\\}") for s in (given, truth))
    return Match(None, "symbolic", ((left_set, right_set),))


def _compatible(given: _Sequence, truth: _Sequence) -> bool:
    """Whether brackets agree: an order's may differ, those of a pair or interval may not."""
    if not given.brackets or given.brackets == truth.brackets:
        return given.brackets == truth.brackets or truth.brackets in ("", "()", "[]", "\\{\\}")
    if not truth.brackets:
        return given.brackets in ("()", "[]", "\\{\\}")
    mixed = {given.brackets, truth.brackets} - {"()", "[]"}
    return not mixed and len(truth.items) > 2
