"""Reads nouns that are left out: "the first image shows a dog and the second a cat".

Only a whole sentence of one form is read, with an article where the verb is missing: there "the
second a cat" cannot be a thing called second.
"""

import re

from perl_jax.permutation.reading.placeholders import UNDERSTOOD
from perl_jax.permutation.reading.scan import Mention, Scan
from perl_jax.permutation.reading.words import ORDINALS

_JOIN = r"(?:\s*[,;]\s*(?:(?:and|but|while|whereas)\s+)?|\s+(?:and|but|while|whereas)\s+)"
_VERB = r"(?:shows?|depicts?|contains?|has|displays?|features?|is)"
# Up to four words that take up no thread of their own: no conjunction, no other counted thing.
_WORDS = (
    r"(?:\s+(?!(?:and|or|but|while|whereas|the|an?|one|ones|other|others|another|each|both|first|last|which"
    r"|who|that|in|on|of|with|left|right|middle)\b)[^\W\d_][\w-]*){1,4}"
)
_THING = rf"an?{_WORDS}"
_ENDS = r"(?=\s*(?:[.?!;\n]|$))"
_STARTS = r"(?:^|(?<=[.?!:\n\0]))[ \n]*"
_PLACES = re.compile(
    rf"{_STARTS}the\s+(?P<named>\a+)\s+{_VERB}\s+{_THING}"
    rf"(?P<more>(?:{_JOIN}the\s+(?:{'|'.join(ORDINALS)}|left|right|middle)\s+{_THING})+){_ENDS}",
    re.IGNORECASE,
)
_PLACE = re.compile(rf"the\s+(?P<place>{'|'.join(ORDINALS)}|left|right|middle)\s", re.IGNORECASE)
_NUMBERS = (
    rf"{_STARTS}NOUN[ ]?[#]?(?P<named>\a)"
    rf"(?:\s+{_VERB}\s+{_THING}(?P<more>(?:{_JOIN}\d\s+{_THING})+)"
    rf"|:(?:\s+an?)?{_WORDS}(?P<listed>(?:{_JOIN}\d:(?:\s+an?)?{_WORDS})+)){_ENDS}"
)


def read_gapped(scan: Scan) -> None:
    """Adds the mentions of a scan whose nouns are left out, where the reading is certain."""
    scan.begin_pass()
    if UNDERSTOOD not in scan.text:
        return
    named = {mention.start: mention for mention in scan.mentions}
    for match in _PLACES.finditer(scan.text):
        tokens = list(_PLACE.finditer(scan.text, *match.span("more")))
        _mention(scan, match, named, [token.span("place") for token in tokens])
    for match in scan.find(_NUMBERS):
        group = "more" if match["more"] else "listed"
        tokens = list(re.finditer(r"\b\d\b", match[group]))
        start = match.start(group)
        spans = [(start + token.start(), start + token.end()) for token in tokens]
        _mention(scan, match, named, spans)


def _mention(
    scan: Scan, match: re.Match[str], named: dict[int, Mention], spans: list[tuple[int, int]]
) -> None:
    """Notes the mentions, if they and the one with the noun are of one style and all different."""
    first = [named[start] for start in range(*match.span("named")) if start in named]
    readings = [scan.reader.read(scan.text[slice(*span)]) for span in spans]
    known = [reading for reading in readings if reading is not None]
    slots = {m.slot for m in first} | {slot for _, slot in known}
    styles = {m.style for m in first} | {style for style, _ in known}
    if len(first) != 1 or len(known) != len(spans) or len(styles) > 1:
        return
    inside = all(0 <= slot < scan.reader.num_slots for slot in slots)
    if inside and len(slots) == 1 + len(spans):
        for span, reading in zip(spans, known, strict=True):
            scan.mention(span, reading)
            scan.claim(*span)
