"""Proves of letters that they name something else than an image."""

from perl_jax.permutation.reading.uses import Use

_NAMED = (
    r"(?:point|option|choice|answer|letter|label|team|group\s+named|player|person|object|line|row|column|angle"
    r"|vertex|node|box|car|vitamin|class|grade|plan|section|area|region|station|city|town|building|house|block"
    r"|circle|triangle|curve|road|route|gate|platform|container|beaker|bottle|substance|element|gas|liquid"
    r"|variable|vitamin|type|hepatitis|key|button|string|note|chord|spot|mark|marker|dot|arrow)s?"
)
_LETTERS = r"(?:[\"'\u201c(]?[A-Z][\"'\u201d)]?\s*(?:,\s*(?:and\s+|or\s+)?|/|\s(?:and|or|to|through)\s+|-)\s*)*[\"'\u201c(]?"
_MARKED = r"\b(?:labell?ed|marked|named|called|denoted|lettered)\s+(?:as\s+|with\s+|by\s+)?"
_ANSWERING = (
    r"\b(?:choose|select|pick|answer|respond|reply)\s+(?:one\s+of\s+)?|"
    r"\b(?:answer|respond|reply|output|choose|select|pick|letter|letters|option|options|choice|choices)\b"
    r"[^.?!\n]{0,40}?(?:\b(?:like|with|from|of|as|be|is|e\.g|among|between|directly)\b|[:,(])[\s,:(]*"
)


def letter(use: Use) -> str | None:
    """What a lone letter was taken for, if it names no image."""
    if use.word.upper() not in use.facts.reader.names and use.facts.reader.letters_follow is False:
        if use.follows(rf"\b(?:{_NAMED}|letter\s+is)\s*(?:[:#]\s*)?{_LETTERS}") or use.follows(
            _MARKED + _LETTERS
        ):
            return "the letter of a thing"
        if use.facts.lettered and use.follows(rf"(?:{_ANSWERING}){_LETTERS}"):
            return "the letter of an option"
        if use.role != "question" and use.word.upper() in use.facts.lettered:
            if use.follows(rf"\b(?:both|neither|either|all\s+of|none\s+of|only)\s+{_LETTERS}"):
                return "the letter of an option"
        if (
            use.follows(r"[=+*/^<>(]\s*")
            and use.precedes(r"\s*[=+*/^<>)]")
            and not use.facts.refers
        ):
            return "a part of a formula"
    elif use.follows(rf"(?:{_ANSWERING}){_LETTERS}") and use.facts.lettered:
        return "the letter of an option"
    elif use.follows(rf"\b(?:point|spot|mark|marker|dot)s?\s+{_LETTERS}"):
        return "the letter of a thing"
    return _article(use) if use.word == "a" else None


def _article(use: Use) -> str | None:
    """Proves the article "a"."""
    goes_on = (
        r"\s+(?:is|are|was|were|and|or|than|has|have|in|on|of|to|with|at|but|shows?|contains?|looks?|does|do|did"
        r"|from|for|by|as|that|which|also|not|only)\b"
    )
    if not use.precedes(r"\s+[\"'\u201c\u2018(*]?\w|\s*\n?\s*[\0\a]") or use.precedes(goes_on):
        return None
    capital = use.scan.text[use.token.start] == "A"
    if capital and (
        not use.follows(r"(?:^|[.?!:;\n\"\u201c(\0]\s*)") or "A" in use.facts.reader.names
    ):
        return "an article" if use.thing(plural=True) and "A" in use.facts.reader.names else None
    if use.follows(rf"\b(?:{use.own})\s+"):
        return "an article" if use.thing() else None
    return "an article"
