r"""Splits ``x = 5``, ``\text{Area} = 24`` and ``2 + 3 = 5`` into a label and its values."""

import re
from dataclasses import dataclass, replace

from perl_jax.rewards.expressions import mathematics
from perl_jax.rewards.numeric import read_number
from perl_jax.rewards.sequences import Sequence
from perl_jax.rewards.words import denies

_EQUALS = re.compile(r"(?<![<>!:=])=(?!=)")
# A decimal on the left would be a second number.
_ROUNDED = re.compile(r"(?![-+0-9.,\s]+\\approx)(.*\S)\s*\\approx(?![A-Za-z])\s*(\S.*)", re.DOTALL)
_BRACKET = re.compile(r"\\[{}]|[(){}\[\]]")
_ABOUT = re.compile(
    r"\s*(?:\\approx(?![A-Za-z])|\\sim(?![A-Za-z])|(?:about|approximately|approx\.?|roughly)\b)\s*",
    re.IGNORECASE,
)
_TEXT = re.compile(r"\\(?:text|mathrm|mbox|textbf|textrm|operatorname|rm)\s*\{([^{}]*)\}")
_WORDS = re.compile(r"(?=.*[A-Za-z]{3})[A-Za-z](?:[A-Za-z' ]|(?<=[A-Za-z])-(?=[A-Za-z])){0,40}:?")
_NAME = r"(?:[A-Za-z]|\\(?:alpha|beta|gamma|delta|theta|lambda|mu|rho|sigma|phi|varphi|omega|ell))"
_VARIABLE = re.compile(
    rf"(?:\\(?:angle|triangle|overline|bar|hat|vec|m|operatorname)\s*)*\{{?\s*"
    rf"(?:{_NAME}|[A-Z]{{2,4}})(?:_(?:[A-Za-z0-9]|\{{[A-Za-z0-9 ]*\}}))?\s*\}}?"
    r"(?:\^\s*\{\s*-1\s*\}(?=\s*\()|'{1,2})?(?:\s*\([A-Za-z0-9, ]{1,12}\))?"
    r"|pH|[A-Za-z](?::[A-Za-z]){1,3}|[a-z]\([a-z]\([a-z0-9]\)\)|\\\|\\?[a-z]\\\|"
    r"|\\(?:sin|cos|tan|cot|sec|csc)\s*(?:[A-Z]|\\(?:theta|alpha|beta|phi)|\([A-Z]\))"
    r"|[PE]\s*\([^()=]{1,30}\)|\\det\s*\(?[A-Z]\)?|\|\\vec\s*\{?[a-z]\}?\||[A-Z]\s*:\s*[A-Z]"
    r"|\\lim_\s*\{[^{}]*\}\s*[a-z]\([a-z]\)"
    r"|m\s*\\angle\s*\{?\s*[A-Z0-9]{1,3}\s*\}?|\|[A-Z]{2}\|"
)
_COLON = re.compile(r"([A-Za-z][A-Za-z' ]{2,40}):\s+(?=\S)")
_DERIVATIVE = re.compile(r"d[a-z]\s*/\s*d[a-z]|\\frac\s*\{\s*d[a-z]\s*\}\s*\{\s*d[a-z]\s*\}")
_COMMAND = re.compile(r"\\[A-Za-z]+")
# e and i are constants.
_VARIABLES = re.compile("[A-Za-df-hj-z]")
_RELATION = re.compile(
    r"[<>,]|\\(?:begin|in|ni|cup|cap|ne|neq|leq?|geq?|lt|gt|to|pm|mp)(?![A-Za-z])"
)
_RUN_ON = re.compile(
    r"(.*[0-9})])(?:\s+(?:/\s+)?|\s*(?:\||\\\\|\\(?:mid|land|lor|wedge|vee)(?![A-Za-z]))\s*)[A-Za-z]",
    re.DOTALL,
)
_CONSTANT = re.compile(r"(?:\\(?:frac|sqrt|cdot|times|pi|div|left|right)(?![A-Za-z])|[^A-Za-z\\])+")


@dataclass(frozen=True)
class Labelled:
    r"""A text as a label and what it stands for.

    Attributes:
        label: The words or the variable before the first equals sign; empty if there are none.
        values: The sides: all must be the truth, so formulas before a constant are left out. A side
            may be a constant and its rounding, as in ``\sqrt{2} \approx 1.41``.
        is_rounded: Whether "about" or the like stands before it.
        is_value: False for an equation that is no label and value, such as ``2x + y = 1``.
    """

    label: str
    values: tuple[str, ...]
    is_value: bool = True
    is_rounded: bool = False


