"""Reads what a response says its answer is, where the answer is a number, LaTeX or words."""

import re

from perl_jax.rewards.extract import MAX_CHARACTERS, last_boxed
from perl_jax.rewards.normalise import clean, is_prose, prose

_STATED = re.compile(
    r"\banswer\b[*_]*\s*"
    r"(?:(?:is|are|should\s+be|would\s+be|must\s+be|equals)\b\s*:?|[:\uff1a])(?:[\s*_$]|\\[(\[])*",
    re.IGNORECASE,
)
# A sentence ends with a full stop, except where it belongs to a number or a label: "B. 12".
_ENDS = re.compile(r"\n|(?<!\b[A-Z])\.\s|\.$")
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textrm|mathit|mbox|bf|rm)\s*\{([^{}]*)\}")
_SCRIPT = re.compile(r"([\^_])\s*\{\s*(\w|\\[A-Za-z]+)\s*\}")  # x^{2} is x^2
_LAYERS = 3
_LOOKS = re.compile(r"\\(?:left|right|displaystyle|limits|qquad|quad)(?![A-Za-z])|\\[,;:! ]|[$~]")


def stated(text: str) -> str | None:
    """What follows the last "the answer is" or "Answer:", to the end of the sentence; or None."""
    found = list(_STATED.finditer(text))
    if not found:
        return None
    said = text[found[-1].end() :]
    end = _ENDS.search(said)
    return _undressed(said[: end.start()] if end else said) or None


def _undressed(text: str) -> str:
    """An answer without the marks around it, among them the braces of MV-MATH, "Answer: {5}"."""
    for _ in range(_LAYERS):
        text = text.strip().rstrip("*_`$ ").removesuffix("\\)").removesuffix("\\]")
    if text.startswith("{") and last_boxed(f"\\boxed{text}").text == text[1:-1].strip():
        text = text[1:-1]
    return text.strip().removesuffix(".").strip()


def same_text(a: str, b: str) -> bool:
    """Whether two answers are the same text, whatever their spaces and the dress of LaTeX."""
    if max(len(a), len(b)) > MAX_CHARACTERS:
        return False
    one, other = _bare(a), _bare(b)
    if one == other:
        return bool(one)
    return is_prose(one) and is_prose(other) and prose(_spoken(a)) == prose(_spoken(b)) != ""


def _bare(text: str) -> str:
    return "".join(_spoken(text).split()).rstrip(".;,")


def _spoken(text: str) -> str:
    return clean(_SCRIPT.sub(r"\1\2", _WRAPPED.sub(r"\1", _LOOKS.sub(" ", clean(text)))))
