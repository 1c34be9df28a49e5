"""Turns the ground truth of a row into the text that is graded."""

import math
from typing import Any

import numpy as np

from perl_jax.rewards.extract import MAX_CHARACTERS, has_invisible_characters, last_boxed


def answer_text(answer: Any) -> str:
    r"""Returns the ground truth as text.

    A string is stripped, and unwrapped if it is one ``\boxed{}`` (as in ViRL39K). A bool becomes
    ``True`` or ``False``, an int its digits, a float its shortest decimal form, and a list, tuple
    or array of these ``[a, b, c]``, in order. NumPy values count as Python's.

    Raises:
        TypeError: The answer has another type, such as None or a dict.
        ValueError: It can never be matched: empty, not finite, longer than 2,000 characters, with
            invisible characters, unbalanced braces (no box could hold it) or separators in list
            elements.
    """
    if isinstance(answer, np.generic):
        answer = answer.item()
    if isinstance(answer, list | tuple | np.ndarray):
        text = "[" + ", ".join(_element_text(element) for element in answer) + "]"
    elif isinstance(answer, str):
        text = _unboxed(answer.strip())
    elif not isinstance(answer, bool | int | float):
        raise TypeError(
            "an answer is a str, bool, int, float or a list of these; "
            f"got {type(answer).__name__}: {str(answer)[:50]!r}"
        )
    elif isinstance(answer, float) and not math.isfinite(answer):
        raise ValueError(f"the answer {answer} is not a finite number")
    else:
        text = str(answer)
    boxed = last_boxed("\\boxed{" + text + "}")
    if boxed.problem == "too_long":
        raise ValueError(f"the answer is longer than {MAX_CHARACTERS} characters")
    if has_invisible_characters(text):
        raise ValueError(f"the answer {text!r} holds invisible characters")
    if not text or text == "[]":
        raise ValueError("the answer is empty")
    if boxed.problem or boxed.text != text:
        raise ValueError(f"the answer {text!r} fits no box: its braces do not balance")
    return text


def _element_text(element: Any) -> str:
    if isinstance(element, list | tuple | np.ndarray):
        raise TypeError("an answer is a flat list; got a list within a list")
    text = answer_text(element)
    if any(separator in text for separator in ",;→"):
        raise ValueError(f"the list element {text!r} holds a separator")
    return text


def _unboxed(text: str) -> str:
    inner = text.removeprefix("\\boxed{").removesuffix("}").strip()
    return inner if text.startswith("\\boxed{") and last_boxed(text).text == inner else text
