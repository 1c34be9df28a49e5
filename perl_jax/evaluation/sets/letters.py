r"""Reads which lettered option a response chooses.

It reads as a careful person does: "a dog" is not option A, "A is wrong, so B" is B, "A and B" is
none, and what the response says its answer is goes before what it mentions on the way.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from perl_jax.permutation.reading.options import fields_of, find_options
from perl_jax.permutation.refusal import CannotPermute
from perl_jax.types import Example

_MARKS = re.compile(r"\*+|`+|\\(?:left|right|quad|,|;|!)|\$+|\\[()\[\]]")
_DRESS = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textrm|mathit|bf|rm)\s*\{([^{}]*)\}")
_ANSWERING = re.compile(
    r"(?:(?:so|thus|therefore|hence)\b\W*)?(?:i\s+(?:think|believe)\s+|my\s+|the\s+)*"
    r"(?:(?:final|correct|right|best)\s+)*(?:answer|option|choice)?\s*(?:is\b|it\s+is\b|it's\b|:)?\s*",
    re.IGNORECASE,
)
_WHOLE = re.compile(
    r"(?:(?:option|choice|letter)\s+)?[(\[{]?\s*([A-Za-z])\s*[)\]}]?\s*[.:,;!)]*", re.I
)

# A letter that stands by itself: "B", "(B)", "[B]", but not that of "B-52", "B's", "vitamin B".
_MENTION = re.compile(
    r"(?P<open>[(\[])\s*(?P<enclosed>[A-Za-z])\s*[)\]]"
    r"|(?<![\w'\u2019\-&\\.])(?P<bare>[A-Z])(?![\w'\u2019&]|-\w|\.\w)"
)
_NAME = re.compile(
    r"\b(?:vitamin|hepatitis|point|figure|fig\.|image|picture|photo|frame|graph|group|team|class|type"
    r"|plan|line|angle|side|box|circle|set|city|car|person|player|block|shape|region|area|panel|object"
    r"|section|step|exhibit|table|case|part)s?\s+$",
    re.IGNORECASE,
)
# What may follow the letter of an option; any other small word makes "A" an article.
_GOES_ON = re.compile(
    r"\s+(?:is|was|are|be|isn't|and|or|but|because|since|as|so|for|in|on|at|to|of|with|from|by|than|that"
    r"|which|where|while|when|if|not|cannot|can't|can|could|would|should|must|may|might|will|does"
    r"|doesn't|has|had|seems|appears|looks|matches|fits|shows|says|describes|represents|depicts"
    r"|contains|corresponds|makes|states|instead|rather|over|only|again|here|then|also|best|correctly)\b"
)
_WORD = re.compile(r"\s+[a-z]")
_REJECTED_AFTER = re.compile(
    r"[)\]*\"']*(?:\s*(?:is|are|was|seems|looks|appears|must\s+be|can\s+be|would\s+be|could\s+be))?"
    r"(?:\s+(?:clearly|obviously|definitely|certainly|also|just|therefore|thus|simply))?\s*"
    r"(?:\bnot\s+(?!only)|n't\b|\bnot\b$|\bwrong|\bincorrect|\bfalse|\bruled\s+out|\beliminated|\bexcluded"
    r"|\bimpossible|\bunlikely|\bout\b|\bcannot\b|\bcan't\b|\bcan\s+not\b|\bisn't\b|\bdoesn't\b|\bdoes\s+not\b"
    r"|\bwouldn't\b|\bfails\b)",
    re.IGNORECASE,
)
_REJECTED_BEFORE = re.compile(
    r"(?:\bnot|n't|\brather\s+than|\binstead\s+of|\bunlike|\bexclud\w+|\beliminat\w+|\brul\w+\s+out"
    r"|\breject\w*|\bneither|\bnor|\bthan|\bexcept|\bdiscard\w*|\bdismiss\w*|\bover)"
    r"(?:\s+(?:be|choose|pick|select))?(?:\s+(?:the|an?))?(?:\s+(?:option|choice|answer|letter)s?)?\s*$",
    re.IGNORECASE,
)
_JOINED = re.compile(
    r"\s*(?:,|/|&|\+|,?\s*\b(?:and|or|and/or)\b)+\s*(?:the\s+)?(?:(?:option|choice)\s+)?",
    re.IGNORECASE,
)
# "the answer is", "I would choose option", "correct choice:"; up to the letter.
_STATING = re.compile(
    r"(?:\b(?:answers?|choose|chose|choosing|selects?|selected|picks?|picked|conclude|conclusion"
    r"|i(?:\s+would)?\s+(?:think|believe|guess|say)|it\s+(?:is|must|should)|it's|go(?:ing)?\s+(?:with|for)"
    r"|(?:correct|right|best|final|true)\s+(?:one|option|choice|letter))\b(?!\s*,)"
    r"(?:[^.!?\n]{0,60}?|\s*(?:is|:)?\s*\n\s*)(?:\b(?:option|choice|letter)\s*)?"
    r"|\b(?:so|thus|therefore|hence)\b[,:]?\s*(?:(?:option|choice)\s*)?)$",
    re.IGNORECASE,
)
_STATED_AFTER = re.compile(
    r"[)\]]?\W{0,2}\s*(?:is|are|was|would\s+be|must\s+be|should\s+be)\s+(?:clearly\s+|definitely\s+)?(?:the\s+)?"
    r"(?:correct|right|best|true|(?:final\s+)?answer)\b",
    re.IGNORECASE,
)
_REASON = re.compile(r"\s*[,;:\u2013\u2014-]?\s*(?:because|since|as)\b", re.IGNORECASE)
_LABELLED = re.compile(r"(?m)^\s*(?:(?:option|choice)\s+)?(?:[(\[][A-Za-z][)\]]|[A-Z][.):])", re.I)

Several = Literal["none", "last"]


@dataclass(frozen=True)
class _Mention:
    letter: str
    start: int
    end: int
    enclosed: bool


def choices(example: Example) -> dict[str, str]:
    """The text of each option by its letter; empty if the options cannot be read."""
    try:
        options = find_options(example)
    except CannotPermute:
        return {}
    fields = fields_of(example)
    return {one.letter: fields[one.field][one.start : one.end].strip() for one in options}


def whole_letter(text: str, letters: Collection[str]) -> str | None:
    """The letter that a text consists of: "b", "(B)", "B.", "Option B", "Answer: B"."""
    text = undressed(text)
    for start in (0, _end_of_answering(text)):
        found = _WHOLE.fullmatch(text, start)
        # "The answer is a" has lost the rest of its sentence.
        if found and found[1].upper() in letters and not (start and found[0] == "a"):
            return found[1].upper()
    return None


def read_letter(text: str, letters: Collection[str], several: Several = "none") -> str | None:
    """The letter of the option that a text chooses; None if it does not say.

    Args:
        text: What a response says in the end.
        letters: The letters of the options.
        several: Where letters are mentioned and nothing says which is meant: ``none`` of them, or
            the ``last`` one, those in brackets first, as MMMU reads.
    """
    if letter := whole_letter(text, letters):
        return letter
    text = undressed(text)
    parts = dict.fromkeys((text.rpartition("\n\n")[2], text))
    for part in parts:
        if letter := _stated(part, letters):
            return letter
    found: list[_Mention] = []
    for part in parts:
        found = _kept(part, _mentions(part, letters))
        if len({one.letter for one in found}) == 1:
            return found[0].letter
    if several == "last" and found:
        return max(found, key=lambda one: (one.enclosed, one.start)).letter
    return None


def read_text(text: str, options: Mapping[str, str]) -> str | None:
    """The letter of the one option whose words a text consists of, in any letter case."""
    text = undressed(text)
    for start in (0, _end_of_answering(text)):
        said = plain(text[start:])
        same = [letter for letter, words in options.items() if said and plain(words) == said]
        if len(same) == 1:
            return same[0]
    return None


def last_text(text: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option whose words a text holds last, as whole words.

    An option whose words are only a part of another one's, where that one stands, does not count.
    """
    by_words: dict[str, list[str]] = {}
    for letter, words in options.items():
        by_words.setdefault(" ".join(words.casefold().split()), []).append(letter)
    longest_first = sorted(filter(None, by_words), key=len, reverse=True)
    if not longest_first:
        return None
    any_of = "|".join(map(re.escape, longest_first))
    said = " ".join(undressed(text).casefold().split())
    found = re.findall(rf"(?<!\w)(?:{any_of})(?!\w)", said)
    letters = by_words[found[-1]] if found else []
    return letters[0] if len(letters) == 1 else None


