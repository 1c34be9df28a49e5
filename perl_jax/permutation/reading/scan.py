"""The result of reading a text: mentions, runs, doubts and accounts, and the words around them.

A scan reads a text in passes, the most specific form first; what one pass understands is masked,
so that the next does not read it again. It yields mentions (to be rewritten), runs (sets such as
"images 1-3"), doubts (words that may name an image) and, of each other word that could bear on an
order, an account of what it was taken for.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from perl_jax.permutation.reading.placeholders import MASK, UNDERSTOOD, Span, mask
from perl_jax.permutation.reading.words import NOUNS, Reading, compiled, read_token

WINDOW = 80
"""How many characters before and after a word decide what it stands for."""


@dataclass(frozen=True)
class Mention(Span):
    """Characters that name a slot's image: the one ``shift`` places after what they spell."""

    style: str
    slot: int
    shift: int = 0


@dataclass(frozen=True)
class Run:
    """Words that name consecutive slots: by their first and last, or as an end of the row."""

    slots: range
    ends: tuple[Mention, ...]  # two mentions; or "first" in "the first two"; or no word to change


@dataclass(frozen=True)
class Doubt:
    """Words that may name images; harmless while none of ``slots`` moves (None: never harmless)."""

    reason: str
    slots: tuple[int, ...] | None
    quote: str


@dataclass(frozen=True)
class Account(Span):
    """Characters that could bear on the order of the images, and what they were taken for."""

    taken_for: str


@dataclass(frozen=True)
class Reader:
    """The facts about the example and its rule that a scan needs."""

    num_slots: int
    base: int = 1
    nouns: tuple[str, ...] = NOUNS
    names: tuple[str, ...] = ()
    strict_sides: bool = False
    sequences: bool = False  # whether the text may speak of the images as a sequence
    letters_follow: bool = False  # whether the pictures move under fixed option letters

    def read(self, token: str) -> Reading | None:
        """See `read_token`."""
        return read_token(token, self.num_slots, self.base)


@dataclass
class Scan:
    """A text being read; what has been understood is masked when the next pass begins."""

    text: str
    reader: Reader
    mentions: list[Mention] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)
    _claimed: list[Span] = field(default_factory=list)

    def find(self, pattern: str) -> Iterator[re.Match[str]]:
        """The matches of a pattern of `compiled`, in a new pass over the text."""
        self.begin_pass()
        return compiled(pattern, self.reader.nouns).finditer(self.text)

    def match(self, pattern: str, start: int) -> re.Match[str] | None:
        """The match of a pattern of `compiled` at a place."""
        return compiled(pattern, self.reader.nouns).match(self.text, start)

    def before(self, start: int) -> str:
        """The words before a place, as far as any pattern looks back."""
        return self.text[max(0, start - WINDOW) : start]

    def after(self, end: int) -> str:
        """The words after a place, as far as any pattern looks ahead."""
        return self.text[end : end + WINDOW]

    def claim(self, start: int, end: int) -> None:
        """Marks a span as understood."""
        self._claimed.append(Span(start, end))

    def begin_pass(self) -> None:
        """Masks what the passes before have understood."""
        if self._claimed:
            self.text = mask(self.text, self._claimed, UNDERSTOOD)
            self._claimed = []

    def doubt(self, reason: str, quote: str, *tokens: str) -> None:
        """Notes unclear words: harmless only if each token names a slot and none of them moves."""
        readings = [self.reader.read(token) for token in tokens]
        slots = tuple(reading[1] for reading in readings if reading)
        readable = re.sub(f"[{MASK}{UNDERSTOOD}]+", "...", quote).strip()
        known = slots if slots and len(slots) == len(tokens) else None
        self.doubts.append(Doubt(reason, known, readable))

    def mention(self, span: tuple[int, int], reading: Reading | None, shift: int = 0) -> None:
        """Notes a mention, or a doubt if no such image exists."""
        quote = self.text[slice(*span)]
        if reading is None:
            self.doubt("ambiguous_side", quote)
            return
        style, slot = reading[0], reading[1] + shift
        if 0 <= slot < self.reader.num_slots:
            self.mentions.append(Mention(*span, style, slot, shift))
        else:
            self.doubt("reference_out_of_range", quote)


# Words after which a sentence goes on without a noun, so that what precedes stands by itself.
GOES_ON = re.compile(
    r"(?i)\s*(?:$|[^\w\s-]|-(?!\w)|(?:is|are|was|were|has|have|had|do|does|did|can|could|will"
    r"|would|should|may|might|must|shows?|contains?|depicts?|displays?|features?"
    r"|includes?|looks?|appears?|seems?"
    r"|and|or|but|nor|than|while|whereas|when|that|which|who|with|without|in|on|at|from|for|to|as"
    r"|there|then|only|also|not|both|respectively|like|(?:\w+er|(?:more|less)\s+\w+)\s+than)\b)"
)
INDEFINITE = re.compile(
    r"(?i)\b(?:an?|another|every|each|any|one|no|per|single|same|only|whole|entire)\s+$"
)
_LIST = r"(?:\s*,\s*(?:and\s+|or\s+)?|\s+(?:and|or|&|vs\.?|versus)\s+|\s*[/&]\s*)"
_LONGEST_LIST = 50
LISTED = re.compile(rf"{_LIST}(?:the\s+)?", re.IGNORECASE)
COMMA = re.compile(r"\s*,\s*(?:the\s+)?", re.IGNORECASE)


def read_list(
    text: str, first: re.Match[str], item: re.Pattern[str]
) -> tuple[list[re.Match[str]], list[str], int]:
    """Reads on while list words and items alternate: the items, the gaps, and the end.

    A list of more items than any example has images ends early, which keeps reading linear.
    """
    items, gaps, end = [first], [], first.end()
    while (
        len(items) < _LONGEST_LIST
        and (gap := LISTED.match(text, end))
        and (token := item.match(text, gap.end()))
    ):
        items.append(token)
        gaps.append(gap[0])
        end = token.end()
    return items, gaps, end
