"""Reads ordinals and sides that name images: "the second image", "the image on the left"."""

import re

from perl_jax.permutation.reading.scan import (
    COMMA,
    GOES_ON,
    INDEFINITE,
    Mention,
    Run,
    Scan,
    read_list,
)
from perl_jax.permutation.reading.words import NUMBER, ORDINALS, POSITION, SIDE, read_number

_FUNCTION_WORD = re.compile(
    r"(?i)\b(?:in|of|on|at|to|from|with|without|by|for|and|or|than|is|are|was|were|the|an?|this|that"
    r"|each|every|behind|next|beside|near|as|but|do|does|has|have|which|what|between|across|both"
    r"|these|those|all|any|one|other|another|its|their|into|inside|per|no)\b"
)
_DETERMINER = re.compile(r"\b(?:the|this|that|your|our|my)\s+$", re.IGNORECASE)
_CHOOSING = re.compile(
    r"(?i)\b(?:choose|select|pick|find|identify|determine|guess|match|give|get|point|click|mark|is"
    r"|what's|this|that|it|these|those|which|not|have|got|was|are|be|shows?|gives?)(?:\s+out)?\s+the\s+$"
)
_PREPOSITION = re.compile(r"\b(?:on|to|at|in|toward|towards|from|of|far)\s+the\s+$", re.IGNORECASE)
_PRONOUN = re.compile(
    rf"(?i){'|'.join(ORDINALS)}|\d+(?:st|nd|rd|th)|last|[a-z]+-to-last|left|right|middle"
    r"|(?:left|right)-?most"
)
_SIDE = re.compile(SIDE, re.IGNORECASE)
_PLACE = re.compile(rf"\b(?:{POSITION}|{SIDE})\b", re.IGNORECASE)
_COUNTED_BACK = re.compile(rf"-$|\b{POSITION}\s+$", re.IGNORECASE)  # "third-last", "third last"
_LAYOUT = re.compile(r"\b(?:top|bottom|upper|lower)[- ]$", re.IGNORECASE)
_ADJECTIVE = r"(?:input|given|provided|presented|shown|displayed|original)"
_ADJECTIVES = rf"(?:\s+{_ADJECTIVE})?"
_PART = r"(?!\s+(?:frames?|books?|albums?|windows?|walls?|cards?|galler(?:y|ies)|hangings?)\b)"

# Patterns for `compiled`: words that name images, and what may follow a place such as "the first".
_ENDING = rf"\b(?:former|latter)\s+(?P<count>{NUMBER})\s+NOUNs\b"
_BESIDE = (
    r"\bNOUN(?P<plural>s?)\s+(?:(?:shown|displayed|located|placed|positioned|seen|that is"
    r"|which is)\s+)?(?:(?:on|to|at|in|from)\s+(?:the\s+)?(?:far\s+)?(?P<side>left|right)"
    r"(?:[- ]?hand)?(?:\s+side)?|in\s+the\s+(?P<middle>middle|center|centre))\b"
)
_RELATIVE = (
    r"\bNOUN\s+(?:(?:directly|immediately|right|just)\s+)?(?P<way>after|following|before|preceding)"
    rf"\s+(?:the\s+)?(?P<place>{POSITION})\b(?P<noun>\s+(?:NOUN\b|one\b))?"
)
_COUNTED = rf"\s+(?P<count>{NUMBER}){_ADJECTIVES}\s+NOUNs\b"
_DIRECT = (
    rf"(?P<side>\s+side)?{_ADJECTIVES}\s+NOUN(?P<plural>s?)\b{_PART}(?:\s+(?:in|of)\s+(?:(?:the"
    r"|this|that)\s+)?(?:sequence|series|set|list|row|order|lineup|collection|group)\b)?"
)
_PARTITIVE = (
    rf"\s+(?:one\s+)?of\s+(?:all\s+)?(?:the|these|those|all|our)\s+(?:{NUMBER}\s+)?"
    rf"(?:{_ADJECTIVE}\s+)?NOUNs\b"
)
# A picture in a picture, or in a layout: "the left picture in image 1", "the first image of row 2".
_WITHIN = (
    rf"\s+(?:in|inside|within|of|from|on)\s+(?:(?:the|this|that)\s+)?(?:NOUN\s*#?{NUMBER}\b"
    rf"|\a|(?:{POSITION}|{SIDE}|other|same|whole|top|bottom)\s+(?:NOUN|row|column|line|page|half|side)\b"
    r"|(?:row|column|wall|page|screen|table|desk|shelf|poster|newspaper|magazine|book|album|grid)\b"
    r"|each\b|every\b|both\b)"
)
# "the first image to show a dog" is the earliest that does.
_DOING = (
    r"\s+(?:to\s+(?:show|contain|have|depict|feature|be|include|display|appear|portray)\b"
    r"|(?:that|which)\s+(?:shows?|contains?|has|have|depicts?|features?|includes?|displays?)\b"
    r"|(?:where|in\s+which)\b)"
)
# Nor is "the second image of Paris" the second of all images.
_RESTRICTED = (
    rf"\s+(?:with(?!\s+(?:(?:the|an?|that\s+of)\s+)?(?:{POSITION}|{SIDE}|other|reference|NOUN|each|that|it|its)\b)"
    rf"|without|of(?!\s+(?:all\s+)?(?:the|these|those|this|that|all|our)\s+(?:{NUMBER}|NOUNs?|given|shown|set|series|sequence|list"
    r"|row|group|collection|pair)\b)"
    r"|showing|containing|depicting|featuring|displaying|having|taken|shot|captured|made|painted|drawn|published"
    r"|whose|on\s+which|for\s+which|(?:that|which)\s+(?:\w+\s+)?(?:was|were|is|he|she|they|i|we|you)|by\s+(?!far)[a-z]|he|she"
    r"|they|i|we|you)\b(?!\s+\d)"
)
_MATCHED = re.compile(
    r"(?i)\s+(?:shows?|contains?|depicts?|displays?|features?|have|are|were)\b[^.?!]*\band\b"
)
_SET = r"(?:pairs?|sets?|groups?|rows?|columns?|half|batch|series|triplets?)"
_GROUP = (
    rf"\s+(?:{_SET}\s+of\s+(?:the\s+|{NUMBER}\s+)?NOUNs\b|NOUN\s+{_SET}\b"
    rf"|{NUMBER}\s+NOUN\s+{_SET}\b)"
)
_DESCRIBED = rf"(?P<words>(?:\s+[\w-]+){{1,2}})\s+NOUNs?\b{_PART}"


