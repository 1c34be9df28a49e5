"""Reads what a question asks for: an image, a set of images, or something else."""

import re

from perl_jax.permutation.reading.words import NUMBER, POSITION, SIDE, compiled

_OF = (
    rf"(?:(?:of|the|these|those|all|following|given|shown|above|below|other|provided|{NUMBER})\s+)*"
)
_WHICH = (
    rf"\b(?:which|what|whose)\s+(?:(?:one|ones)\s+)?{_OF}(?:\w+\s+)?NOUNs?\b"
    r"|\bwhich\s+(?:ones?\b|is\b|are\b|has\b|have\b|shows?\b|contains?\b|of\s+(?:them|these|those)\b|two\b)|\bwhich\s*[?]"
    r"|\b(?:number|index|position)\s+of\s+the\s+(?:\w+\s+)?NOUN\b"
    rf"|\b(?:identify|select|choose|pick|find|name|list|point\s+out)\s+{_OF}(?:\w+\s+)?NOUNs?\b"
    r"|\bodd\s+one\s+out\b"
)
_ANY_OF = re.compile(
    r"(?i)\bwhich\s+(?:ones?\b|is\b|are\b|has\b|have\b|of\s+(?:them|these|those)\b)[^.?!]*"
)
_IN_ONE = (
    r"\b(?:in|on|of|from|inside|within)\s+(?:the\s+)?"
    rf"(?:NOUN\s*#?{NUMBER}\b|(?:{POSITION}|{SIDE})\s+NOUN\b)"
)
_SET = (
    rf"\b(?:which|what)\s+(?:ones\s+)?{_OF}(?:\w+\s+)?NOUNs\b|\bwhich\s+(?:ones|two|three)\b"
    rf"|\b(?:identify|select|choose|pick|find|name|list)\s+{_OF}(?:\w+\s+)?NOUNs\b"
)
_ORDERED = re.compile(
    r"(?i)\b(?:order|sort|sorted|rank|ranked|ranking|arrange|arranged|sequence|respectively)\b"
    r"|\bfrom\b[^.?!]{0,60}\bto\b|\bfollowed\s+by\b|\bthen\b"
)
_COUNTS = re.compile(
    r"(?i)\bhow\s+(?:many|much)\b|\bwhat\s+(?:is|are)\s+the\s+(?:\w+\s+)?(?:number|count|sum|total)\s+of\b(?!\s+the\s+image)|\b(?:with|give|state|output|write|report)\s+(?:\w+\s+){0,2}(?:count|sum|total)\b"
    r"|\b(?:largest|biggest|smallest|highest|lowest|maximum|minimum|total|greatest)\s+(?:number|digit|value|count|sum)\b"
)
_ASKS_ORDER = re.compile(
    r"(?i)\b(?:order|ordering|ordered|sort|sorted|rank|ranked|ranking|arrange|arranged|rearrange|sequence"
    r"|sequencing|chronolog\w+|permutation|reorder|logical|timeline)\b"
)
_COMPOUND = (
    r"\b(?:which|what)\s+NOUN\s+(?:sides?|halves|half|number|index|color|colour|size|type|format|style"
    r"|quality|title|name|caption|area|part|corner|region|border|edge|element|frame|source|content)\b"
)


def names_images(question: str, nouns: tuple[str, ...]) -> bool:
    """Whether a question asks for one image or several, perhaps among other things."""
    return compiled(_WHICH, nouns).search(question) is not None


def asks_which(question: str, nouns: tuple[str, ...]) -> bool:
    """Whether a question asks for one image or several, rather than for a thing or a number."""
    named = names_images(question, nouns) and _COUNTS.search(question) is None
    return named and compiled(_COMPOUND, nouns).search(question) is None


def asks_for_an_order(question: str) -> bool:
    """Whether a question asks for an order of the images."""
    return _ASKS_ORDER.search(question) is not None


def asks_for_a_set(question: str, nouns: tuple[str, ...]) -> bool:
    """Whether a question asks for images whose order does not matter."""
    asks = compiled(_SET, nouns).search(question) is not None
    return asks and _ORDERED.search(question) is None


def asks_inside(question: str, nouns: tuple[str, ...]) -> bool:
    """Whether a question asks for one of the things in an image: "which of these in image 2"."""
    asked = _ANY_OF.search(question)
    return asked is not None and compiled(_IN_ONE, nouns).search(asked[0]) is not None
