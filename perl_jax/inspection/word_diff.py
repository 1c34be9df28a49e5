"""Which words of a text changed, in the old text and in the new one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby

# A placeholder, a word (hyphens belong to it: "second-to-last"), white space, or one other sign.
_TOKEN = re.compile(r"<image[ _]?\d*>|\w+(?:-\w+)*|\s+|.", re.DOTALL)


@dataclass(frozen=True)
class Piece:
    """A part of a text.

    Attributes:
        text: The part.
        changed: Whether the other text lacks it here.
        placeholder: Whether it is the placeholder of an image.
    """

    text: str
    changed: bool = False
    placeholder: bool = False


def word_diff(before: str, after: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Both texts in pieces; in each, exactly the words that the other lacks there are changed.

    Texts that differ in words alone are compared word by word: all numbers of ``1→2→3`` and
    ``3→1→2`` changed. Others are aligned first.
    """
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    pairs = list(zip(old, new, strict=False))
    if len(old) == len(new) and all(a == b or (_is_word(a) and _is_word(b)) for a, b in pairs):
        changed = [a != b for a, b in pairs]
        return _pieces(old, changed), _pieces(new, changed)
    old_changed, new_changed = _aligned(old, new)
    return _pieces(old, old_changed), _pieces(new, new_changed)


def _is_word(token: str) -> bool:
    return token[0].isalnum() or token[0] == "_"


def _aligned(old: Sequence[str], new: Sequence[str]) -> tuple[list[bool], list[bool]]:
    """For every token of both, whether it is outside of what they have in common."""
    # What they begin and end with is set aside first: alignment takes quadratic time.
    shorter = min(len(old), len(new))
    head = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    tail = next((i for i in range(shorter - head) if old[-1 - i] != new[-1 - i]), shorter - head)
    old_changed = [head <= i < len(old) - tail for i in range(len(old))]
    new_changed = [head <= i < len(new) - tail for i in range(len(new))]
    middle = old[head : len(old) - tail], new[head : len(new) - tail]
    for block in SequenceMatcher(None, *middle, autojunk=False).get_matching_blocks():
        for i in range(block.size):
            old_changed[head + block.a + i] = new_changed[head + block.b + i] = False
    return old_changed, new_changed


def _pieces(tokens: Sequence[str], changed: Sequence[bool]) -> tuple[Piece, ...]:
    """The tokens, with neighbours that stayed as one piece."""
    pieces = [
        Piece(token, is_changed, token.startswith("<image"))
        for token, is_changed in zip(tokens, changed, strict=True)
    ]
    joined: list[Piece] = []
    for stayed, group in groupby(pieces, lambda piece: not (piece.changed or piece.placeholder)):
        part = list(group)
        joined += [Piece("".join(piece.text for piece in part))] if stayed else part
    return tuple(joined)