def undressed(text: str) -> str:
    r"""A text without Markdown's and LaTeX's dress: ``**B**`` and ``\text{B}`` are ``B``."""
    return _MARKS.sub("", _DRESS.sub(r"\1", text)).strip()


def plain(text: str) -> str:
    """A text for comparison: in small letters, with single spaces, without a full stop."""
    return " ".join(text.split()).strip(" .\"'\u201c\u201d").casefold()


def _end_of_answering(text: str) -> int:
    found = _ANSWERING.match(text)
    return found.end() if found else 0


def _mentions(text: str, letters: Collection[str]) -> list[_Mention]:
    found = []
    for one in _MENTION.finditer(text):
        letter = (one["enclosed"] or one["bare"]).upper()
        if letter not in letters or (one["bare"] and not _is_mention(text, one)):
            continue
        found.append(_Mention(letter, one.start(), one.end(), one["enclosed"] is not None))
    return found


def _is_mention(text: str, one: re.Match[str]) -> bool:
    """Whether a bare capital names an option: it is no article, pronoun, or part of a name."""
    if _NAME.search(text[max(0, one.start() - 20) : one.start()]):
        return False
    if one["bare"] == "I":
        return False
    is_word = _WORD.match(text, one.end()) is not None
    return one["bare"] != "A" or not is_word or _GOES_ON.match(text, one.end()) is not None