def read_labelled(text: str) -> Labelled:
    """Splits a cleaned text at the equals signs outside brackets."""
    about = _ABOUT.match(text)
    return replace(_read_labelled(text, about), is_rounded=about is not None)


def _read_labelled(text: str, about: re.Match[str] | None) -> Labelled:
    text = text[about.end() :] if about else text
    first, *others = _sides(text)
    if not others and (colon := _COLON.match(text)):
        first, others = colon[1], [text[colon.end() :]]
    if not all((first, *others)) or text.count("\\approx") > 1:
        return Labelled("", (text,), is_value=bool(about and first and not others))
    rounded = _ROUNDED.fullmatch(first)
    if not others and rounded and not _CONSTANT.fullmatch(rounded[1]):
        first, others = rounded[1], [rounded[2]]
    if not others:
        return Labelled("", (first,))
    words = _TEXT.sub(r"\1", first).strip()
    # "six = 5" names two values.
    is_number = any(read_number(word) for word in (words, words.rpartition(" ")[2]))
    if _WORDS.fullmatch(words) and not denies(words) and not is_number:
        return _valued(" ".join(words.rstrip(":").casefold().split()), others)
    if re.fullmatch("[A-Za-z]", first) and any(
        re.search(rf"(?<![A-Za-z\\]){first}(?![A-Za-z])", _TEXT.sub("", side)) for side in others
    ):
        return Labelled("", (text,), is_value=False)  # x = 2x
    if len(others) == 1 and _CONSTANT.fullmatch(first) and _VARIABLE.fullmatch(others[0]):
        first, others = others[0], [first]  # 5 = x
    if _VARIABLE.fullmatch(first) or _DERIVATIVE.fullmatch(first):
        return _valued(re.sub(r"[\s{}]", "", first), others)
    if _CONSTANT.fullmatch(first):
        return _valued("", [first, *others])
    return Labelled("", (text,), is_value=False)


def with_label_of_first(sequence: Sequence) -> Sequence:
    """The items of ``x = 2 or 3`` as x = 2 and x = 3; other sequences as they are."""
    first, *others = sequence.items
    name, sign, _ = first.partition("=")
    if (
        sequence.brackets
        or sequence.joint not in ("and", "or")
        or not _VARIABLE.fullmatch(name.strip())
        or any("=" in item or read_number(item) is None for item in others)
    ):
        return sequence
    return replace(sequence, items=(first, *(name + sign + " " + item for item in others)))


def _valued(label: str, sides: list[str]) -> Labelled:
    """The values of the sides: formulas before a constant are none, but lead to it."""
    # In "p = 9 q = 7" the constant 9 ends one equation, and q begins another.
    ends = [found[1] for side in sides[:-1] if (found := _RUN_ON.fullmatch(side))]
    if any(_CONSTANT.fullmatch(end) for end in ends):
        return Labelled("", (f"{label} = {' = '.join(sides)}",), is_value=False)
    rounded = _ROUNDED.fullmatch(sides[-1])
    if rounded and not _CONSTANT.fullmatch(rounded[1]):
        sides = [*sides[:-1], rounded[1], rounded[2]]
    formulas = [] if _is_formula(sides[-1]) else [s for s in sides[:-1] if _is_formula(s)]
    values = tuple(side for side in sides if side not in formulas)
    return Labelled(label, values)


def _is_formula(side: str) -> bool:
    """Whether a side is mathematics with variables."""
    variables = _VARIABLES.search(_COMMAND.sub(" ", side)) and not read_number(side)
    return bool(variables) and not _RELATION.search(side) and mathematics(side) is not None


def _sides(text: str) -> list[str]:
    sides, start, depth = [], 0, 0
    brackets = iter(_BRACKET.finditer(text))
    bracket = next(brackets, None)
    for sign in _EQUALS.finditer(text):
        while bracket is not None and bracket.start() < sign.start():
            depth += 1 if bracket.group()[-1] in "([{" else -1
            bracket = next(brackets, None)
        if depth == 0:
            sides.append(text[start : sign.start()].strip())
            start = sign.end()
    return [*sides, text[start:].strip()]
