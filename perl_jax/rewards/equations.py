r"""Splits ``x = 5``, ``\text{Area} = 24`` and ``2 + 3 = 5`` into a label and its values."""

import re
from dataclasses import dataclass

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
_WORDS = re.compile(r"(?=.*[A-Za-z]{3})[A-Za-z][A-Za-z' ]{0,40}:?")
_NAME = r"(?:[A-Za-z]|\\(?:alpha|beta|gamma|delta|theta|lambda|mu|rho|sigma|phi|varphi|omega|ell))"
_VARIABLE = re.compile(
    rf"(?:\\(?:angle|triangle|overline|vec|m|operatorname)\s*)*\{{?\s*"
    rf"(?:{_NAME}|[A-Z]{{2,4}})(?:_(?:[A-Za-z0-9]|\{{[A-Za-z0-9 ]*\}}))?\s*\}}?"
    r"(?:\s*\([A-Za-z0-9, ]{1,12}\))?"
    r"|m\s*\\angle\s*\{?\s*[A-Z0-9]{1,3}\s*\}?|\|[A-Z]{2}\|"
)
_CONSTANT = re.compile(r"(?:\\(?:frac|sqrt|cdot|times|pi|div|left|right)(?![A-Za-z])|[^A-Za-z\\])+")


@dataclass(frozen=True)
class Labelled:
    r"""A text as a label and what it stands for.

    Attributes:
        label: The words or the variable before the first equals sign; empty if there are none.
        values: The last side, and other sides without variables: all must be the truth. A side may
            be a constant and its rounding, as in ``\sqrt{2} \approx 1.41``.
        is_variable: Whether the label is a variable, as in ``x = 5``.
        is_value: False for an equation that is no label and value, such as ``2x + y = 1``.
    """

    label: str
    values: tuple[str, ...]
    is_variable: bool = False
    is_value: bool = True


def read_labelled(text: str) -> Labelled:
    """Splits a cleaned text at the equals signs outside brackets."""
    about = _ABOUT.match(text)
    first, *others = _sides(text[about.end() :] if about else text)
    if not all((first, *others)) or text.count("\\approx") > 1:
        return Labelled("", (text,), is_value=bool(about and first and not others))
    rounded = _ROUNDED.fullmatch(first)
    if not others and rounded and not _CONSTANT.fullmatch(rounded[1]):
        first, others = rounded[1], [rounded[2]]
    if not others:
        return Labelled("", (first,))
    values = (*(side for side in others[:-1] if _CONSTANT.fullmatch(side)), _result(others[-1]))
    words = _TEXT.sub(r"\1", first).strip()
    if _WORDS.fullmatch(words) and not denies(words):
        return Labelled(" ".join(words.rstrip(":").casefold().split()), values)
    if _VARIABLE.fullmatch(first):
        return Labelled(re.sub(r"[\s{}]", "", first), values, is_variable=True)
    if _CONSTANT.fullmatch(first):
        return Labelled("", (first, *values))
    return Labelled("", (text,), is_value=False)


def _result(side: str) -> str:
    r"""The last side of an equation; the number of a formula and its rounding."""
    rounded = _ROUNDED.fullmatch(side)
    return rounded[2] if rounded and not _CONSTANT.fullmatch(rounded[1]) else side


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
