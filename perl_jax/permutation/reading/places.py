"""Reads ordinals and sides that name images: "the second image", "the image on the left"."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from perl_jax.permutation.reading.scan import (
    COMMA,
    GOES_ON,
    INDEFINITE,
    Mention,
    Run,
    Scan,
    noun_pattern,
    read_list,
)
from perl_jax.permutation.reading.words import (
    NUMBER,
    ORDINALS,
    POSITION,
    SIDE,
    Reading,
    read_number,
    read_position,
    read_side,
)

_FUNCTION_WORD = re.compile(
    r"\b(?:in|of|on|at|to|from|with|without|by|for|and|or|than|is|are|was|were|the|an?|this|that"
    r"|each|every|behind|next|beside|near|as|but|do|does|has|have|which|what|between|across|both"
    r"|these|those|all|any|one|other|another|its|their|into|inside|per|no)\b",
    re.IGNORECASE,
)
_DETERMINER = re.compile(r"\b(?:the|this|that|your|our|my)\s+$", re.IGNORECASE)
_CHOOSING = re.compile(
    r"\b(?:choose|select|pick|find|identify|determine|guess|match|give|get|point|click|mark|is"
    r"|what's)(?:\s+out)?\s+the\s+$",
    re.IGNORECASE,
)
_PREPOSITION = re.compile(r"\b(?:on|to|at|in|toward|towards|from|of|far)\s+the\s+$", re.IGNORECASE)
_PRONOUN = re.compile(
    rf"{'|'.join(ORDINALS)}|\d+(?:st|nd|rd|th)|last|[a-z]+-to-last|left|right|middle"
    r"|(?:left|right)-?most",
    re.IGNORECASE,
)
_PLACE = re.compile(rf"\b(?:{POSITION}|{SIDE})\b", re.IGNORECASE)
_COUNTED_BACK = re.compile(rf"-$|\b{POSITION}\s+$", re.IGNORECASE)  # "third-last", "third last"
_LAYOUT = re.compile(r"\b(?:top|bottom|upper|lower)[- ]$", re.IGNORECASE)
_ADJECTIVE = r"(?:input|given|provided|presented|shown|displayed|original)"
_ADJECTIVES = rf"(?:\s+{_ADJECTIVE})?"


@dataclass(frozen=True)
class _Patterns:
    """The patterns that depend on the nouns that mean an image."""

    ending: re.Pattern[str]
    beside: re.Pattern[str]
    relative: re.Pattern[str]
    counted: re.Pattern[str]
    direct: re.Pattern[str]
    partitive: re.Pattern[str]
    group: re.Pattern[str]
    described: re.Pattern[str]


@lru_cache(maxsize=32)
def _patterns(nouns: tuple[str, ...]) -> _Patterns:
    noun = noun_pattern(nouns)
    tail = (
        r"(?:\s+(?:in|of)\s+(?:(?:the|this|that)\s+)?(?:sequence|series|set|list|row|order|lineup"
        r"|collection|group)\b)?"
    )
    part = r"(?!\s+(?:frames?|books?|albums?|windows?|walls?|cards?|galler(?:y|ies)|hangings?)\b)"
    group = r"(?:pairs?|sets?|groups?|rows?|columns?|half|batch|series|triplets?)"

    def compiled(pattern: str) -> re.Pattern[str]:
        return re.compile(pattern, re.IGNORECASE)

    return _Patterns(
        ending=compiled(rf"\b(?:former|latter)\s+(?P<count>{NUMBER})\s+{noun}s\b"),
        beside=compiled(
            rf"\b{noun}(?P<plural>s?)\s+(?:(?:shown|displayed|located|placed|positioned|seen"
            rf"|that is|which is)\s+)?(?:(?:on|to|at|in|from)\s+(?:the\s+)?(?:far\s+)?"
            rf"(?P<side>left|right)(?:[- ]?hand)?(?:\s+side)?|in\s+the\s+"
            rf"(?P<middle>middle|center|centre))\b"
        ),
        relative=compiled(
            rf"\b{noun}\s+(?:(?:directly|immediately|right|just)\s+)?"
            rf"(?P<way>after|following|before|preceding)\s+(?:the\s+)?(?P<place>{POSITION})\b"
            rf"(?P<noun>\s+(?:{noun}\b|one\b))?"
        ),
        counted=compiled(rf"\s+(?P<count>{NUMBER}){_ADJECTIVES}\s+{noun}s\b"),
        direct=compiled(rf"(?P<side>\s+side)?{_ADJECTIVES}\s+{noun}(?P<plural>s?)\b{part}{tail}"),
        partitive=compiled(
            rf"\s+(?:one\s+)?of\s+(?:all\s+)?(?:the|these|those|all|our)\s+(?:{NUMBER}\s+)?"
            rf"(?:{_ADJECTIVE}\s+)?{noun}s\b"
        ),
        group=compiled(
            rf"\s+(?:{group}\s+of\s+(?:the\s+|{NUMBER}\s+)?{noun}s\b|{noun}\s+{group}\b"
            rf"|{NUMBER}\s+{noun}\s+{group}\b)"
        ),
        described=compiled(rf"(?P<words>(?:\s+[\w-]+){{1,2}})\s+{noun}s?\b{part}"),
    )


def read_places(scan: Scan) -> None:
    """Reads the ordinals and sides of a text, the most specific forms first."""
    patterns = _patterns(scan.reader.nouns)
    _read_ending(scan, patterns.ending)
    _read_relative(scan, patterns.relative)
    _read_beside(scan, patterns.beside)
    _read_listed(scan, patterns)


def _read_ending(scan: Scan, pattern: re.Pattern[str]) -> None:
    """Reads "the latter two images"."""
    for match in pattern.finditer(scan.text):
        count, size = scan.reader.num_slots, read_number(match["count"], 1)[1] + 1
        latter = match[0].lower().startswith("latter")
        if 0 < size <= count:
            slots = range(count - size, count) if latter else range(size)
            scan.runs.append(Run(slots, ()))
        else:
            scan.doubt("reference_out_of_range", match[0])
        scan.claim(*match.span())


def _read_relative(scan: Scan, pattern: re.Pattern[str]) -> None:
    """Reads "image directly after the first"."""
    for match in pattern.finditer(scan.text):
        reading = read_position(match["place"], scan.reader.num_slots)
        shift = 1 if match["way"].lower() in ("after", "following") else -1
        complete = match["noun"] or GOES_ON.match(scan.text, match.end())
        every = INDEFINITE.search(scan.text[: match.start()])
        if reading[0] == "ordinal" and complete and not every:
            scan.mention(match.span("place"), reading, shift)
        else:
            scan.doubt("ambiguous_reference", match[0])
        scan.claim(*match.span())


def _read_beside(scan: Scan, pattern: re.Pattern[str]) -> None:
    """Reads "image on the left-hand side" and "image in the middle"."""
    for match in pattern.finditer(scan.text):
        group = "side" if match["side"] else "middle"
        reading = read_side(match[group], scan.reader.num_slots)
        if match["plural"]:
            scan.doubt("group_reference", match[0])
        elif not GOES_ON.match(scan.text, match.end()):
            scan.doubt("ambiguous_reference", match[0], *([] if reading is None else [reading[1]]))
        elif reading is None:
            scan.doubt("ambiguous_side", match[0])
        else:
            # "on the middle" is not English, so these words name the two outer slots only.
            scan.mention(match.span(group), ("outer_side", reading[1]))
        scan.claim(*match.span())


def _read_listed(scan: Scan, patterns: _Patterns) -> None:
    """Reads ordinals and sides, alone or listed, before a noun that means an image."""
    start = 0
    while first := _PLACE.search(scan.text, start):
        tokens, gaps, end = read_list(scan.text, first, _PLACE)
        if gaps and all(COMMA.fullmatch(gap) for gap in gaps):
            # "First, the left image ...": without "and" or "or" a comma joins no list.
            tokens, gaps, end = tokens[:1], [], first.end()
        start = _read_tail(scan, patterns, tokens, end)


def _place(token: str, num_slots: int) -> Reading | None:
    if re.fullmatch(SIDE, token, re.IGNORECASE):
        return read_side(token, num_slots)
    return read_position(token, num_slots)


def _read_tail(scan: Scan, patterns: _Patterns, tokens: list[re.Match[str]], end: int) -> int:
    """Decides by the words after the tokens what they name; returns where to read on."""
    text, count = scan.text, scan.reader.num_slots
    start = tokens[0].start()
    readings = [_place(token[0], count) for token in tokens]
    slots = [reading and reading[1] for reading in readings]
    before = text[:start]
    sides = all(re.fullmatch(SIDE, token[0], re.IGNORECASE) for token in tokens)
    tails: list[tuple[re.Pattern[str], Callable[[re.Match[str]], None]]] = [
        (patterns.group, lambda tail: scan.doubt("group_reference", text[start : tail.end()])),
        (patterns.counted, lambda tail: _read_edge(scan, tokens, tail)),
        (patterns.direct, lambda tail: _read_direct(scan, tokens, readings, tail)),
    ]
    if sides:
        tails.append((patterns.partitive, lambda tail: scan.doubt("ambiguous_side", tail[0])))
    else:
        tails.append((patterns.partitive, lambda tail: _mention_all(scan, tokens, readings)))
    for pattern, handle in tails:
        if tail := pattern.match(text, end):
            handle(tail)
            scan.claim(start, tail.end())
            return tail.end()
    described = patterns.described.match(text, end)
    if described and _DETERMINER.search(before) and not _FUNCTION_WORD.search(described["words"]):
        scan.doubt("ambiguous_reference", text[start : described.end()], *slots)
    elif _stands_alone(text, tokens, end, sides) and not (sides and count > 3):
        scan.doubt("ambiguous_reference", text[start:end], *slots)
    return end


def _stands_alone(text: str, tokens: list[re.Match[str]], end: int, sides: bool) -> bool:
    """Whether "the first", "the left one" and the like stand without a noun."""
    before = text[: tokens[0].start()]
    if not all(_PRONOUN.fullmatch(token[0]) for token in tokens):
        return False  # "the end", "the opening", "the center" are things of their own
    if re.compile(r"\s+ones?\b", re.IGNORECASE).match(text, end):
        return True
    if not re.search(r"\bthe\s+$", before, re.IGNORECASE) or not GOES_ON.match(text, end):
        return False
    return not (sides and _PREPOSITION.search(before))


def _read_edge(scan: Scan, tokens: list[re.Match[str]], tail: re.Match[str]) -> None:
    """Reads "the first two images" and "the last 3 images"."""
    count, word = scan.reader.num_slots, tokens[0][0].lower()
    size = read_number(tail["count"], 1)[1] + 1
    if len(tokens) > 1 or word not in ("first", "last") or not 0 < size <= count:
        scan.doubt("group_reference", tokens[0][0] + tail[0])
        return
    slots = range(size) if word == "first" else range(count - size, count)
    scan.runs.append(Run(slots, (Mention(*tokens[0].span(), slots[0], "edge"),)))


def _read_direct(
    scan: Scan,
    tokens: list[re.Match[str]],
    readings: list[Reading | None],
    tail: re.Match[str],
) -> None:
    """Reads tokens that stand right before the noun: "the first and last images"."""
    text, count = scan.text, scan.reader.num_slots
    start, slots = tokens[0].start(), [reading and reading[1] for reading in readings]
    quote = text[start : tail.end()]
    words = [token[0].lower() for token in tokens]
    sides = [re.fullmatch(SIDE, word) is not None for word in words]
    chosen = words == ["right"] and _CHOOSING.search(text[:start])
    if _LAYOUT.search(text[:start]):
        scan.doubt("layout_reference", quote)
    elif _COUNTED_BACK.search(text[:start]):
        scan.doubt("ambiguous_reference", quote)
    elif len(tokens) == 1 and tail["plural"]:
        scan.doubt("group_reference", quote)
    elif INDEFINITE.search(text[:start]) or chosen or (tail["side"] and not all(sides)):
        scan.doubt("ambiguous_reference", quote, *slots)
    elif words == ["primary"]:
        # Among "secondary" and "tertiary" it is the first; alone it may be the main one.
        scan.doubt("ambiguous_reference", quote, 0)
    elif len(tokens) > 1 and all(sides) and count == 2:
        return  # "the left and right images" is the set of both: it stays
    else:
        _mention_all(scan, tokens, readings)


def _mention_all(scan: Scan, tokens: list[re.Match[str]], readings: list[Reading | None]) -> None:
    for token, reading in zip(tokens, readings, strict=True):
        scan.mention(token.span(), reading)
