"""Finds what a text quotes: words seen inside a picture are no references."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perl_jax.permutation.reading.placeholders import Span

_QUOTED = re.compile(
    r"\u201c(?P<a>[^\u201c\u201d\n]{1,300})\u201d|\"(?P<b>[^\"\n]{1,300})\""
    r"|(?<!\w)['\u2018](?P<c>[^'\u2018\u2019\n]{1,300})['\u2019](?!\w)|\u300c(?P<d>[^\u300d\n]{1,300})\u300d"
)
_SEEN = re.compile(
    r"(?i)\b(?:signs?|words?|letters|logo|banner|poster|shirt|title|titled|headline|slogan|reads?|reading"
    r"|says?|saying|written|writing|printed|spells?|spelled|inscription|symbol|symbols)\W*$"
)


@dataclass(frozen=True)
class Quote(Span):
    """Characters between quotation marks.

    Attributes:
        seen: Whether they are words that a picture shows.
    """

    seen: bool


def quote_at(quotes: Sequence[Quote], place: int) -> Quote | None:
    """The quote of a list in reading order that a character stands in."""
    index = bisect_right(quotes, place, key=lambda quote: quote.start) - 1
    return quotes[index] if index >= 0 and place < quotes[index].end else None


def quotes_of(text: str) -> Iterator[Quote]:
    """The quotes of a text that are shorter than a sentence, or that a picture shows."""
    for match in _QUOTED.finditer(text):
        span = match.span(match.lastgroup or 0)
        seen = _SEEN.search(text[max(0, match.start() - 40) : match.start()]) is not None
        if seen or len(text[slice(*span)].split()) < 4:
            yield Quote(*span, seen)
