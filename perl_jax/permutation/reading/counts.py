"""Proves of numbers and number words that they count or measure, so that they name no image."""

from perl_jax.permutation.reading.questions import asks_for_a_number, asks_yes_or_no
from perl_jax.permutation.reading.uses import Use
from perl_jax.permutation.reading.words import NUMBER

_UNITS = (
    r"\s*(?:%|\u00b0|\u2032|[\u20ac\u00a3\u00a5]"
    r"|(?:percent|degrees?|mm|cm|dm|km|inch|inches|ft|feet|yards?|miles?|mg|kg|lbs?|oz|tons?|tonnes?|ml"
    r"|liters?|litres?|secs?|seconds?|minutes?|mins?|hrs?|hours?|days?|weeks?|months?|years?|decades?"
    r"|centuries|hz|khz|mhz|ghz|kw|amps?|volts?|watts?|kpa|mol|px|pixels?|dpi|fps|mph|kph|dollars?|cents?"
    r"|euros?|pounds?|am|pm|a\.m|p\.m|o'clock|times|meters?|metres?|centimet(?:er|re)s?|grams?"
    r"|kilomet(?:er|re)s?|kilograms?|million|billion|thousand|hundred|dozen)\b)"
    r"|(?:mi|[mglshwvkn])\b"
)
_COMPOUND = (
    r"-(?:story|storey|way|sided|piece|door|wheeled|legged|dimensional|thirds|tone|lane|person"
    r"|year|day|hour|minute|inch|foot|meter|seat\w*|digit|point)\b"
)
_QUANTITY = (
    r"\b(?:exactly|precisely|there|(?:at\s+(?:least|most))|(?:(?:more|less|fewer)\s+than)|only|just|about|around|over"
    r"|approximately|nearly|almost|roughly|up\s+to|a\s+total\s+of|total\s+of|has|have|had|having|contains?"
    r"|containing|includes?|including|shows?|showing|depicts?|displays?|features?|are|is|was|were|there's|sees?"
    r"|with|without|these|those|the|all|both|other|another|any|some|of|for|by|least|most|every|each|its|his"
    r"|her|their|my|your|our|costs?|holds?|wears?|counts?|got|have\s+got|count|find|see|than\s+the|no)\s+"
)
_OF_IMAGES = (
    r"(?:other|given|following|input|similar|different|identical|distinct|separate|related|shown|more|but"
    r"|and|slightly|very|black|white|colou?r|of|the|these)"
)
# After these even an unknown plural is counted.
_AMOUNT = (
    r"\b(?:exactly|at\s+(?:least|most)|(?:more|less|fewer)\s+than|shows?|showing|has|have|contains?"
    r"|containing|there\s+are|depicts?|with)\s+"
)
# After these a bare number may go on from "in image 1".
_PREPOSITION = r"\b(?:in|on|from|to|inside|within|at|between|than|against|like)\s+"
_LABELS = (
    r"(?:step|question|option|choice|player|problem|exercise|chapter|section|task|point|bus|line|row|column"
    r"|room|floor|gate|platform|lane|track|team|route|exit|highway|flight|seat|angle|circle|triangle|jersey"
    r"|bib|score|value|level|lap|inning|period|quarter|game|match|day|week|month|year|hour|minute|age|size"
    r"|magnitude|power|rank|class|category|node|vertex|edge|bar|curve|equation|circuit|resistor|digit"
    r"|numeral|photon|photographer|imagery)s?(?:\s+(?:no\.?|number))?|(?:the|a)\s+number|numbers"
    r"|(?:scores?|values?|numbers|sizes?|ages?|points|digits|ratio|total)\s*:"
)
_NAMES = r"\b(?:co|h|o|n|so|no|ch|cl|mp|v)"
_LIST = rf"(?:{NUMBER}\s*(?:,\s*(?:and\s+|or\s+)?|\s(?:and|or|to|&)\s+|-|\u2013)\s*)*"


def number(use: Use) -> str | None:
    """What "2" was taken for, if it names no image."""
    if use.whole:
        return _as_an_answer(use)
    if _is_marked_off(use):
        return None
    return _measure(use) or _label(use) or _count(use) or _beside_letters(use)


def _beside_letters(use: Use) -> str | None:
    """Proves any number where all images that move have letters and none is named in words."""
    at_image = use.precedes(r"\s*[\])]?\s*[:=.-]?\s*\0")
    lettered = use.facts.shown and not use.facts.refers and not at_image
    return "a number, as the images have letters" if lettered else None


