"""Reads what a question asks for: the closed list of forms under which an answer names images.

A form is matched against a whole sentence, and that sentence must be the only one that asks. A bare
answer such as "2" or "left" names an image under these forms only.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

from perl_jax.permutation.reading.placeholders import MASK, PLAIN, TAG
from perl_jax.permutation.reading.words import NUMBER, compiled

Asked = Literal["image", "images", "order"]

_ALL = (
    r"(?:(?:the|these|those|all|both|following|given|shown|above|displayed|provided|input|other|remaining"
    rf"|presented|{NUMBER})\s+)*"
)
_NO_SECOND_QUESTION = r"(?:what|which|whose|how|why|when|where|and\s+who|and\s+whom)"
_TOLD = (
    r"(?:,|;|\band|\bthen)\s+(?:also\s+|then\s+)?"
    r"(?:tell|give|say|state|name|count|report|list|describe)"
)
_BESIDE = r"between|beside|next\s+to|in\s+between|among|surrounded|flanked|followed|preceded"
_BY_PLACE = (
    r"(?:(?:wrong|right|correct)\s+(?:place|position|spot)|out\s+of\s+(?:order|place|sequence)|moved\s+(?:to|before|after)"
    r"|by\s+(?:their|its|the)\s+(?:\w+\s+)?(?:number|index|indices|position|place)s?(?!\s+of)|in\s+reverse\w*)|"
    r"(?:counting|counted|position\w*|numbered|swap\w*|exchang\w*|switch\w*|reorder\w*|revers\w*|shuffl\w*"
    r"|(?:point|look|lead|head|aim|turn|face)s?(?:\s+(?:at|to|toward|towards|into))?(?=\s*[?])"
    r"|adjacent|neighbou?r\w*|consecutive|if\s+(?:we|you|they|i)|in\s+a\s+row"
    r"|from\s+the\s+(?:left|right|end|start|beginning|back|front|top|bottom)"
    rf"|(?:is|are|lies?|stands?|comes?|sits?)\s+(?:\w+\s+)?(?:{_BESIDE})"
    r"|(?:show|begin|start|end|open|close|continue)(?:s|ing)?\s+(?:with|from)\s+\a)"
)
_TAIL = (
    rf"(?!\s+(?:\w+\s+)?(?:{_BESIDE})\b)"
    rf"(?:(?!\b(?:{_NO_SECOND_QUESTION}|{_BY_PLACE})\b)(?!{_TOLD}\b)[^?!.])*"
)
"""The rest of a question that asks nothing else and does not count by place."""
_VERB = (
    r"(?:is|are|was|were|has|have|had|shows?|contains?|depicts?|displays?|features?|includes?|does|do|did"
    r"|can|could|would|should|looks?|appears?|seems?|match|matches|fits?|best|most|least|belongs?|differs?"
    r"|lacks?|resembles?|corresponds?|portrays?|illustrates?|represents?|captures?|given|provided|shown)"
)
_LEAD = (
    rf"(?:(?:of|in|from|among|given|considering|looking\s+at|based\s+on|for)\s+{_ALL}NOUNs?\s*,\s*)?"
    r"(?:(?:can|could|would)\s+you\s+)?(?:please\s+)?(?:tell\s+me\s+)?"
)
_SELECT = r"(?:select|choose|pick|find|identify|point\s+out|determine|spot)"
_BEST = r"(?:(?:(?:most|least)\s+\w+|\w{2,}est|best|worst|matching|odd)\s+)?"
_SORT = r"(?:sort|order|arrange|rank|reorder|rearrange|sequence)"
_ORDER = (
    r"(?:order|ordering|sequence|arrangement|permutation|ranking)(?!\s+of\s+(?!(?:(?:the|these|those|all"
    rf"|following|given|{NUMBER})\s+)*(?:NOUN|frame|step|event)s\b))"
)
_ITEMS = rf"(?:{_ALL}(?:NOUN|frame|step|event)s|them|these|those|it)"

FORMS: tuple[tuple[str, Asked, str], ...] = (
    (
        "Which image ...? In which picture ...?",
        "image",
        rf"(?:(?:in|on|from|of|for|to)\s+)?(?:which|what)\s+(?:one\s+)?NOUN(?:\s+{_VERB}\b{_TAIL})?",
    ),
    (
        "Which of the images ...? Which one of the photos ...?",
        "image",
        rf"(?:(?:in|on|from|for|to)\s+)?which\s+(?:one\s+)?of\s+{_ALL}NOUNs(?:\s+{_VERB}\b{_TAIL})?",
    ),
    (
        "Which images ...? Which two photos ...?",
        "images",
        rf"(?:(?:in|on|from|of|for|to)\s+)?(?:which|what)\s+{_ALL}NOUNs(?:\s+{_VERB}\b{_TAIL})?",
    ),
    (
        "Select the image that ... Find the darkest photo.",
        "image",
        rf"{_SELECT}\s+(?:the|one|that|which)\s+{_BEST}NOUN"
        rf"(?:\s+(?:that|which|where|in\s+which|with|without|showing|containing|of|whose)\b{_TAIL})?",
    ),
    (
        "Select all images that ... Choose the two photos with ...",
        "images",
        rf"{_SELECT}\s+(?:all\s+of\s+)?{_ALL}NOUNs"
        rf"(?:\s+(?:that|which|where|in\s+which|with|without|showing|containing|of|whose)\b{_TAIL})?",
    ),
    (
        "Sort the images by ... Arrange them ...",
        "order",
        rf"{_SORT}\s+(?:{_ITEMS}|from|by)\b{_TAIL}",
    ),
    (
        "Put the images in order ...",
        "order",
        rf"(?:put|place|list|bring)\s+{_ITEMS}\s+in(?:to)?\s+(?:(?:the|a|an|their|its)\s+)?"
        rf"(?:\w+\s+)?{_ORDER}\b{_TAIL}",
    ),
    (
        "What is the right order of the images? In which order ...?",
        "order",
        rf"(?:what|which)\s+(?:is|would\s+be|are)\s+(?:the|their)\s+(?:[a-z]+\s+){{0,3}}{_ORDER}\b{_TAIL}"
        rf"|in\s+(?:what|which)\s+(?:\w+\s+)?{_ORDER}\b{_TAIL}"
        rf"|(?:which|what)\s+(?:\w+\s+)?{_ORDER}\s+(?:is|of|puts|best|sorts|shows)\b{_TAIL}",
    ),
)
"""The forms of questions under which an answer names images: an example, and what it asks for."""

_ASKS = re.compile(
    r"(?i).*\?\W*$|^\W*(?:(?:please|now|then|and|also|first|next|finally),?\s+)*(?:which|what|whose|who|how|where"
    r"|when|why|in\s+which|select|choose|pick|find|identify|point|determine|spot|name|list|tell|give|state|say"
    r"|count|describe|compare|calculate|compute|solve|sort|order|arrange|rank|reorder|rearrange|put|place|write"
    r"|report|indicate|explain|summari[sz]e|caption|answer|respond|reply|output|return|provide|print)\b"
)
# Instructions for the form of the answer, which ask for nothing else.
_FORMAT = (
    r"\W*(?:please\s+)?(?:(?:answer|respond|reply|output|return|provide|give|write|state|print|select|choose"
    r"|pick|put|explain)\b)(?:\s+(?:the\s+question|your\s+(?:final\s+)?answer|directly|only|just|with|using|as|by|the|an?"
    r"|one|single|correct|right|best|final|its|option|option['\u2019]s|options|letter|letters|number|numbers|index"
    r"|indices|from|among|of|above|below|given|choices|choice|following|answer|directly|word|or|phrase|in|on|to"
    r"|multiple-choice|question|questions|separated|commas|each|image|picture|photo|brackets|that|is|left|right|first|second|third|explain|why|corresponding))*"
    r"(?:\s+\\boxed\{\})?\W*"
    r"|\W*(?:answer|give|provide|state|explain|write|list|describe)\b[^?]*\b(?:reason|reasons|reasoning|steps?|thinking)\W*"
    r"|\W*(?:answer\s+)?(?:question|answer|options?|choices|hint)\W*"
)
_COUNT_OF = re.compile(
    r"(?i)\b(?:number|numbers|index)\s+of\s+(?!the\s+(?:image|picture|photo|option)\b)"
)
_LABEL = re.compile(r"(?i)^\W*(?:(?:question|q|statement|hint)\s*[:.]\s*)?")
_SENTENCE = re.compile(r"(?<=[.?!])[\s\"'\u201d)]+|\n+|(?<=:)\s+")
_FROM_TO = re.compile(
    r"(?i)\b(?:order|sort|sorted|rank|ranked|ranking|arrange|arranged|sequence|respectively)\b"
    r"|\bfrom\b[^.?!]{0,60}\bto\b|\bfollowed\s+by\b|\bthen\b"
)
_SPEAKS_OF_ORDER = re.compile(
    r"(?i)\b(?:order|ordering|ordered|sort|sorted|rank|ranked|ranking|arrange|arranged|rearrange|sequence"
    r"|sequencing|chronolog\w+|permutation|reorder|timeline)\b"
)
_NUMBERS = re.compile(
    r"(?i)(?:(?:for|in|on|across|from)\s+[^,?]{1,40},\s+|in\s+)?(?:how\s+(?:many|much|long|old|tall|far|big|large|wide|high"
    r"|heavy|often|fast|deep|hot|cold|thick)\b|(?:please\s+)?(?:calculate|compute|evaluate|solve|count)\b"
    r"|what(?:'s|\s+is|\s+are|\s+was)?\s+(?:the\s+)?(?:\w+\s+){0,2}?(?:number|count|sum|total|difference|product|value"
    r"|ratio|area|length|width|height|perimeter|volume|distance|radius|diameter|angle|degree|price|cost|score"
    r"|temperature|percentage|probability|mean|median|mode|average|range|slope|speed|time|age|date|year|fraction"
    r"|quotient|remainder|digit|result)\b|find\s+(?:the\s+)?(?:value|number|area|length|sum|total|measure|perimeter"
    r"|volume|distance|probability|angle)\b|find\s+[a-z]\b)"
)
_NUMBER_OF_ONE = re.compile(
    r"(?i)\b(?:number|index|position|place|label|id|digit)\s+(?:of\s+(?:the|an?)\b(?!\s+(?:[\w-]+\s+){0,3}?\w{3,}s\b)"
    r"|(?:is|has)\b)|\bhow\s+(?:many|much)\b.*\b(?:which|what|how|who)\b"
)
_YES_OR_NO = re.compile(r"(?i)(?:are|is|do|does|did|can|has|have|was|were)\b(?![^?]*\bor\b)[^?]*\?")
_DIRECTION = re.compile(
    r"(?i)(?:in\s+|to\s+|on\s+)?(?:which|what)\s+(?:direction|way|hand|arm|leg|foot|eye|ear|shoulder|lane|wing|paw)\b"
    r"|.*\b(?:facing|pointing|looking|turning|moving|leaning|heading)\s+(?:to\s+the\s+)?(?:left|right)\s+or\b"
)


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, without placeholders and labels such as "Question:"."""
    shown = TAG.sub(" ", PLAIN.sub(" ", text.replace(MASK, " ")))
    for part in _SENTENCE.split(shown):
        if sentence := _LABEL.sub("", part).strip():
            yield sentence