def read_places(scan: Scan) -> None:
    """Reads the ordinals and sides of a text, the most specific forms first."""
    _read_ending(scan)
    _read_relative(scan)
    _read_beside(scan)
    _read_listed(scan)


def _read_ending(scan: Scan) -> None:
    """Reads "the latter two images"."""
    for match in scan.find(_ENDING):
        count, size = scan.reader.num_slots, read_number(match["count"], 1)[1] + 1
        latter = match[0].lower().startswith("latter")
        if 0 < size <= count:
            slots = range(count - size, count) if latter else range(size)
            scan.runs.append(Run(slots, ()))
        else:
            scan.doubt("reference_out_of_range", match[0])
        scan.claim(*match.span())


def _read_relative(scan: Scan) -> None:
    """Reads "image directly after the first"."""
    for match in scan.find(_RELATIVE):
        reading = scan.reader.read(match["place"])
        shift = 1 if match["way"].lower() in ("after", "following") else -1
        complete = match["noun"] or GOES_ON.match(scan.text, match.end())
        every = INDEFINITE.search(scan.before(match.start()))
        if reading and reading[0] == "ordinal" and complete and not every:
            scan.mention(match.span("place"), reading, shift)
        else:
            scan.doubt("ambiguous_reference", match[0])
        scan.claim(*match.span())


def _read_beside(scan: Scan) -> None:
    """Reads "image on the left-hand side" and "image in the middle"."""
    for match in scan.find(_BESIDE):
        group = "side" if match["side"] else "middle"
        reading = scan.reader.read(match[group])
        if match["plural"]:
            scan.doubt("group_reference", match[0])
        elif not GOES_ON.match(scan.text, match.end()):
            scan.doubt("ambiguous_reference", match[0], match[group])
        elif reading is None:
            scan.doubt("ambiguous_side", match[0])
        else:
            # "on the middle" is not English, so these words name the two outer slots only.
            scan.mention(match.span(group), ("outer_side", reading[1]))
        scan.claim(*match.span())


def _read_listed(scan: Scan) -> None:
    """Reads ordinals and sides, alone or listed, before a noun that means an image."""
    scan.begin_pass()
    start = 0
    while first := _PLACE.search(scan.text, start):
        tokens, gaps, end = read_list(scan.text, first, _PLACE)
        if gaps and all(COMMA.fullmatch(gap) for gap in gaps):
            # "First, the left image ...": without "and" or "or" a comma joins no list.
            tokens, end = tokens[:1], first.end()
        start = _read_tail(scan, tokens, end)


