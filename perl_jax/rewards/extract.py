r"""Finds the final answer of a response: the contents of its last ``\boxed{}``."""

import re
import unicodedata
from dataclasses import dataclass

MAX_CHARACTERS = 2000
"""The longest box that is graded. Real answers are far shorter; hostile ones may be endless."""

_BOX = re.compile(r"\\boxed\s*\{")
# An escaped character is one token, so that the braces of a set, \{1, 2\}, group nothing.
_ESCAPE_OR_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_SPACES = "\t\n\r"
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn")


@dataclass(frozen=True)
class Boxed:
    """The contents of a response's last box, or the problem with them.

    ``problem`` is empty, or one of ``no_box``, ``unclosed_box``, ``empty_box``, ``too_long`` and
    ``invisible_characters``; ``text`` has no surrounding space, and is empty if there is a problem.
    """

    text: str = ""
    problem: str = ""


def last_boxed(response: str) -> Boxed:
    r"""Returns the contents of the last ``\boxed{}`` of ``response``, its braces matched.

    Takes linear time. If the last box is never closed, that is a problem, and no earlier box
    counts: the response was cut off, or hides its answer.
    """
    start = -1
    for match in _BOX.finditer(response):
        start = match.end()
    if start < 0:
        return Boxed(problem="no_box")
    depth = 1
    for match in _ESCAPE_OR_BRACE.finditer(response, start):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return _checked(response[start : match.start()].strip())
    return Boxed(problem="unclosed_box")


def has_invisible_characters(text: str) -> bool:
    """Whether a text holds control, format (zero-width, right-to-left) or unassigned characters.

    Such an answer reads the same to a person, but differs to a program.
    """
    if text.isascii() and text.isprintable():
        return False
    return any(c not in _SPACES and unicodedata.category(c) in _UNSEEN for c in text)


def _checked(content: str) -> Boxed:
    if not content or len(content) > MAX_CHARACTERS:
        return Boxed(problem="too_long" if content else "empty_box")
    if has_invisible_characters(content):
        return Boxed(problem="invisible_characters")
    return Boxed(text=content)
