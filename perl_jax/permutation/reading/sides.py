"""Proves of left, right, middle, top and bottom that they lie inside an image."""

import re

from perl_jax.permutation.reading.questions import asks_for_a_direction
from perl_jax.permutation.reading.uses import PARTS_OF_AN_ALBUM, Use

_PART = (
    r"(?:side|half|part|edge|end|corner|portion|quarter|border|margin|section|region|area|column)"
)
_HAND = r"(?:[- ]?hand|[- ]most)?"
_TURNING = (
    r"\b(?:fac|point|look|turn|head|lean|angl|tilt|aim|direct|orient|go|mov|walk|runn?|fly|swim|driv"
    r"|gaz|star|bend|curv|slant|rotat|shift|slid|jump|steer|veer|swing|travel|sail|rid)"
    r"(?:e|s|es|ed|ing|t)?\s+(?:(?!the\b|in\b|on\b|at\b)\w+\s+){0,3}?"
    r"(?:(?:to|toward|towards)\s+)?(?:(?:the|its|their|his|her)\s+)?"
)
_HANDS = r"(?:hand|arm|leg|foot|eye|ear|shoulder|wing|paw|knee|shoe|glove|lung|breast|kidney)s?"
_ENDS = r"\s*(?:[.,;?!)\"']|$)"


def side(use: Use) -> str | None:
    """What "left", "right" or "middle" was taken for, if it names no image."""
    if use.whole:
        return "a direction" if asks_for_a_direction(use.facts.question) else None
    if use.role != "question" and not use.facts.refers and not use.precedes(rf"\s+{_HANDS}\b"):
        return _direction(use) or _both_ways(use) or _correct(use)  # it may be in the left image
    proofs = (_direction, _both_ways, _correct, _gone, _place_inside, _side_of_thing)
    return next((found for proof in proofs if (found := proof(use))), None)


def _direction(use: Use) -> str | None:
    if use.follows(r"\bclockwise\s*\(") or use.precedes(
        r"-(?:facing|pointing|turned|leaning|angled?s?|handed|turn|wing|click)\b"
    ):
        return "a direction"
    if use.follows(_TURNING) and not use.precedes(rf"(?:-most)?\s+(?:(?:{use.own})|ones?)\b"):
        return "a direction"
    if use.word == "right" and use.precedes(r"\s+(?:at|by)\b") and not use.follows(r"\bthe\s+"):
        return "a direction"
    return None


def _both_ways(use: Use) -> str | None:
    """Proves "from left to right" and "left or right", where sides are no images."""
    joins, other = r"\s+(?:or|to|and)\s+", r"(?:left|right)\b"
    joined = use.precedes(joins + other + r"(?!\s*(?:\a|[:=]))")
    joining = use.follows(rf"\b{other}{joins}") and not use.precedes(r"\s*(?:\a|[:=])")
    named = use.follows(r"\bthe\s+") or use.follows(rf"\bthe\s+{other}{joins}")
    return "a direction" if (joined or joining) and not named and not use.facts.sided else None


def _correct(use: Use) -> str | None:
    if use.word != "right":
        return None
    if use.precedes(r"\s+(?:answer|option|choice|word|order)s?\b"):
        return "correct"
    if use.precedes(r"[- ](?:angle|angled|angles|triangle|triangles)\b"):
        return "a right angle"
    if use.follows(r"\bthe\s+"):
        return None
    if use.precedes(
        r"\s+(?:now|next\s+to|behind|in\s+front|away|above|below|under|beside|there)\b"
    ):
        return "an adverb"
    asked = use.in_clause(r"^\s*(?:is|are|was|were)\b.*\bright\s*(?:[?]|$)")
    if asked and use.precedes(r"\s*[?]") and not use.facts.sided:
        return "correct, or a direction"
    stated = use.follows(r"\b(?:is|are|was|were|be|that's|it's|all|not)\s+") and use.precedes(_ENDS)
    return "correct, or a direction" if stated and not use.facts.sided else None


def _gone(use: Use) -> str | None:
    if use.word != "left" or use.facts.sided or use.follows(r"\bthe\s+"):
        return None
    if use.follows(r"\b(?:is|are|was|were|be|been|has|have|had|what's|who)\s+"):
        ends = use.precedes(_ENDS) or use.precedes(r"\s+(?:over|behind|out|of|in|on|for|the)\b")
        return "gone, or a direction" if ends else None
    if use.follows(r"\b(?:\w+one|\w+body|he|she|they|who|man|woman|person|people)\s+"):
        return "gone" if use.precedes(r"\s+(?:an?|his|her|their|the|behind)\b") else None
    return None


