"""Reads what a response says its answer is, where the answer is a number, LaTeX or words."""

import re

from perl_jax.rewards.normalise import clean, is_prose, prose

_STATED = re.compile(
    r"\b(?:(?:final|correct|right)\s+)*(?:answer|result)\b[*_]*\s*"
    r"(?:(?:is|are|should\s+be|would\s+be|must\s+be|equals)\b\s*:?|[:\uff1a])[\s*_]*",
    re.IGNORECASE,
)
# A sentence ends with a full stop, except where it belongs to a number or a label: "B. 12".
_ENDS = re.compile(r"\n|(?<!\b[A-Z])\.\s|\.$")
_WRAPPED = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textrm|mathit|mbox|bf|rm)\s*\{([^{}]*)\}")
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
    text = text.strip().strip("*_`").strip()
    if len(text) > 1 and text[0] == "{" and text.find("}") == len(text) - 1:
        text = text[1:-1]  # MV-MATH's form, "Answer: {5}"
    return text.strip().removesuffix(".").strip()


def same_text(a: str, b: str) -> bool:
    """Whether two answers are the same text, whatever their spaces and the dress of LaTeX."""
    one, other = _bare(a), _bare(b)
    if one == other:
        return bool(one)
    return is_prose(one) and is_prose(other) and prose(_spoken(a)) == prose(_spoken(b)) != ""


def _bare(text: str) -> str:
    return "".join(_spoken(text).split()).rstrip(".;,")


def _spoken(text: str) -> str:
    return clean(_WRAPPED.sub(r"\1", _LOOKS.sub(" ", clean(text))))
