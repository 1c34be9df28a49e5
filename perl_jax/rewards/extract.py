r"""Finds the final answer of a response: what its last ``\boxed{}`` holds."""

import re
import unicodedata
from dataclasses import dataclass

MAX_CHARACTERS = 2000
"""The longest box that is graded. Real answers are far shorter; hostile ones grow without end."""

_BOX = re.compile(r"\\boxed\s*\{")
# An escaped character is one token, so that the braces of a set, \{1, 2\}, group nothing.
_ESCAPE_OR_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_SPACES = "\t\n\r"
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn")


@dataclass(frozen=True)
class Boxed:
    """What the last box of a response holds, or why that cannot be graded.

    Attributes:
        text: The contents without surrounding space; empty where ``problem`` says something.
        problem: Empty, or one of ``no_box``, ``unclosed_box``, ``empty_box``, ``too_long`` and
            ``invisible_characters``.
    """

    text: str = ""
    problem: str = ""


def last_boxed(response: str) -> Boxed:
    r"""Returns the contents of the last ``\boxed{}`` of ``response``, its braces matched.

    Takes time linear in the length of the response, whatever it holds. A box that is opened last
    and never closed is a problem, not a reason to fall back on an earlier one: the response was
    cut off, or it hides what it answers.
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

    An answer that reads the same to a person and differs to a program is not graded as either.
    """
    if text.isascii() and text.isprintable():
        return False
    return any(c not in _SPACES and unicodedata.category(c) in _UNSEEN for c in text)


def _checked(content: str) -> Boxed:
    if not content:
        return Boxed(problem="empty_box")
    if len(content) > MAX_CHARACTERS:
        return Boxed(problem="too_long")
    if has_invisible_characters(content):
        return Boxed(problem="invisible_characters")
    return Boxed(text=content)
