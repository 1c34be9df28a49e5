"""Proves of words of time, of roles and of editing that they do not need an order of images."""

from perl_jax.permutation.reading.uses import IMPERATIVE, Use

_ASKED = (
    r"(?:questions?|statements?|options?|choices?|descriptions?|sentences?|problems?|tasks?|captions?"
    r"|words?|information|text|instructions?|format|list|conversation|rules?|dialogue|passage)\b"
)
_COMPARED_WORDS = """
removed added deleted inserted erased replaced disappeared disappear disappears vanished vanish
appeared emerged emerge increase increases increased decrease decreases decreased shrink shrinks
shrank shrunk grew worsened improved expanded already anymore newly elapsed
"""
_NAMED = "a relation of images that are named"
_LIGHT = r"\b(?:light|heat|power|energy|food|water|data|news|information|sound|open)[- ]"
_GIVEN = (
    r"\b(?:options?|choices?|questions?|statements?|descriptions?|text|given|listed|shown|displayed"
    r"|provided|presented|information|list|instructions|table|rules?)\s+"
)


def sequence(use: Use) -> str | None:
    """What "next", "after", "original" or "video" was taken for, if the order does not matter."""
    if use.facts.bound and use.word in ("video", "videos", "camera", "clip", "footage"):
        return "bound by the text to its images"
    proof = _PROOFS.get(use.word)
    return proof(use) if proof else None


def _next(use: Use) -> str | None:
    return "beside" if use.precedes(r"\s+(?:to|door)\b") else None


def _following(use: Use) -> str | None:
    chosen = use.follows(r"\b(?:which|what|one|any|all)\s+of\s+the\s+")
    if chosen and use.precedes(r"\s+(?:is|are|was|were|best|most|can|does|would|[?])"):
        return "what is asked"
    if use.precedes(rf"\s+(?:[\w-]+\s+){{0,3}}?{_ASKED}"):
        return "what is asked"
    if use.precedes(rf"\s+(?:[\w-]+\s+){{0,2}}?(?:{use.own})s\b"):
        return "all of the images"
    return None


def _before_or_after(use: Use) -> str | None:
    answering = r"\s+(?:you\s+)?(?:answer|giv|provid|choos|select|respond|writ|conclud)\w*\b"
    if use.word == "before" and use.precedes(answering):
        return "a step of the instructions"
    looking = r"\s+(?:looking\s+at|viewing|seeing|studying|examining|comparing)\s+(?:\w+\s+){0,2}\a"
    if use.precedes(looking):
        return "a step of the instructions"
    between = use.precedes(rf"\s+(?:the\s+)?(?:(?:{use.own})\s+)?\a") and "\a" in use.clause_before
    return _NAMED if between else None


def _follow(use: Use) -> str | None:
    """Proves "image 2 follows image 1", "follow the format" and "a dog followed by a man"."""
    if use.in_clause(r"\a.*[^\a]\a"):
        return _NAMED
    if use.role != "question" and use.precedes(r"\s+by\b"):
        return None  # "a dog followed by a cat" may list the images
    if use.precedes(rf"\s+(?:the|these|this)\s+(?:\w+\s+){{0,2}}?{_ASKED}"):
        return "a step of the instructions"
    behind = rf"\s+(?:by\s+)?(?:an?|his|her)\s+(?!(?:\w+\s+)?(?:{use.own})\b)"
    return "a thing that goes behind another" if use.precedes(behind) else None


def _then(use: Use) -> str | None:
    if use.precedes(rf"\s+{IMPERATIVE}"):
        return "a step of the instructions"
    return "a consequence" if use.in_clause(r"\bif\b.*\bthen\b") else None


def _source(use: Use) -> str | None:
    of_a_thing = use.precedes(r"\s+(?:of|code)\b") or use.follows(_LIGHT)
    return "the source of a thing" if of_a_thing else None


def _target(use: Use) -> str | None:
    return "a thing" if use.follows(r"\b(?:shooting|archery|dart)\s+") else None


def _original(use: Use) -> str | None:
    work = r"\s+(?:\w+\s+)?(?:painting|artwork|work|artist|colou?r|price|owner)s?\b"
    if use.precedes(work) or use.thing():
        return "the original of a thing"
    return None


def _changed(use: Use) -> str | None:
    camera = r"\s+the\s+(?:camera|lighting|viewpoint|position|angle)\b"
    if use.precedes(camera) and use.in_clause(r"\a"):
        return _NAMED
    return _NAMED if use.in_clause(r"\a.*[^\a]\a") else None


