r"""Reads the letter of an option: ``B``, ``(B)``, ``Option B``, ``B. the left image``."""

import re
from dataclasses import dataclass

from perl_jax.rewards.normalise import prose, unwrapped_text
from perl_jax.rewards.words import OPTION, PICTURE, hedges

_TRUE_LETTER = re.compile(rf"(?:(?i:{OPTION}|{PICTURE})\s+)?\(?([A-Z])\)?[.:]?")
_TRUE_OPTION = re.compile(
    r"(?:\(|(?=[A-H][.:)]))(?P<letter>[A-H])[.:)]\s+(?P<text>\S.*)", re.DOTALL
)
_WORD = re.compile(rf"(?:the\s+)?(?:{OPTION}|{PICTURE})s?\s*[:#]?\s*", re.IGNORECASE)
# A letter alone, or an option as it is printed: "(B) the left image", "B. cat", "B: cat".
_LETTER = re.compile(
    r"(?:[(\[](?P<enclosed>[A-Za-z])[)\]][.:]?|(?P<bare>[A-Za-z])[.:)]?)(?:(?<=[)\].:])\s+(?P<text>\S.*))?",
    re.DOTALL,
)
# "B - cat" and "B (cat)": a doubt in brackets is likelier than in the text of an option.
_ASIDE = re.compile(
    r"\(?(?P<letter>[A-Za-z])\)?(?:\s+-{1,3}\s+(?P<after>[A-Za-z0-9$\\].*)|\s*\(\s*(?P<inner>[^()]{2,})\s*\))",
    re.DOTALL,
)
_ASIDE_DOUBT = re.compile(
    r"[?%]|\b(?:no|not|never|likely|think|believe|confiden\w*|tentative\w*|certain\w*|sure|now|doubt\w*"
    r"|wait|actually|also|too|except|but|or|and|nor|unless|if|seems?|best|final|one|other|both)\b|n't\b",
    re.IGNORECASE,
)
_TEXT_ASIDE = re.compile(r"\\(?:text|textbf|mathrm|mathbf|textrm|mbox)\s*\{([^{}]*)\}")
_DRESSED = re.compile(
    r"\\(?:text|textbf|mathrm|mathbf|textrm|mathit|bf|rm)\s*\{\s*(\(?[A-Za-z]\)?[.:]?)\s*\}"
)
# A letter in the text of an option may be another option; "a" and "A cat" are articles.
_OTHER = re.compile(
    r"(?P<name>\b[A-Za-z][A-Za-z-]*\s+)?(?<![A-Za-z0-9\\'])(?P<letter>[A-J])(?![A-Za-z0-9'])"
    r"(?P<article>\s+(?!is\b|are\b|or\b|and\b|not\b|was\b|nor\b|but\b)[a-z])?"
    r"|\((?P<small>[a-j])\)"
)
_NAMES = re.compile(
    rf"(?:{PICTURE}|vitamin|point|team|group|graph|line|class|type|plan|hepatitis|angle|side|segment"
    r"|box|circle|set|event|city|train|car|person|player|company|model|method|experiment|beaker|tube"
    r"|container|bar|curve|region|area|object|block|cube|planet|star|path|route|road|shape|diagram"
    r"|chart|map|row|column|tower|street|house|building|triangle|rectangle|square|part|section)s?\s+",
    re.IGNORECASE,
)


# Beside a letter alone, they say so of the letter. "No" is more often the text of an option.
_REJECTION = re.compile(
    r"\W*(?:wrong|false|incorrect|untrue|mistaken|rejected|eliminated|excluded|invalid"
    r"|ruled out|nope|not|not this(?: one)?|unlikely|doubtful)\W*|[✗✘❌]",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Option:
    """The letter of an option, and its text if that stands beside it."""

    letter: str
    text: str = ""

    def has_words_of(self, other: "Option") -> bool:
        """Whether the texts say the same, as far as both go: "a dog" is "the brown dog", no cat."""
        own, others = (_content(option.text) for option in (self, other))
        return not own or not others or own <= others or others <= own


def read_true_option(truth: str) -> Option | None:
    """Reads ``B``, ``(B)``, ``Option B`` or ``(B) cat``; None if the truth is anything else."""
    if found := _TRUE_LETTER.fullmatch(truth):
        return Option(found[1])
    if (found := _TRUE_OPTION.fullmatch(truth)) and _describes(found["text"], found["letter"]):
        return Option(found["letter"], found["text"])
    return None


def is_bare_option(item: str) -> bool:
    """Whether an item of a list is the letter of an option without its text."""
    option = read_option(item)
    return option is not None and not option.text


def read_option(answer: str) -> Option | None:
    """The one option that an answer names, by a letter of any case; None if it is not one."""
    answer = _DRESSED.sub(r"\1", unwrapped_text(answer)).strip()
    word = _WORD.match(answer)
    answer = answer[word.end() :] if word else answer
    found = _LETTER.fullmatch(answer)
    if found is None:
        return _read_aside(_TEXT_ASIDE.sub(r"\1", answer))
    letter, text = (found["enclosed"] or found["bare"]).upper(), found["text"] or ""
    if text and (_REJECTION.fullmatch(text) or not _describes(text, letter)):
        return None
    return Option(letter, text)


def _read_aside(answer: str) -> Option | None:
    found = _ASIDE.fullmatch(answer)
    if found is None:
        return None
    letter, text = found["letter"].upper(), found["after"] or found["inner"]
    # C - 3 is a difference.
    if _ASIDE_DOUBT.search(text) or not re.search("[A-Za-z]{2}", text):
        return None
    is_option = not _REJECTION.fullmatch(text) and _describes(text, letter)
    return Option(letter, text) if is_option else None


def _content(text: str) -> frozenset[str]:
    """The words of an option's text that say what it is."""
    found = re.findall(r"[^\W_]+(?:[.,/'][^\W_]+)*", prose(text))
    singular = (word.removesuffix("s") if len(word) > 3 else word for word in found)
    return frozenset(singular) - {"a", "an", "the"}


def _describes(text: str, letter: str) -> bool:
    """Whether the text beside a letter describes that option, and names no other."""
    if hedges(text):
        return False
    for other in _OTHER.finditer(text):
        named = (other["letter"] or other["small"] or "").upper()
        is_article = named == "A" and other["article"] is not None
        is_name = other["name"] is not None and _NAMES.fullmatch(other["name"])
        if named != letter and not is_article and not is_name:
            return False
    return True