def _kept(text: str, found: Sequence[_Mention]) -> list[_Mention]:
    """The mentions that are neither rejected nor joined to another letter: "A and B", "A or B"."""
    joined = set()
    for left, right in pairwise(found):
        between = text[left.end : right.start]
        if left.letter != right.letter and len(between) < 40 and _JOINED.fullmatch(between):
            joined |= {left, right}
    return [one for one in found if one not in joined and not _is_rejected(text, one)]


def _is_rejected(text: str, one: _Mention) -> bool:
    before = text[max(0, one.start - 40) : one.start]
    return (
        _REJECTED_AFTER.match(text[one.end : one.end + 60]) is not None
        or _REJECTED_BEFORE.search(before) is not None
    )


def _stated(text: str, letters: Collection[str]) -> str | None:
    """The last letter that a text says to be its answer, or the one that it begins with."""
    found = _mentions(text, letters)
    kept = _kept(text, found)
    starts = {one.start for one in kept}
    stated, reached = None, 0
    for one in found:
        after = _STATED_AFTER.match(text, one.end)
        # A statement names one letter, the next: "the answer is A, and B is not".
        if one.start in starts and (
            after or _STATING.search(text, max(reached, one.start - 90), one.start)
        ):
            stated = one.letter
        reached = after.end() if after else one.end
    return stated or _beginning(text, kept)


def _beginning(text: str, kept: list[_Mention]) -> str | None:
    """The letter that a text begins with, as in "B. a cat" and "B because ...", but no list."""
    if not kept or kept[0].start != len(text) - len(text.lstrip()):
        return None
    first = kept[0]
    listed = any(one.enclosed and one.letter != first.letter for one in kept)
    label = len(_LABELLED.findall(text)) == 1 and not (first.enclosed and listed)
    return first.letter if label or _REASON.match(text, first.end) else None