def _compared(use: Use) -> str | None:
    """Proves "what is missing in image 2", where the other image is the one to compare with."""
    named = rf"\b(?:in|from|to|of)\s+(?:the\s+)?(?:(?:{use.own})\s+)?\a"
    pair = use.facts.reader.num_slots == 2 and use.in_clause(named)
    return _NAMED if pair else _changed(use)


def _missing(use: Use) -> str | None:
    """Proves "a dog with a missing leg" and "the missing side"."""
    of_a_thing = use.follows(r"\b(?:an?|its|his|her)\s+") and use.precedes(r"\s+[^\W\d_]{3,}")
    asked = r"\s+(?:part|piece|number|value|side|angle|length|word|letter|term|digit|label|leg)s?\b"
    of_a_thing = of_a_thing or use.precedes(r"\s+(?:an?|its|his|her)\s")
    if of_a_thing or use.precedes(asked):
        return "a property of a thing"
    return _compared(use)


def _grow(use: Use) -> str | None:
    return "what a thing does" if use.precedes(r"\s+(?:in|on|from|here|near)\b") else _compared(use)


def _longer(use: Use) -> str | None:
    return _compared(use) if use.follows(r"\b(?:no|any)\s+") else "a comparison"


def _step(use: Use) -> str | None:
    """Proves "finally, answer the question" and "now look at image 2"."""
    told = use.role == "question" and use.precedes(rf"\s*,?\s*{IMPERATIVE}")
    return "a step of the instructions" if told else None


def _edited(use: Use) -> str | None:
    if use.word in ("edited", "modified", "altered") and use.follows(
        r"\b(?:been|is|was|are|were|digitally)\s+"
    ):
        return "a property of an image"
    return _changed(use)


def _video(use: Use) -> str | None:
    if use.precedes(r"\s+(?:games?|cameras?|player|screen|call|store|star|poster|theater)\b"):
        return "a thing"
    if use.follows(r"\b(?:paper|hair|tie)\s+"):
        return "a thing"
    return None


def _above_or_below(use: Use) -> str | None:
    if use.follows(_GIVEN):
        return "a part of the text"
    if use.follows(r"\b(?:none|any|all|both|each|either|neither)\s+(?:of\s+)?the\s+"):
        return "an option"
    if use.follows(rf"\b(?:{use.own})s\s+"):
        return "all of the images"
    if use.precedes(r"\s+(?:the|a|an|his|her|its|it|him|them|zero|average|sea|ground|\d+)\b"):
        return "a place inside an image"
    return None


def _camera(use: Use) -> str | None:
    moving = (
        r"\s+(?:(?:is|was)\s+)?(?:either\s+)?(?:mov|rotat|pan|zoom|turn|tilt|shift|travel|shoot)"
    )
    return None if use.precedes(moving) else "a thing"


def _start(use: Use) -> str | None:
    role = rf"\s*(?:[:=]|\s(?:(?:{use.own})s?|ones?|frame|state|point|and)\b)"
    return None if use.precedes(role) else "an event"


def _input(use: Use) -> str | None:
    """Proves "the input box" and "output only the letter"."""
    if use.precedes(r"\s+(?:box|field|device|voltage|format|power|signal)\b"):
        return "a thing"
    if use.precedes(rf"\s+(?:{use.own})s\b"):
        return "all of the images"
    told = use.word == "output" and not use.follows(r"\b(?:the|an?|this|that)\s+")
    return "a step of the instructions" if told else None


_PROOFS = {
    **dict.fromkeys(("follow", "follows", "followed"), _follow),
    **dict.fromkeys(("precede", "precedes", "preceded"), _changed),
    **dict.fromkeys(("start", "starting"), _start),
    **dict.fromkeys(("input", "output"), _input),
    **dict.fromkeys(_COMPARED_WORDS.split(), _compared),
    **dict.fromkeys(("grow", "grows", "grown"), _grow),
    **dict.fromkeys(("finally", "lastly", "firstly", "secondly", "thirdly", "fourthly"), _step),
    "now": lambda use: _step(use) or _compared(use),
    "missing": _missing,
    "longer": _longer,
    "next": _next,
    "following": _following,
    "then": _then,
    "source": _source,
    "target": _target,
    "original": _original,
    "camera": _camera,
    **dict.fromkeys(("before", "after"), _before_or_after),
    **dict.fromkeys(("edit", "edits", "edited", "modified", "altered"), _edited),
    **dict.fromkeys(("change", "changes", "changed", "changing"), _changed),
    **dict.fromkeys(("transform", "transforms", "transformed"), _changed),
    **dict.fromkeys(("become", "becomes", "became", "evolve", "evolves", "evolved"), _changed),
    **dict.fromkeys(("video", "videos", "movie", "film", "footage", "clip", "clips"), _video),
    **dict.fromkeys(("above", "below"), _above_or_below),
}
