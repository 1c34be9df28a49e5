"""Finds sentences that depend on the order of the images although they name none of them."""

import re

from perl_jax.permutation.reading.words import POSITION, compiled

# Sentences about a row of images, whether or not another one names an image.
_ROWS = (
    (
        "layout_reference",  # "the odd-numbered images", "the outer pictures"
        r"\b(?:odd|even)(?:[- ]numbered)?\s+NOUNs\b|\b(?:odd|even)[- ]numbered\b"
        r"|\b(?:outer|inner|outermost|innermost|flanking|alternate|every\s+(?:other|second|third))"
        r"\s+(?:two\s+)?(?:NOUN|one)s?\b",
    ),
    (
        "sequence_word",  # "are the images sorted", "the pictures get darker", "begins with"
        r"\bNOUNs\s+(?:are|were|is|be)?\s*(?:\w+\s+)?(?:sorted|ordered|arranged|ranked|shuffled)\b"
        r"|\b(?:ascending|descending)\b|\bNOUNs\b[^.?!]{0,40}\b(?:increas|decreas)(?:e|es|ing)\b"
        r"|\b(?:get|gets|getting|got|gotten|grow|grows|growing|grew|turn|turns|turning|turned)\s+"
        r"(?:(?:any|much|even|slightly)\s+)?(?:\w{2,}er|more|less|worse|dark|light|bright|big|small)\b"
        r"|\b(?:NOUNs|set|series|row|album|collection)\s+(?:begin|start|end|open|close)s?\s+with\b"
        r"|\b(?:gradual|increasing|decreasing|progressive|steadi|successive)ly\b",
    ),
    (
        "sequence_word",  # "what word do the letters in the images spell"
        r"\bNOUNs\b[^.?!]{0,40}\b(?:form|spell|make\s+up|combine\s+to|concatenate)\b"
        r"|\b(?:form|spell|concatenat|combin|join)(?:e|s|es|ed|ing)?\b[^.?!]{0,40}\bNOUNs\b"
        r"|\bread\s+(?:(?:all|across|out)\s+)?(?:of\s+)?(?:the\s+)?(?:\w+\s+)?(?:across\s+the\s+)?NOUNs\b"
        r"[^.?!]{0,20}\b(?:as|together|across|to)\b",
    ),
    (
        "ambiguous_side",  # "do they look at each other across the images"
        r"\b(?:each\s+other|one\s+another)\b[^.?!]{0,30}\bacross\b[^.?!]{0,30}\bNOUNs\b",
    ),
    (
        "ambiguous_reference",
        r"\bhere\b(?!\s+(?:is|are)\b)[^.?!]{0,60}\bthere\b(?!\s+(?:is|are|was|were)\b)",
    ),
    (
        "ambiguous_reference",  # a picture of history, of a page or of an album
        rf"\b(?:took|invented|made|produced|published|sold|painted|developed)\s+the\s+(?:very\s+)?{POSITION}"
        rf"\s+NOUN\b|\b{POSITION}\s+NOUN\s+(?:ever|in\s+(?:the\s+)?(?:history|world)"
        rf"|on\s+(?:the|this|that)\s+(?:wall|page|shelf|site|website))\b|\w['\u2019]s\s+{POSITION}\s+NOUN\b",
    ),
    (
        "set_not_expressible",  # "image 1 to image 3", where nothing changes or is compared
        r"^(?:(?!\b(?:from|compar\w*|similar|clos\w+|identical|equal|relative|prefer\w*|match\w*|next|added"
        r"|chang\w*|turn\w*|transform\w*|convert\w*|transition\w*|correspond\w*|attribut\w*|belong\w*|refer\w*"
        r"|superior|inferior|due|according|respect)\b)[^.?!\n]){0,120}"
        r"\bNOUN\s*#?\d{1,2}\s+(?:to|through|thru|till|until|up\s+to)\s+NOUN\s*#?\d",
    ),
)
# The tenses that tell what happened, which is what differs between the images of a change.
_IRREGULAR = (
    "built|cut|lost|put|set|broken|taken|grown|gone|fallen|worn|torn|eaten|drawn|hidden|shut|hung"
    "|bent|made|sold|thrown|blown|woken|risen|frozen|melted|spread|split|written|begun|become"
)
_HAPPENED = re.compile(
    rf"(?i)\b(?:was|were|been|being|got)\s+(?:\w+ly\s+)?(?:\w{{2,}}ed|{_IRREGULAR})\b(?!\s+(?:by|with|in|at|on|of)\b)"
    rf"|\b(?:has|have|had)\s+(?:(?:the|it|he|she|they|any|his|her|its)\s+(?:\w+\s+){{0,2}})?(?:\w+ly\s+)?"
    rf"(?:been\s+)?(?:\w{{2,}}(?<!need)(?<!red)ed|{_IRREGULAR})\b(?!\s+(?:\w+s|hair|fur|eyes|skin|walls?)\b)"
    r"|\b(?:it|he|she|they|there)\s+(?:got|became|went|turned|grew|came|fell|broke)\b"
    r"|\b(?:was|were|been)\s+(?:switched|turned|put|taken)\s+(?:on|off|in|out|away|down|up)\b"
)
_VERDICTS = re.compile(
    r"(?i)\W*(?:(?:yes|no|true|false)(?:\W+(?:yes|no|true|false)\b)+|[yn]{2,8}|[tf]{2,8}"
    r"|[yntf01](?:\W+[yntf]\b)+)\W*"
)
_POINTS = r"\W*(?:the\s+)?(?:this|that|these|those|other|another)(?:\s+(?:ones?|NOUNs?))?\W*"
_OTHER = r"\bthe\s+other\s+(?:NOUN|one)\b"
_PARTNER = r"\b(?:one|each|any|every|either|same)\b|\b(?:a|an)\s+NOUN\b"


def find_rows(text: str, nouns: tuple[str, ...], *, sequences: bool) -> tuple[str, str] | None:
    """The reason and the words by which a text speaks of the images as a row; None if it does not.

    With ``sequences`` the rule accounts for words of sequence.
    """
    for reason, pattern in _ROWS:
        if sequences and reason == "sequence_word":
            continue
        if found := compiled(pattern, nouns).search(text):
            return reason, found[0]
    return None


def tells_a_change(text: str) -> str | None:
    """Words that tell what happened: "was built", "has healed", "it got dark"."""
    found = _HAPPENED.search(text)
    return found[0] if found else None


def points_at_an_image(text: str, nouns: tuple[str, ...]) -> str | None:
    """Words of a question that point at an image, but not at which: "the other picture"."""
    found = compiled(_OTHER + r"(?=[^.!]*\?)", nouns).search(text)
    if found and not compiled(_PARTNER, nouns).search(text[: found.start()]):
        return found[0]
    return None


def is_pointing(answer: str, nouns: tuple[str, ...]) -> bool:
    """Whether an answer only points: "that one"."""
    return compiled(_POINTS, nouns).fullmatch(answer) is not None


def lists_verdicts(answer: str) -> bool:
    """Whether an answer gives several verdicts, one for each image: "yes no yes", "YNY"."""
    return _VERDICTS.fullmatch(answer) is not None
