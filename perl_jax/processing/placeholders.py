"""Image placeholders in text: ``<image>``, ``<image 1>``, ``<image1>``, ``<image_1>``."""

import re
from dataclasses import dataclass

# More digits than any prompt has images are left as text.
_PLACEHOLDER = re.compile(r"<image(?:[ _]?([0-9]{1,6}))?>")


@dataclass(frozen=True)
class Slot:
    """A place in the text where an image is shown.

    Attributes:
        number: The image to show, counted from 1, or None for the next one of the list.
        text: The placeholder as it was written.
    """

    number: int | None
    text: str


def split_placeholders(text: str) -> list[str | Slot]:
    """Splits text at its image placeholders.

    Returns:
        The pieces in their order: non-empty texts, their white space untouched, and slots. Writing
        them one after another gives ``text`` again.
    """
    pieces: list[str | Slot] = []
    end = 0
    for match in _PLACEHOLDER.finditer(text):
        if match.start() > end:
            pieces.append(text[end : match.start()])
        number = None if match[1] is None else int(match[1])
        pieces.append(Slot(number, match[0]))
        end = match.end()
    if end < len(text):
        pieces.append(text[end:])
    return pieces
