"""Turns the ground truth of a row into the text that is graded."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from perl_jax.legible import brief
from perl_jax.rewards.extract import MAX_CHARACTERS, has_invisible_characters, last_boxed
from perl_jax.rewards.normalise import clean, without_preamble
from perl_jax.rewards.numeric import divides_by_zero
from perl_jax.rewards.sequences import read_letters, read_sequence

_TAGGED = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>[.\s]*", re.DOTALL | re.IGNORECASE)
_THOUGHT = re.compile(r"\s*<think>.*</think>\s*", re.DOTALL)
_BOX_TOKENS = re.compile(r"<\|begin_of_box\|>(.*)<\|end_of_box\|>[.\s]*", re.DOTALL)
_MARKUP = re.compile(r"</?(?:answer|think|s)>|<\|[a-z_]+\|>", re.IGNORECASE)
_BOLD_PREAMBLE = re.compile(
    r"\*\*\s*((?:(?:the|final|correct)\s+)*answer)\s*:?\s*\*\*\s*:?\s*(?=\S)", re.IGNORECASE
)
_MARK = "####"
ANSWER_FORM = "answer_form"
"""The metadata of an example that says whether its answer is a ``set`` or an ``order``."""


def answer_text(answer: Any) -> str:
    r"""Returns the ground truth as text.

    A string is stripped and unwrapped: published rows hold ``\boxed{3}``, ``The answer is
    \boxed{3}.``, ``<answer> 3 </answer>``, ``5 - 2 = 3 #### 3`` and ``Answer: 3``. A bool becomes
    ``True`` or ``False``, an int its digits, a float its shortest decimal form, and a list, tuple
    or array of these ``[a, b, c]``, in order. NumPy values count as Python's.

    Raises:
        TypeError: The answer has another type, such as None or a dict.
        ValueError: It can never be matched: empty, not finite, longer than 2,000 characters, with
            several boxes, tags or special tokens that do not enclose it, invisible characters,
            unbalanced braces (no box could hold it) or separators in list elements.
    """
    if isinstance(answer, np.generic):
        answer = answer.item()
    if isinstance(answer, list | tuple | np.ndarray):
        text = "[" + ", ".join(_element_text(element) for element in answer) + "]"
    elif isinstance(answer, str):
        text = _unwrapped(answer.strip())
    elif not isinstance(answer, bool | int | float):
        raise TypeError(
            "an answer is a str, bool, int, float or a list of these; "
            f"got {type(answer).__name__}: {str(answer)[:50]!r}"
        )
    elif isinstance(answer, float) and not math.isfinite(answer):
        raise ValueError(f"the answer {answer} is not a finite number")
    else:
        text = str(answer)
    if markup := _MARKUP.search(text):
        raise ValueError(
            f"the answer {brief(text)} holds {markup.group()}, but not around all of it"
        )
    if "\\boxed" in text:
        raise ValueError(f"the answer {brief(text)} holds several boxes, or one that is not closed")
    boxed = last_boxed("\\boxed{" + text + "}")
    if boxed.problem == "too_long":
        raise ValueError(f"the answer is longer than {MAX_CHARACTERS} characters")
    if has_invisible_characters(text):
        raise ValueError(f"the answer {brief(text)} holds invisible characters")
    if not text or text == "[]":
        raise ValueError("the answer is empty")
    if boxed.problem or boxed.text != text:
        raise ValueError(f"the answer {brief(text)} fits no box: its braces do not balance")
    return text


def _element_text(element: Any) -> str:
    if isinstance(element, list | tuple | np.ndarray):
        raise TypeError("an answer is a flat list; got a list within a list")
    text = answer_text(element)
    if any(separator in text for separator in ",;→"):
        raise ValueError(f"the list element {brief(text)} holds a separator")
    return text


def asked_answer(answer: str, metadata: Mapping[str, Any]) -> str:
    r"""Returns a ground truth as its question asks for it, by the metadata `ANSWER_FORM`.

    ``set`` makes ``1, 3`` the set ``\{1, 3\}``, and ``order`` makes ``1 and 3`` the order
    ``[1, 3]``. Without this key the truth's own form counts.

    Raises:
        ValueError: The metadata asks for another form.
    """
    form = metadata.get(ANSWER_FORM)
    if form is None:
        return answer
    if form not in ("set", "order"):
        raise ValueError(f"metadata {ANSWER_FORM}: expected 'set' or 'order'; got {brief(form)}")
    text = clean(answer)
    items = read_sequence(text) or read_letters(text)
    if items is None:
        return answer
    joined = ", ".join(items.items)
    return rf"\{{{joined}\}}" if form == "set" else f"[{joined}]"


def check_truth(answer: Any) -> str | None:
    """Returns why no response can match an answer, or None; without symbolic mathematics.

    It is quick enough for every row. `Grader.check_gold` also finds the expressions that the
    symbolic comparison cannot read.
    """
    try:
        text = clean(answer_text(answer))
    except (TypeError, ValueError) as error:
        return str(error)
    if not any(character.isalnum() for character in text) and "\\" not in text:
        return f"the answer {brief(text)} says nothing: it has no letter and no digit"
    if divides_by_zero(text):
        return f"the answer {brief(text)} divides by zero: it does not match itself"
    return None


def _unwrapped(text: str) -> str:
    """Removes what published rows put around an answer."""
    text = _BOLD_PREAMBLE.sub("Answer: ", _THOUGHT.sub("", text, count=1), count=1)
    if tagged := _TAGGED.fullmatch(text) or _BOX_TOKENS.fullmatch(text):
        return _unwrapped(tagged[1].strip())
    if _MARK in text:
        return _unwrapped(text.rpartition(_MARK)[2].strip())
    if "\\boxed" in text:
        boxed = last_boxed(text)
        if text.count("\\boxed") == 1 and not boxed.problem:
            return boxed.text
    bold = text.removeprefix("**").removesuffix("**")
    if len(bold) == len(text) - 4 and without_preamble(bold) != bold:
        text = bold
    return without_preamble(text)
