"""What is read in a text: mentions, runs and doubts, and the words around them.

A scan reads a text in passes, the most specific form first; what one pass understands is masked,
so that the next does not read it again. It yields mentions (to be rewritten), runs (sets such as
"images 1-3"), and doubts: words that may name an image. Everything else, such as "both images" or
"the left cat", stands for the same thing in any order.
"""

import re
from dataclasses import dataclass, field

from perl_jax.permutation.reading.placeholders import MASK
from perl_jax.permutation.reading.words import Reading

NOUNS = ("image", "picture", "photo", "photograph", "pic", "img")


@dataclass(frozen=True)
class Mention:
    """Characters ``start:end`` of a text that name the image of a slot.

    Where ``shift`` is s, the words name the slot s places after the one that the token spells.
    """

    start: int
    end: int
    slot: int
    style: str
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
class Reader:
    """What a scan must know about the example and its rule."""

    num_slots: int
    base: int = 1
    nouns: tuple[str, ...] = NOUNS
    names: tuple[str, ...] = ()
    strict_sides: bool = False
    sequences: bool = False  # whether the text may speak of the images as a sequence
    letters_follow: bool = False  # whether the pictures move under fixed option letters


@dataclass
class Scan:
    """A text while it is read: what has been understood is masked."""

    text: str
    reader: Reader
    mentions: list[Mention] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)

    def claim(self, start: int, end: int) -> None:
        """Marks a span as understood."""
        self.text = self.text[:start] + MASK * (end - start) + self.text[end:]

    def doubt(self, reason: str, quote: str, *slots: int | None) -> None:
        """Notes words of unclear meaning; no slots, or an unknown one, make them never harmless."""
        known = tuple(slot for slot in slots if slot is not None)
        inside = slots and len(known) == len(slots)
        readable = re.sub(f"{MASK}+", "...", quote).strip()
        self.doubts.append(Doubt(reason, known if inside else None, readable))

    def mention(self, span: tuple[int, int], reading: Reading | None, shift: int = 0) -> None:
        """Notes a mention, or a doubt where no such image exists."""
        quote = self.text[slice(*span)]
        if reading is None:
            self.doubt("ambiguous_side", quote)
        elif not 0 <= reading[1] + shift < self.reader.num_slots:
            self.doubt("reference_out_of_range", quote)
        else:
            self.mentions.append(Mention(*span, reading[1] + shift, reading[0], shift))


# Words after which a sentence goes on without a noun, so that what precedes stands by itself.
GOES_ON = re.compile(
    r"\s*(?:$|[^\w\s-]|-(?!\w)|(?:is|are|was|were|has|have|had|do|does|did|can|could|will"
    r"|would|should|may|might|must|shows?|contains?|depicts?|displays?|features?"
    r"|includes?|looks?|appears?|seems?"
    r"|and|or|but|nor|than|while|whereas|when|that|which|who|with|without|in|on|at|from|for|to|as"
    r"|there|then|only|also|not|both|respectively)\b)",
    re.IGNORECASE,
)
INDEFINITE = re.compile(
    r"\b(?:an?|another|every|each|any|one|no|per|single|same|only|whole|entire)\s+$", re.IGNORECASE
)
_LIST = r"(?:\s*,\s*(?:and\s+|or\s+)?|\s+(?:and|or|&|vs\.?|versus)\s+|\s*[/&]\s*)"
LISTED = re.compile(rf"{_LIST}(?:the\s+)?", re.IGNORECASE)
COMMA = re.compile(r"\s*,\s*(?:the\s+)?", re.IGNORECASE)


def noun_pattern(nouns: tuple[str, ...]) -> str:
    """Matches one of the nouns; the longest first, so that "photograph" is not "photo"."""
    return "(?:" + "|".join(sorted(map(re.escape, nouns), key=len, reverse=True)) + ")"


def read_list(
    text: str, first: re.Match[str], item: re.Pattern[str]
) -> tuple[list[re.Match[str]], list[str], int]:
    """Reads on while list words and items alternate: the items, the gaps, and the end."""
    items, gaps, end = [first], [], first.end()
    while (gap := LISTED.match(text, end)) and (token := item.match(text, gap.end())):
        items.append(token)
        gaps.append(gap[0])
        end = token.end()
    return items, gaps, end
