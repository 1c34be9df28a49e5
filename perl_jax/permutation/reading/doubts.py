"""Finds words that would make a rewritten text wrong: sequences, layouts, unclear nouns and sides.

What a scan has understood is masked already. Each finding is a doubt, never a rewrite: a text with
one that concerns a moved image is not permuted.
"""

import re
from functools import lru_cache

from perl_jax.permutation.reading.scan import Scan
from perl_jax.permutation.reading.words import (
    NUMBER,
    POSITION,
    read_number,
    read_position,
    read_side,
)

# They may be another word for a shown image, or a thing inside one.
_OTHER_NOUNS = (
    "figure|fig|chart|graph|diagram|frame|panel|screenshot|map|plot|drawing|painting|sketch|view"
    "|shot|slide|page|scan|illustration|clip|scene|video"
)
_LAYOUT = r"top|bottom|upper|lower|above|below"
_SEQUENCE = re.compile(
    r"\b(?:next|previous|preceding|subsequent|prior)\s+(?:image|picture|photo|photograph|frame)s?\b"
    r"|\bfollowing\s+(?:image|picture|photo|photograph|frame)\b"
    r"|\b(?:consecutive|successive|adjacent|neighbou?ring|alternate|alternating)\b"
    r"|\bin\s+(?:(?:the|this|that|their)\s+)?(?:\w+\s+)?order\b(?!\s+to\b)"
    r"|\b(?:sequence|sequences|sequential|sequentially|chronological|chronologically|timeline)\b"
    r"|\bhappen(?:s|ed|ing)?\s+next\b|\bcomes?\s+(?:next|before|after|first|last)\b"
    r"|\bbefore\s+and\s+after\b|\bover\s+time\b|\bprogress(?:es|ion|ively)\b"
    r"|\b(?:image|picture|photo|frame)s?\s+(?:(?:directly|immediately|right|just)\s+)?"
    r"(?:before|after|preceding|following)\s+(?:it|this|that|image|picture|photo|frame|\0)"
    r"|\b(?:image|picture|photo|photograph|frame)s\s+(?:that\s+)?(?:come\s+)?"
    r"(?:before|after|preceding|following|until|up\s+to)\b"
    r"|\bfrom\s+(?:the\s+)?first\s+to\s+(?:the\s+)?last\b"
    r"|\b(?:image|picture|photo)s\b[^.?!]*\bfrom\s+left\s+to\s+right\b"
    r"|\bfrom\s+left\s+to\s+right\b[^.?!]*\b(?:image|picture|photo)s\b",
    re.IGNORECASE,
)
_OPTION = re.compile(
    rf"\b(?:{POSITION}|top|bottom)\s+(?:option|choice|candidate|answer\s+choice)\b", re.IGNORECASE
)
_WHICH = re.compile(r"\b(?:which|what)\b", re.IGNORECASE)
_BARE_LIST = re.compile(
    r"(?<![\w.])\d{1,2}(?:\s*(?:,\s*(?:and|or)|,|\band|\bor)\s*\d{1,2}\b)+"
    r"(?=\s*(?:[?.;:)\n]|or\b|$))"
)
# Sides that can only lie inside an image: directions, parts of a thing, relations, corners.
_INSIDE = re.compile(
    r"\b(?:fac|point|look|turn|head|lean|angl|tilt|aim|direct|orient|go|mov|walk|runn?|fly|swim"
    r"|driv|gaz|star|bend|curv|slant)(?:e|s|es|ed|ing|t)?\s+"
    r"(?:(?:slightly|directly|mostly|more)\s+)?"
    r"(?:(?:to|toward|towards)\s+)?(?:(?:the|its|their|his|her)\s+)?(?:left|right)\b"
    r"|\b(?:left|right)[- ](?:facing|pointing|turned|leaning|angled?s?)\b"
    r"|\b(?:left|right)\s+(?:hand|paw|leg|foot|arm|eye|ear|wing|shoulder|thumb|knee|claw)s?\b"
    r"|\bto\s+the\s+(?:left|right)\s+of\b|\b(?:top|upper|bottom|lower)[- ](?:left|right)\b",
    re.IGNORECASE,
)


def find_doubts(scan: Scan) -> None:
    """Adds the doubts of a text that has been read to its scan."""
    _find_nouns(scan)
    _find_names(scan)
    for reason, pattern in (
        ("respectively", r"\brespective(?:ly)?\b"),
        ("former_latter", r"\bthe\s+(?:former|latter)\b"),
    ):
        if match := re.search(pattern, scan.text, re.IGNORECASE):
            scan.doubt(reason, match[0])
    if _WHICH.search(scan.text):
        _find_bare_lists(scan)
    if not scan.reader.sequences and (match := _SEQUENCE.search(scan.text)):
        scan.doubt("sequence_word", match[0])
    if scan.reader.letters_follow and (match := _OPTION.search(scan.text)):
        scan.doubt("ambiguous_reference", match[0])
    if scan.reader.strict_sides:
        outside = _INSIDE.sub(" ", scan.text)
        if match := re.search(r"\b\w*\s*\b(?:left|right)(?:-?most)?\b", outside, re.IGNORECASE):
            scan.doubt("ambiguous_side", match[0])


