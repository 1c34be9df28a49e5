"""Marks the changed words in an old and a new text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby

# A placeholder, a word with its hyphens ("second-to-last"), white space, or another character.
_TOKEN = re.compile(r"<image[ _]?\d*>|\w+(?:-\w+)*|\s+|.", re.DOTALL)


@dataclass(frozen=True)
class Piece:
    """A part of a text: whether the other text lacks it here, and whether it is a placeholder."""

    text: str
    changed: bool = False
    placeholder: bool = False


def word_diff(before: str, after: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Splits both texts into pieces; words that the other text lacks there are marked as changed.

    Texts that differ only in words are compared word by word: ``1→2→3`` and ``3→1→2`` differ in
    every number. Others are aligned first.
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
    """Whether each token is outside the common parts, for both texts."""
    # The common start and end are set aside, as alignment takes quadratic time.
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
    """The tokens as pieces, with neighbouring unchanged ones joined."""
    pieces = [
        Piece(token, is_changed, token.startswith("<image"))
        for token, is_changed in zip(tokens, changed, strict=True)
    ]
    joined: list[Piece] = []
    for stayed, group in groupby(pieces, lambda piece: not (piece.changed or piece.placeholder)):
        part = list(group)
        joined += [Piece("".join(piece.text for piece in part))] if stayed else part
    return tuple(joined)
