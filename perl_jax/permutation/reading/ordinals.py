"""Proves of "first", "2nd", "last" and "final" that they name no image where they stand."""

from perl_jax.permutation.reading.uses import IMPERATIVE, PARTS_OF_AN_ALBUM, Use

# What stands before and after an ordinal of a fixed expression.
_EXPRESSIONS = (
    (r"\bat\s+", r"\s*(?:\b(?:glance|sight|look|light)\b|[,.?!]|$)"),
    (r"", r"\s+of\s+all\b"),
    (r"", r"\s+(?:times?|place|names?|aid|class|prize|floor|language|impression)\b(?!\s*[:=])"),
    (r"", r"\s+(?:night|week|month|year|century|decade|summer|winter|resort|minute)\b"),
    (r"", r"\s+but\s+not\s+least\b"),
    (r"", r"-(?:person|aid|class|floor|hand|rate|grade|year|story|degree|party|world)\b"),
    (r"\b(?:does|do|did|will|can|to)\s+(?:(?:it|they|this|that)\s+)?", r"\s+(?:long|for|until)\b"),
)  # fmt: skip
_FINAL = (
    r"\s+(?:answer|score|result|response|decision|exam|verdict|price|whistle|destination|conclusion"
    r"|solution|choice|lap)s?\b"
)
_SENTENCE_START = r"(?:^|[.:!?;\n]\s*)"


def ordinal(use: Use) -> str | None:
    """What an ordinal was taken for, if it names no image."""
    if use.whole or use.follows("-"):
        return None
    if use.follows(r"\b(?:a|per|each|every|half\s+a|split)\s+"):  # a time, or one of a set
        return None if use.precedes(rf"\s+(?:[\w-]+\s+)?(?:{use.own})s?\b") else "a second"
    if any(use.follows(before) and use.precedes(after) for before, after in _EXPRESSIONS):
        return "a fixed expression"
    if use.word in ("final", "last", "initial") and use.precedes(_FINAL):
        return "the end of something that is no image"
    return _step(use) or _place_of_thing(use)


def _step(use: Use) -> str | None:
    """Proves "first, look at ..." and "you should first think"."""
    if use.role == "answer" or use.word in ("last", "final"):
        return None
    alone = use.follows(_SENTENCE_START)
    if alone and use.precedes(rf",\s*(?:{IMPERATIVE}|(?:the\s+)?\a)"):
        return "a step of the instructions"
    if use.precedes(r"\s*,") and use.follows(rf"{_SENTENCE_START}{IMPERATIVE}\s+"):
        return "a step of the instructions"
    told = alone or use.follows(r"\b(?:you|to|must|should|can|may)\s+")
    return "a step of the instructions" if told and use.precedes(rf"\s+{IMPERATIVE}") else None


def _place_of_thing(use: Use) -> str | None:
    """Proves "the second car", "the first three rows" and "the last photo album"."""
    if use.precedes(rf"\s+(?:{use.own})\s+{PARTS_OF_AN_ALBUM}\b"):
        return "the place of a thing"
    other = (
        rf"(?!(?:{use.own}|one|panel|frame|scan|figure|chart|graph|view|screenshot|of|is|in)s?\b)"
    )
    if use.precedes(rf"[- ](?:[a-z]{{2,}}est|most\s+[a-z]+)\s+{other}[a-z]+\b"):
        return "the rank of a thing"
    latin = use.word in ("primary", "secondary", "tertiary", "quaternary")
    if thing := use.thing(plural=latin and not use.facts.refers):
        return f"the place of a thing: {thing}"
    counted = r"\s+(?:two|three|four|five|six|\d{1,2})\b"
    if use.facts.refers or not use.precedes(counted):
        return None
    things = use.thing(plural=True, between=3)
    return f"the place of things: {things}" if things else None