def _find_bare_lists(scan: Scan) -> None:
    """Doubts about "which two match: 1 and 2 or 1 and 3?"; all of the images are a set."""
    everything = list(range(scan.reader.num_slots))
    for match in _BARE_LIST.finditer(scan.text):
        slots = [int(number) - scan.reader.base for number in re.findall(r"\d+", match[0])]
        if set(slots) <= set(everything) and sorted(slots) != everything:
            scan.doubt("ambiguous_reference", match[0], *slots)


@lru_cache(maxsize=32)
def _noun_patterns(nouns: tuple[str, ...]) -> dict[str, re.Pattern[str]]:
    others = "|".join(noun for noun in _OTHER_NOUNS.split("|") if noun not in nouns)
    own = "|".join(map(re.escape, nouns))
    beside = r"\s+(?:on|to|at|in)\s+the\s+(?P<side>left|right|middle)\b"
    patterns = {
        "numbered": rf"\b(?:{others})s?\.?\s*[-_#]?\s*\(?(?P<number>\d+)"
        r"(?P<more>\)?\s*(?:,|and|or|&|[-\u2013])?\s*\d)?",
        "placed": rf"\b(?P<place>{POSITION})\s+(?:{others})(?P<plural>s?)\b",
        "sided": r"\b(?P<side>left|right|middle|center|central)(?:-?most|[- ]hand)?\s+"
        rf"(?:{others})s?\b",
        "beside": rf"\b(?:{others}|one|ones|that|those)s?{beside}",
        "seen_beside": rf"\b(?:{own})\s+\w+(?:ing|ed)\s+(?:on|to|at|in)\s+the\s+"
        r"(?P<side>left|right)\b",
        "apposed": rf"(?:\0|\b(?:{own})s?)\s*[,(]\s*(?:(?:on|to|at)\s+)?(?:the\s+)?"
        r"(?P<side>left|right|middle)(?:\s+side)?\s*[,)]",
        "headed": r"(?:^|[\n.;]\s*)(?P<side>left|right|middle)\s*[:=]",
        "hashed": rf"\b(?:no\.|number|#)\s*(?P<number>{NUMBER})\s+(?:{own})\b",
        "hyphened": rf"\b(?:{POSITION}|left|right|middle)-(?:{own})s?\b",
        "lettered": rf"\b(?:{others})s?\s+\(?(?-i:[A-HJ-Z])\b"
        rf"|\b(?:{own})\s+(?:labell?ed|marked|numbered|called|named)"
        r"\s+(?:as\s+)?\W?(?:\d|(?-i:[A-Z])\b)",
        "group": rf"\b(?:{own})\s+(?:pair|set|group|row)\s+#?(?:\d|(?-i:[A-Z])\b|{NUMBER}\b)"
        rf"|\b(?:{POSITION})\s+(?:pair|set)\b(?!\s+of\b)",
        "layout": rf"\b(?:{_LAYOUT})(?:[- ](?:left|right|middle|row))?\s+(?:{own})\b"
        rf"|\b(?:{own})\s+(?:(?:shown|displayed)\s+)?(?:(?:at|on|in)\s+(?:the\s+)?(?:top|bottom)"
        r"|above|below)\b",
    }
    return {name: re.compile(pattern, re.IGNORECASE) for name, pattern in patterns.items()}


def _find_nouns(scan: Scan) -> None:
    """Doubts about "Figure 2", "the second chart", "the left panel", "number 2 image"."""
    reader, patterns = scan.reader, _noun_patterns(scan.reader.nouns)
    for match in patterns["numbered"].finditer(scan.text):
        slot = read_number(match["number"], reader.base)[1]
        scan.doubt("ambiguous_noun", match[0], *([] if match["more"] else [slot]))
    for match in patterns["placed"].finditer(scan.text):
        slots = [] if match["plural"] else [read_position(match["place"], reader.num_slots)[1]]
        scan.doubt("ambiguous_noun", match[0], *slots)
    for name, reason in (
        ("sided", "ambiguous_noun"),
        ("beside", "ambiguous_side"),
        ("seen_beside", "ambiguous_side"),
        ("apposed", "ambiguous_side"),
        ("headed", "ambiguous_side"),
    ):
        for match in patterns[name].finditer(scan.text):
            side = read_side(match["side"], reader.num_slots)
            if side is not None:
                scan.doubt(reason, match[0], side[1])
    for match in patterns["hashed"].finditer(scan.text):
        scan.doubt("ambiguous_reference", match[0], read_number(match["number"], reader.base)[1])


def _find_names(scan: Scan) -> None:
    """Doubts about words that no slot can be given to: "Figure A", "image pair 2", "top image"."""
    patterns = _noun_patterns(scan.reader.nouns)
    for name, reason in (
        ("hyphened", "ambiguous_reference"),
        ("lettered", "named_image"),
        ("group", "group_reference"),
        ("layout", "layout_reference"),
    ):
        if match := patterns[name].search(scan.text):
            scan.doubt(reason, match[0])
