"""Proves of letters that they name something else than an image."""

import re

from perl_jax.permutation.reading.uses import Use

_NAMED = (
    r"(?:point|option|choice|answer|letter|label|team|player|person|object|line|row|column|angle|vertex"
    r"|node|box|car|vitamin|class|grade|plan|section|area|region|station|city|town|building|house"
    r"|block|circle|triangle|curve|road|route|gate|platform|container|beaker|bottle|substance|element"
    r"|gas|liquid|variable|type|hepatitis|key|button|string|note|chord|spot|mark|marker|dot|arrow)s?"
)
# These have letters of their own even where letters stand for images.
_LETTERED = (
    r"\b(?:point|spot|mark|marker|dot|angle|vertex|node|team|company|station|city|town|circle|triangle|line"
    r"|vitamin|hepatitis|variable|gas|liquid|substance|element|player|class|grade|string)s?\s+"
)
# Letters of a list that stand before the letter: "A, B and ", "(A) or ".
_LETTERS = (
    r"(?:[\"'\u201c(]?[A-Z][\"'\u201d)]?\s*(?:,\s*(?:and\s+|or\s+)?|/|\s(?:and|or|to|through)\s+|-)\s*)*"
    r"[\"'\u201c(]?"
)
_MARKED = r"\b(?:labell?ed|marked|named|called|denoted|lettered)\s+(?:as\s+|with\s+|by\s+)?"
_ANSWERING = (
    r"(?:\b(?:choose|select|pick|answer|respond|reply)\s+(?:one\s+of\s+)?"
    r"|\b(?:answer|respond|reply|output|choose|select|pick|letters?|options?|choices?)\b[^.?!\n]{0,40}?"
    r"(?:\b(?:like|with|from|of|as|be|is|e\.g|among|between|directly)\b|[:,(])[\s,:(]*)"
)


def letter(use: Use) -> str | None:
    """What a lone letter was taken for, if it names no image."""
    if use.follows(rf"\b(?:{use.own})s?\W*"):
        return _article(use) if use.word == "a" else None
    if use.facts.lettered and (use.follows(_ANSWERING + _LETTERS) or _is_of_all_options(use)):
        return "the letter of an option"
    named = use.word.upper() in use.facts.reader.names or use.facts.reader.letters_follow
    if use.follows(_LETTERED + _LETTERS) or (not named and _is_label(use)):
        return "the letter of a thing"
    if not named and _is_letter_of_option(use):
        return "the letter of an option"
    return _article(use) if use.word == "a" else None


def _is_label(use: Use) -> bool:
    if len(use.word) > 1:  # a Roman number, as in "Elizabeth II"
        return (
            re.search(r"(?!The\b|Is\b|Are\b|In\b|Does\b)\b[A-Z][a-z]+\s+$", use.before) is not None
        )
    named = rf"\b(?:{_NAMED}|letter\s+is)\s*(?:[:#]\s*)?{_LETTERS}"
    formula = use.follows(r"[=+*/^<>(]\s*") and use.precedes(r"\s*[=+*/^<>)]")
    enclosed = use.follows(r"(?<!\w)\(\s*") and use.precedes(r"\s*\)")  # "(a)" is a label
    in_formula = formula and not enclosed and not use.facts.refers
    return use.follows(named) or use.follows(_MARKED + _LETTERS) or in_formula


def _is_of_all_options(use: Use) -> bool:
    """Whether the letter is one of "options A, B, C and D" that lists all of them."""
    clause = use.clause_before + use.scan.text[use.token.start : use.token.end] + use.after
    listed = re.search(r"\b(?:options|choices)\s+([A-Z](?:,?\s*(?:and\s+)?[A-Z]\b)+)", clause)
    return listed is not None and set(re.findall("[A-Z]", listed[1])) == use.facts.lettered


def _is_letter_of_option(use: Use) -> bool:
    """Whether the letter of "both A and B" is one of an option, in an option."""
    several = rf"\b(?:both|neither|either|all\s+of|none\s+of|only)\s+{_LETTERS}"
    lettered = use.role != "question" and use.word.upper() in use.facts.lettered
    return lettered and use.follows(several)


def _article(use: Use) -> str | None:
    """Proves the article "a"."""
    goes_on = (
        r"\s+(?:is|are|was|were|and|or|than|has|have|in|on|of|to|with|at|but|shows?|contains?|looks?"
        r"|does|do|did|from|for|by|as|that|which|also|not|only)\b"
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