@lru_cache(maxsize=64)
def asking(text: str) -> tuple[str, ...]:
    """The sentences of a text that ask something, without those that only ask for a form."""
    form = re.compile(_FORMAT, re.IGNORECASE)
    return tuple(
        sentence
        for sentence in sentences(text)
        if _ASKS.match(sentence) and (_COUNT_OF.search(sentence) or not form.fullmatch(sentence))
    )


@lru_cache(maxsize=64)
def asked_for(text: str, nouns: tuple[str, ...]) -> Asked | None:
    """What a question asks for, if its only asking sentence has one of `FORMS`; else None."""
    asked = asking(text)
    if len(asked) != 1:
        return None
    for _, kind, pattern in FORMS:
        if compiled(rf"{_LEAD}(?:{pattern})\s*[?.!:]*", nouns).fullmatch(asked[0]):
            return kind
    return None


def asks_for_an_order(text: str) -> bool:
    """Whether a text speaks of an order, so that arrows between numbers are one."""
    return _SPEAKS_OF_ORDER.search(text) is not None


def asks_for_a_set(text: str, nouns: tuple[str, ...]) -> bool:
    """Whether a question asks for images whose order does not matter."""
    plural = compiled(r"\bNOUNs\b", nouns).search(" ".join(asking(text))) is not None
    kind = asked_for(text, nouns)
    return kind in ("image", "images") and plural and _FROM_TO.search(text) is None


@lru_cache(maxsize=64)
def asks_for_a_number(text: str) -> bool:
    """Whether the only asking sentence asks for a number."""
    asked = asking(text)
    named = len(asked) == 1 and _NUMBER_OF_ONE.search(asked[0])
    return len(asked) == 1 and not named and _NUMBERS.match(asked[0]) is not None


@lru_cache(maxsize=64)
def asks_yes_or_no(text: str) -> bool:
    """Whether the only asking sentence wants a yes or a no."""
    asked = asking(text)
    return len(asked) == 1 and _YES_OR_NO.match(asked[0]) is not None


@lru_cache(maxsize=64)
def asks_for_a_direction(text: str) -> bool:
    """Whether the only asking sentence asks for a direction, or for one hand of two."""
    asked = asking(text)
    return len(asked) == 1 and _DIRECTION.match(asked[0]) is not None