def _read_tail(scan: Scan, tokens: list[re.Match[str]], end: int) -> int:
    """Decides by the words after the tokens what they name; returns where to read on."""
    text, start = scan.text, tokens[0].start()
    sides = all(_SIDE.fullmatch(token[0]) for token in tokens)
    if tail := scan.match(_GROUP, end):
        scan.doubt("group_reference", text[start : tail.end()])
    elif tail := scan.match(_COUNTED, end):
        _read_edge(scan, tokens, tail)
    elif tail := scan.match(_DIRECT, end):
        _read_direct(scan, tokens, tail, sides)
    elif tail := scan.match(_PARTITIVE, end):
        if sides:
            scan.doubt("ambiguous_side", tail[0])
        else:
            _mention_all(scan, tokens)
    if tail:
        scan.claim(start, tail.end())
        return tail.end()
    words = [token[0] for token in tokens]
    described = scan.match(_DESCRIBED, end)
    determined = described and _DETERMINER.search(scan.before(start))
    if determined and described and not _FUNCTION_WORD.search(described["words"]):
        scan.doubt("ambiguous_reference", text[start : described.end()], *words)
    elif _stands_alone(scan, tokens, end, sides) and not (sides and scan.reader.num_slots > 3):
        scan.doubt("ambiguous_reference", text[start:end], *words)
    return end


def _stands_alone(scan: Scan, tokens: list[re.Match[str]], end: int, sides: bool) -> bool:
    """Whether "the first", "the left one" and the like stand without a noun."""
    before = scan.before(tokens[0].start())
    if not all(_PRONOUN.fullmatch(token[0]) for token in tokens):
        return False  # "the end", "the opening", "the center" are things of their own
    if re.match(r"(?i)\s+ones?\b", scan.after(end)):
        return True
    if not re.search(r"(?i)\bthe\s+$", before) or not GOES_ON.match(scan.text, end):
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
    scan.runs.append(Run(slots, (Mention(*tokens[0].span(), "edge", slots[0]),)))


def _read_direct(scan: Scan, tokens: list[re.Match[str]], tail: re.Match[str], sides: bool) -> None:
    """Reads tokens that stand right before the noun: "the first and last images"."""
    before = scan.before(tokens[0].start())
    quote = scan.text[tokens[0].start() : tail.end()]
    words = [token[0].lower() for token in tokens]
    unclear = (
        INDEFINITE.search(before)
        or (words == ["right"] and _CHOOSING.search(before) and not _compared(scan, tail.end()))
        or (tail["side"] and not sides)
        or scan.match(_WITHIN, tail.end())
        or scan.match(_DOING, tail.end())
        or (not sides and _is_of_some(scan, before, tail.end()))
        # Among "secondary" and "tertiary" it is the first; alone it may be the main one.
        or words == ["primary"]
    )
    if _LAYOUT.search(before):
        scan.doubt("layout_reference", quote)
    elif _COUNTED_BACK.search(before):
        scan.doubt("ambiguous_reference", quote)
    elif len(tokens) == 1 and tail["plural"]:
        scan.doubt("group_reference", quote)
    elif unclear:
        scan.doubt("ambiguous_reference", quote, *words)
    elif sides and len(tokens) > 1 and _MATCHED.match(scan.after(tail.end())):
        scan.doubt("respectively", quote)
    elif len(tokens) == 1 or not sides or scan.reader.num_slots != 2:
        _mention_all(scan, tokens)  # "the left and right images" is the set of both: it stays


def _is_of_some(scan: Scan, before: str, end: int) -> bool:
    """Whether an ordinal counts some of the images only: "the second image of Paris"."""
    restricted = scan.match(_RESTRICTED, end)
    asked = re.search(r"(?i)\b(?:was|were|is|are|has|have)\s+the\s+$", before)
    verb = asked and re.match(
        r"(?i)\s+(?:taken|shot|captured|made|painted|drawn)\b", scan.after(end)
    )
    return restricted is not None and not verb


def _compared(scan: Scan, end: int) -> bool:
    """Whether "the right image" is compared, so that it is not the correct one."""
    return re.match(r"(?i)\s+(?:\w+er|(?:more|less)\s+\w+)\s+than\b", scan.after(end)) is not None


def _mention_all(scan: Scan, tokens: list[re.Match[str]]) -> None:
    for token in tokens:
        scan.mention(token.span(), scan.reader.read(token[0]))