def _place_inside(use: Use) -> str | None:
    """Proves "on the left", "at right", "in the middle" and "the left side of the image"."""
    if use.follows(r"\b(?:top|bottom|upper|lower)[- ](?:far\s+)?"):
        return "a place inside an image" if not use.precedes(rf"\s+(?:{use.own})s?\b") else None
    if use.precedes(rf"(?:{_HAND}\s+{_PART})?\s+of\b"):
        return None if _is_of_several(use) else "a part of an image"
    if use.word.startswith(("left", "right")):
        before = r"\b(?:on|to|at|toward|towards|from)\s+(?:(?:the|its|his|her|their|far|very)\s+)*"
    else:
        before = (
            r"\b(?:in|at|near|to|toward|towards|from|through|down)\s+(?:(?:the|very|exact)\s+)*"
        )
    if not use.follows(before):
        return None
    if use.precedes(rf"{_HAND}(?:\s+{_PART})?\s*(?:[:=]|-\s|\s(?:{use.own})s?\b|\sones?\b)"):
        return None
    unclear = use.facts.sided or _is_set_against_the_other(use)
    return None if unclear and not _is_within_reference(use) else "a place inside an image"


def _is_set_against_the_other(use: Use) -> bool:
    """Whether left is set against right and no image named: they may be two images."""
    other = {"left": "right", "right": "left"}.get(use.word[:5].rstrip("m-"))
    if other is None:
        return False
    against = rf"\b(?:on|at|to|in)\s+(?:the\s+)?(?:far\s+)?{other}\b(?!\s+of\b)"
    before = re.split(r"[.?!\n]", use.before)[-1]
    after = re.split(r"[?!\n]", use.after)[0]
    around = f"{before}{use.word}{after}"
    if re.search(rf"(?i)\b(?:{use.own})s?\b|\a", around):
        return False
    return re.search(against, around, re.IGNORECASE) is not None


def _is_of_several(use: Use) -> bool:
    """Whether "the left (side) of" is followed by words for several images."""
    several = (
        r"(?:these|those|them|both|all|us|two|three|four|five|six|\d+)\b"
        rf"|(?:the\s+)?(?:[\w-]+\s+){{0,2}}(?:(?:{use.own})s|pair|two|three|four)\b"
    )
    return use.precedes(rf"(?:{_HAND}\s+{_PART})?\s+of\s+(?:{several})")


def _is_within_reference(use: Use) -> bool:
    """Whether the same clause says which image the side lies in."""
    clause = re.split(r"[;:.?!\n]|\b(?:and|but|while|whereas|or|than|as)\b", use.before)[-1]
    verb = r"(?:shows?|has|have|contains?|depicts?|displays?|features?|with)"
    shown = rf"\a(?:\s+(?:{use.own}))?\s+{verb}\b[^,]*"
    opening = r"\s*(?:in|on)\s+(?:the\s+)?(?:\w+\s+)?\a+\s*,[^,]*"
    after = r"(?:[- ]?hand)?(?:\s+(?:side|half|part))?\s+(?:of|in)\s+(?:the\s+)?(?:\w+\s+)?\a"
    inside = re.search(rf"(?:{shown}|^{opening})$", clause, re.IGNORECASE)
    return inside is not None or use.precedes(after)


def _side_of_thing(use: Use) -> str | None:
    if use.precedes(rf"\s+(?:{use.own})\s+{PARTS_OF_AN_ALBUM}\b|[- ]hand\s+drive\b"):
        return "the side of a thing"
    thing = use.thing(plural=not use.facts.sided)
    part = thing in ("side", "column", "row", "end")
    return f"the side of a thing: {thing}" if thing and not part else None


def level(use: Use) -> str | None:
    """What "top" or "lower" was taken for, if it names no image in a layout."""
    of_images = rf"(?:[- ](?:left|right|middle|center|row|half))*\s+(?:(?:{use.own})s?|ones?)\b"
    if use.whole or use.precedes(of_images):
        return None
    corner = r"[- ](?:far\s+)?(?:left|right|middle|center)\b(?!\s*[:=])"
    if use.precedes(corner) or use.precedes(r"(?:most)?\s+(?:edge|corner|border|margin)s?\b"):
        return "a place inside an image"
    if use.follows(r"\b(?:in|on|at|near|from)\s+the\s+") and use.precedes(
        rf"\s+{_PART}\b(?!\s*[:=])"
    ):
        return "a place inside an image"
    if use.precedes(rf"(?:(?:most)?\s+{_PART})?\s+of\b"):
        return None if _is_of_several(use) else "a part of a thing"
    if use.follows(r"\bon\s+") and not use.precedes(r"\s*[:=]"):
        return "a place inside an image"
    place = r"\b(?:at|near|to|from|in|toward|towards)\s+the\s+(?:very\s+)?"
    if use.follows(place) and use.precedes(rf"{_ENDS}|\s+(?:in|is|are|and|with|there)\b"):
        return "a place inside an image"
    compared = rf"\s+(?:than|case|body|lip|limb|bound|price|speed)\b|{_ENDS}"
    if use.word in ("lower", "upper") and not use.follows(r"\bthe\s+") and use.precedes(compared):
        return "a comparison"
    if use.facts.shown and use.precedes(r"\s+views?\b"):
        return "a kind of view"
    thing = use.thing(plural=True)
    return f"the place of a thing: {thing}" if thing else None
