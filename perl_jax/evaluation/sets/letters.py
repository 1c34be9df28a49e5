r"""Reads which lettered option a response chooses.

It reads as a careful person does: "a dog" is not option A, "A is wrong, so B" is B, "A and B" is
none, and what the response says its answer is goes before what it mentions on the way.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from perl_jax.permutation.reading.options import fields_of, find_options
from perl_jax.permutation.refusal import CannotPermute
from perl_jax.types import Example

_MARKS = re.compile(r"\*+|`+|\\(?=[%$&#])|\\(?:left|right|quad|,|;|!)|\$+|\\[()\[\]]")
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
_BEGINS = re.compile(r"(?:^|[.!?:\n)\]\"\u201c\u2018'(])\s*$")
_WORD = re.compile(r"\s+[a-z]")
_REJECTED_AFTER = re.compile(
    r"[)\]*\"']*(?:\s*(?:is|are|was|seems|looks|appears|must\s+be|can\s+be|would\s+be|could\s+be))?"
    r"(?:\s+(?:clearly|obviously|definitely|certainly|also|just|therefore|thus|simply))?\s*"
    r"(?:\bnot\s+(?!only)|n't\b|\bnot\b$|\bwrong|\bincorrect|\bfalse|\bruled\s+out|\beliminated|\bexcluded"
    r"|\bimpossible|\bunlikely|\bout\b(?!\s+of)|\bcannot\b|\bcan't\b|\bcan\s+not\b|\bisn't\b|\bdoesn't\b|\bdoes\s+not\b"
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
_FILLERS = (
    r"(?:(?:it\s+is|it's|that|the|most|likely|probably|clearly|definitely|certainly|indeed|therefore"
    r"|thus|actually|simply|just|option|choice|letter|answer|is|be)\b\s*|[:=\-\u2014,\"']\s*)*$"
)
# What a letter follows that is stated: "the answer to this is", "I would choose option"; and less
# surely, in "I think it is", "so".
_SURELY = re.compile(
    r"\b(?:(?:answers?|choice|(?:correct|right|best|final|true)\s+(?:one|option|letter))\b"
    r"(?:[^.!?\n]{0,60}?(?:\b(?:is|be|was)\b|[:=]))?"
    r"|(?:choose|chose|choosing|selects?|selected|picks?|picked|conclude|conclusion"
    r"|go(?:ing)?\s+(?:with|for))\b)(?!\s*,)\s*" + _FILLERS,
    re.IGNORECASE,
)
_PERHAPS = re.compile(
    r"\b(?:i(?:\s+would)?\s+(?:think|believe|guess|say)|it\s+(?:is|must|should)|it's|must\s+be"
    r"|so|thus|therefore|hence)\b\s*" + _FILLERS,
    re.IGNORECASE,
)
_STATED_AFTER = re.compile(
    r"[)\]]?\W{0,2}\s*(?:is|are|was|would\s+be|must\s+be|should\s+be)\s+(?:clearly\s+|definitely\s+)?(?:the\s+)?"
    r"(?:correct|right|best|true|(?:final\s+)?answer)\b",
    re.IGNORECASE,
)
_IS = re.compile(r"\s+(?:is|was|has|shows|does|looks|seems|would|could)\b")
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
    whole, last = _Part(text, letters), _Part(text.rpartition("\n\n")[2], letters)
    found = (
        last.stated(_SURELY) or last.stated(_PERHAPS) or whole.stated(_SURELY) or last.only()
        or whole.stated(_PERHAPS) or whole.only()
    )  # fmt: skip
    if found is None and several == "last" and whole.kept:
        return max(whole.kept, key=lambda one: (one.enclosed, one.start)).letter
    return found


def read_text(text: str, options: Mapping[str, str]) -> str | None:
    """The letter of the one option whose words a text consists of, in any letter case."""
    text = undressed(text)
    for start in (0, _end_of_answering(text)):
        said = plain(text[start:])
        same = [
            letter for letter, words in options.items() if said and plain(undressed(words)) == said
        ]
        if len(same) == 1:
            return same[0]
    return None


def last_text(text: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option whose words a text holds last, as whole words.

    An option whose words are only a part of another one's, where that one stands, does not count.
    """
    by_words: dict[str, list[str]] = {}
    for letter, words in options.items():
        by_words.setdefault(" ".join(undressed(words).casefold().split()), []).append(letter)
    longest_first = sorted(filter(None, by_words), key=len, reverse=True)
    if not longest_first:
        return None
    any_of = "|".join(map(re.escape, longest_first))
    said = " ".join(undressed(text).casefold().split())
    found = re.findall(rf"(?<!\w)(?<!\d\.)(?:{any_of})(?!\w|\.\d)", said)
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
    # An article is only in capitals where a sentence begins.
    begins = _BEGINS.search(text[max(0, one.start() - 20) : one.start()]) is not None
    is_word = begins and _WORD.match(text, one.end()) is not None
    return one["bare"] != "A" or not is_word or _GOES_ON.match(text, one.end()) is not None


def _are_joined(text: str, left: _Mention, right: _Mention) -> bool:
    """Whether two letters are named together, and the second one begins no new statement."""
    between = text[left.end : right.start]
    if len(between) > 40 or not _JOINED.fullmatch(between) or _is_rejected(text, right):
        return False
    return between.strip() != "," or not _IS.match(text, right.end)


def _is_rejected(text: str, one: _Mention) -> bool:
    before = text[max(0, one.start - 40) : one.start]
    return (
        _REJECTED_AFTER.match(text[one.end : one.end + 60]) is not None
        or _REJECTED_BEFORE.search(before) is not None
    )


class _Part:
    """A text with the letters that it mentions, and those of them that it may mean.

    These are neither rejected nor joined to another letter, as in "A and B" and "A or B".
    """

    def __init__(self, text: str, letters: Collection[str]) -> None:
        self._text = text
        self._found = _mentions(text, letters)
        joined = set()
        for left, right in pairwise(self._found):
            if left.letter != right.letter and _are_joined(text, left, right):
                joined |= {left, right}
        self.kept = [
            one for one in self._found if one not in joined and not _is_rejected(text, one)
        ]

    def only(self) -> str | None:
        """The only letter that is meant, if it is one."""
        letters = {one.letter for one in self.kept}
        return letters.pop() if len(letters) == 1 else None

    def stated(self, saying: re.Pattern[str]) -> str | None:
        """The last letter that is said to be the answer, or the one that the text begins with."""
        starts = {one.start for one in self.kept}
        stated, reached = None, 0
        for one in self._found:
            after = _STATED_AFTER.match(self._text, one.end)
            # A statement names one letter, the next: "the answer is A, and B is not".
            before = max(reached, one.start - 90)
            if one.start in starts and (after or saying.search(self._text, before, one.start)):
                stated = one.letter
            reached = after.end() if after else one.end
        return stated or self._beginning()

    def _beginning(self) -> str | None:
        """The letter of "B. a cat" and "B because ...", but not of a list of options."""
        text, kept = self._text, self.kept
        if not kept or kept[0].start != len(text) - len(text.lstrip()):
            return None
        first = kept[0]
        listed = any(one.enclosed and one.letter != first.letter for one in kept)
        label = len(_LABELLED.findall(text)) == 1 and not (first.enclosed and listed)
        return first.letter if label or _REASON.match(text, first.end) else None