def count(use: Use) -> str | None:
    """What "two" was taken for, if it names no image."""
    if use.whole:
        return _as_an_answer(use)
    if use.follows(r"\b(?:number|no\.?|#|nr\.?)\s*"):
        return None
    if use.precedes(_UNITS):
        return "a measure"
    if _is_marked_off(use) and not use.follows(rf"\b(?:{use.own})s:\s+"):
        return None
    in_another = rf"\s+(?:(?:is|are|was|were)\s+)?in\s+(?:the\s+)?(?:(?:{use.own})\s+)?\a"
    if not use.facts.spelled and use.follows(r"\band\s+") and use.precedes(in_another):
        return "a count"  # "two dogs in image 1 and one in image 2"
    if use.word == "one":
        return _one(use)
    if use.precedes(r"\s+of\s+(?:the|these|those|them|its|his|her)\b") or use.precedes(_COMPOUND):
        return "a count"
    if use.follows(r"\b(?:the|these|those|all|other|any|exactly|both)\s+(?:other\s+)?"):
        return "a count"
    return _count(use)


def _is_marked_off(use: Use) -> bool:
    """Whether only marks stand between the number and a noun: "image **2**", "image <b>2</b>"."""
    mark = r"(?:</?\w{1,8}>|[^\w\s\0\a,])"
    return use.follows(rf"\b(?:{use.own})s?\s*{mark}(?:{mark}|\s)*")


def _one(use: Use) -> str | None:
    """Proves "one" a pronoun or a count, which it mostly is."""
    pronoun = (
        r"\b(?:which|the|this|that|each|every|any|no|some|odd|other|another|either|neither|last"
        r"|(?!after|under|over|ever|never|whether)\w+er|\w+est|(?:an?|the)\s+(?:(?!(?:and|but|or|while|whereas|in|on|of|with)\b)[\w-]+\s+){1,2})"
        r"\s*"
    )
    amount = (
        r"\b(?:shows?|showing|contains?|containing|has|have|had|least|most|exactly|only|just|depicts?"
        r"|there\s+is|features?|includes?|wearing|holding)\s+"
    )
    if use.follows(rf"\b{NUMBER}\s*(?:,|and|or|&)\s*") or use.precedes(
        rf"\s*(?:,|\band\b|\bor\b|&)\s*{NUMBER}\b"
    ):
        return "a count" if use.thing() else None
    alone = use.follows(r"(?:^|[.:!?;\n]\s*)") and use.precedes(r"\s+(?:is|has)\b")
    if alone and not use.facts.spelled:
        return "one of a set"
    if use.precedes(r"\s*(?:[:=]|\s(?:an?|is)\b)") and not use.follows(pronoun):
        other = r"\bone\b.*\bother|\banother\b.*\bone\b"
        return "one of a set" if use.in_clause(other) else None
    if use.follows(pronoun) or use.follows(amount) or use.follows(r"[\0\a]\s+"):
        return "a pronoun or a count"
    of_several = use.follows(r"(?:,|\band)\s+") and use.precedes(
        r"\s+(?:with|that|who|whose|facing|being|(?!depicting|showing|containing)\w+ing)\b"
    )
    if (of_several or use.in_clause(r"\bone\b.*\bone\b")) and not use.facts.spelled:
        return "one of a set"
    if use.follows(r"\bone\s+by\s+"):
        return "one of a set"
    rest = (
        rf"\s+(?:of|by\s+one|another|more|who|that|(?:[\w-]+\s+){{0,2}}(?:{use.own})|way|thing)\b"
    )
    if use.precedes(rest) or use.in_clause(r"\bone\b.*\bother"):
        return "one of a set"
    return "a count" if use.thing() else None


def _as_an_answer(use: Use) -> str | None:
    """Proves a number that is a whole option or answer, by the question."""
    asked = use.facts.question
    if use.word in ("0", "1") and asks_yes_or_no(asked):
        return "yes or no"
    return "a number that the question asks for" if asks_for_a_number(asked) else None


def _is_truth_value(use: Use) -> bool:
    """Whether the text says that 1 stands for yes and 0 for no."""
    if use.precedes(r"\s+(?:for\s+(?:yes|no|true|false)|otherwise|if\s+not)\b"):
        return True
    return use.precedes(r"\s+if\b") and use.in_clause(r"\b0\s+(?:otherwise|if\s+not)\b")


