"""Image placeholders in text: ``<image>``, ``<image 1>``, ``<image1>``, ``<image_1>``."""

import re
from dataclasses import dataclass

# Numbers of more digits are left as text.
_PLACEHOLDER = re.compile(r"<image(?:[ _]?([0-9]{1,6}))?>")


@dataclass(frozen=True)
class Slot:
    """A placeholder, as written, for image ``number`` (from 1; None: the next one)."""

    number: int | None
    text: str


def split_placeholders(text: str) -> list[str | Slot]:
    """Splits text at its image placeholders into non-empty texts and slots.

    Joined, the pieces give ``text`` again, white space included.
    """
    pieces: list[str | Slot] = []
    end = 0
    for match in _PLACEHOLDER.finditer(text):
        if match.start() > end:
            pieces.append(text[end : match.start()])
        pieces.append(Slot(int(match[1]) if match[1] else None, match[0]))
        end = match.end()
    if end < len(text):
        pieces.append(text[end:])
    return pieces


def find_slots(text: str) -> list[Slot]:
    """The image placeholders of a text, in order."""
    return [piece for piece in split_placeholders(text) if isinstance(piece, Slot)]
