r"""Finds the final answer of a response: the contents of its last ``\boxed{}``."""

import re
import unicodedata
from dataclasses import dataclass

MAX_CHARACTERS = 2000
"""The longest box that is graded. Real answers are far shorter; hostile ones may be endless."""

_BOX = re.compile(r"\\boxed\s*\{")
# An escaped character is one token, so that the braces of a set, \{1, 2\}, group nothing.
_ESCAPE_OR_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_MOST_LAYERS = 4
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
    starts = [match.end() for match in _BOX.finditer(response)]
    if not starts:
        return Boxed(problem="no_box")
    ends = _ends(response, starts)
    if starts[-1] not in ends:
        return Boxed(problem="unclosed_box")
    # A box in a box is only a part of what the outer one says: "\boxed{\boxed{B} or C}".
    closed = [start for start in starts if ends.get(start, 0) >= ends[starts[-1]]]
    return _checked(_without_box(response[closed[0] : ends[closed[0]]].strip()))


def _ends(response: str, starts: list[int]) -> dict[int, int]:
    """Where the boxes that begin at ``starts`` end, as far as they are closed."""
    begin, open_braces, ends = set(starts), [starts[0]], dict[int, int]()
    for match in _ESCAPE_OR_BRACE.finditer(response, starts[0]):
        if match.group() == "{":
            open_braces.append(match.end())
        elif match.group() == "}" and open_braces:
            start = open_braces.pop()
            if start in begin:
                ends[start] = match.start()
    return ends


def _without_box(text: str) -> str:
    """A text without boxes around all of it."""
    for _ in range(_MOST_LAYERS):
        box = _BOX.match(text)
        if box is None or _ends(text, [box.end()]).get(box.end()) != len(text) - 1:
            break
        text = text[box.end() : -1].strip()
    return text


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