def _measure(use: Use) -> str | None:
    """Proves a number with a unit, a price, a part of a formula, a time or a name."""
    price = use.follows(r"[$\u20ac\u00a3\u00a5]\s?") and not use.precedes(r"\s?\$")
    if price or use.precedes(_UNITS):
        return "a measure"
    if use.follows(r"\d\s*(?:[x\u00d7]|by)\s*") or use.precedes(r"\s*(?:[x\u00d7]|by)\s*\d"):
        return "a measure"
    if use.follows(r"\d:") or use.precedes(r":\d"):
        return "a ratio or a time"
    if use.precedes(_COMPOUND):
        return "a part of a compound"
    if _is_truth_value(use):
        return "yes or no"
    if not use.facts.numbered and use.precedes(r"\s(?!i\b|a\b)[a-z]\b"):
        return "a measure"
    if not use.facts.numbered and _is_in_a_formula(use):
        return "a part of a formula"
    named = use.follows(_NAMES) or (use.follows(r"\b[^\W\d_]{1,2}") and use.precedes(r"[^\W\d_]"))
    return "a part of a name" if named else None


def _is_in_a_formula(use: Use) -> bool:
    if use.follows(r"\b[a-z]{2,3}\s*=\s*") and not use.follows(rf"\b(?:{use.own})s?\s*=\s*"):
        return True  # "AB = 2"
    operator = r"\s*[-=+*/^<>\u2264\u2265\u00d7\u00f7\u2212]\s*"
    if use.follows(rf"(?:\d|\b[a-z]|[)}}]){operator}") or use.follows(r"\w[_^]\{?|\\\w+\{"):
        return True
    if use.precedes(rf"{operator}(?:\d|[a-z]\b|\(|\\)") or use.precedes(r"[xyznkrtpq]\b"):
        return True
    opened = use.clause_before.count("$") % 2 == 1 and "$" in use.after
    return opened and not use.follows(rf"\b(?:{use.own})s?\s*\$")


def _label(use: Use) -> str | None:
    """Proves the number of a thing: "player 2", "steps 1 and 2", "scores: 1, 2"."""
    if use.precedes(r"\s*[\])]?\s*[:=.-]?\s*\0"):
        return None  # it is written at an image
    if use.follows(rf"\b(?:{use.own})s?\s+(?:with|of|having|bearing)\s+(?:(?:the|a)\s+)?number\s+"):
        return None  # the image's own number, or one that it shows
    labelled = rf"\b(?:{_LABELS})\s*{_LIST}"
    return "the number of a thing" if use.follows(labelled) else None


def _is_compared(use: Use) -> bool:
    """Whether "the number of dogs is greater than 2" compares a number."""
    compared = use.follows(r"\b(?:greater|less|more|fewer|higher|lower)\s+than\s+")
    return compared and use.in_clause(r"\b(?:number|count|total)\s+of\b")


def _count(use: Use) -> str | None:
    if use.follows(r"(?:\bnumber|\bno\.?|#|\bnr\.?)\s*"):
        return None  # "number 2 of the images"
    if use.precedes(rf"\s+(?:{_OF_IMAGES}\s+){{0,3}}(?:{use.own})s\b"):
        return "a count of images"
    if use.follows(r"\bnumber\s+of\s+(?:\w+\s+){1,3}(?:is|was|are)\s+"):
        return "a count"
    if use.precedes(r"\s+of\s+(?:whom|which)\b"):
        return "a count"
    ends = use.precedes(r"\s*(?:[.,;?!]|$)")
    verb = r"\b(?:there\s+(?:is|are|was|were)|shows?|has|have|contains?|includes?)\s+"
    if ends and (use.follows(verb + r"(?:(?:only|exactly)\s+)?") or _is_compared(use)):
        return "a count"
    value = r"\b(?:score|total|sum|result|value|age|size|count|ratio)\s+(?:is|was|of|=)\s+"
    if use.follows(value) and use.role != "answer":
        return "a count"
    if not use.facts.refers and use.follows(_AMOUNT) and use.precedes(r"\s+[^\W\d_]+s\b"):
        return "a count of things"
    if use.precedes(r"\s+(?:places|ways|aspects|respects|cases)\b"):
        return "a count of things"
    thing = use.thing(plural=use.word not in ("1", "one"), between=3)
    if thing is None or use.is_subject_of(thing):
        return None
    counted = f"a count of things: {thing}"
    if use.follows(_PREPOSITION) and not use.follows(r"\b(?:more|less|fewer)\s+than\s+"):
        return None if use.facts.refers else counted
    if not use.facts.numbered or use.follows(_QUANTITY):
        return counted
    if use.follows(rf"{_QUANTITY}{NUMBER}\s+(?:\w+\s+){{1,3}}(?:and|or)\s+"):
        return counted  # "2 dogs and 3 cats"
    # "In image 1, 2 dogs": the number does not go on from a subject.
    return (
        counted
        if use.follows(rf"\b(?:{use.own})\s+(?:\a+)?\s*,?\s*") and not use.follows(r"^\W*$")
        else None
    )
