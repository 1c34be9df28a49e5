"""Proves of sentences that name images that what they say of them needs no order of the slots.

A name that is rewritten keeps its picture, but words around it may still place it in the row: "by
image 3 the field is covered", "from image 1 to image 4", "image 2 lies across from image 3". No
list of such words is complete, so it is turned round: the word before a name and the word after it
have to be of a closed list. A sentence beside them that names none may not tell a change.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from perl_jax.permutation.reading import unordered
from perl_jax.permutation.reading.placeholders import Span, mask
from perl_jax.permutation.reading.questions import sentences
from perl_jax.permutation.reading.verbs import COMPARATIVES, STATIC
from perl_jax.permutation.reading.words import NUMBER, compiled

_NAME, _SHIFTED = "\u01c2", "\u01c1"
"""Letters that no text has, as `sentences` drops other marks where a sentence begins."""

_SIDE = rf"(?:[- ]hand)?(?:\s+side)?"
_FORMS = (
    rf"(?:NOUN|one|that)s?\s+(?:shown\s+)?(?:on|to|at|in)\s+(?:the\s+)?(?:far\s+)?{_NAME}+{_SIDE}"
    rf"|\bNOUNs?\s+(?:\w+\s+){{0,3}}?(?:the\s+)?{_SHIFTED}+(?:\s+NOUNs?\b)?"
    r"|(?:\bNOUNs?[\W_]{0,3})?(?:\b(?:of\s+lucky\s+)?(?:no|nr|number)\b\W{0,3})?"
    rf"{_NAME}+(?:[- ]hand)?(?:\s+(?:{NUMBER}|few|couple)(?=\s+NOUN|\s*$))?(?:[\s-]+(?:(?:side|input|given|shown|provided|candidate)\s+)?NOUNs?\b)?"
)
_LIST = r"(?:\s*(?:,|;|/|&|\+|\bvs\.?|\bversus\b|[<>=\u2192\u2013-]+|\band\b|\bor\b|\bnor\b)\s*)+(?:(?:in|of|only|from|not|the)\s+)*"
_WORD = r"[^\W_]+(?:['\u2019-][^\W_]+)*"

_BEFORE_WORDS = """
a accompany accompanying about again against also an and answer are as assume assuming attached
because entire it read shoot shows take took what whole both but can captioned caption chart choose common compare comparing consider considering
contrast correct could depict depicted depicting depicts describe described describes describing
did discard do does either equal equals examine except exclude excluding favor favour find final
given had has have ignore ignoring in include including into is like likely look match matches
matching mirror mirrors near neither nor not of on only or option order outdoes over overlap
overlaps per pick prefer preferred prefers reference resemble resembles resembling rate see select
should show showing shown shows so sort study suits than that the they think though through twice
unlike use using versus view vs was were when where whereas whether which while who will with
within without would
"""
_BEFORE = frozenset(_BEFORE_WORDS.split()) - {"near", "through", "over", "when", "order", "so"}
"""Words that may stand before a name. What they say holds of the picture, wherever it is shown."""

_AFTER_WORDS = """
a actually alone also always an and answer any appear appears are as at be because belong belongs
better best both brighter but by can capture captures clearly come compared contain contained
containing contains correct correctly correspond corresponds could depict depicted depicting
depicts describe described describes did differ different differently differs display displayed
displays do does doesn't don't each either empty equal equals exactly exceed exceeds false feature
features fewer fit fits for from had hardly has have having he hold holds if illustrate illustrates
in include includes instead is isn't it its lack lacks less like likely look looked looking looks
make makes match matches matching mean means mirror mirrors more most must need needs neither no
none not of on only or overlap overlaps part picture portray portrays present presents prove
reading really refer refers relative represent represented represents resemble resembles same
satisfies say says see seem seems shall she should show showed showing shown shows similar
slightly so still suggest suggests suit suits support supports taken than that the their them
there these they this those to together too true twice two under use used uses versus very vs was
we were what whereas where which while who whose will with without worth would you one three four
five six seven eight nine ten red blue green black white dark light bright blurry blurred sharp
clear noisy older newer closed open indoors outdoors real fake edited identical turned
rotated flipped mirrored cropped scaled resized zoomed
"""
_AFTER = (frozenset(_AFTER_WORDS.split()) | STATIC | COMPARATIVES) - {
    "by", "come", "lie", "lies", "sit", "sits", "stand", "stands", "rest", "hang", "hangs",
    "still", "surround", "surrounds", "follow", "follows", "touch", "touches", "face", "faces",
    "together", "row",
}  # fmt: skip
"""Words that may stand after a name: verbs of what a single picture shows, and words of comparing."""

# Before "to", "from", "between" and "by" a name needs a word that says what the relation is.
_RELATIONS = {
    "to": r"\b(?:similar|similarity|compar\w+|identical|equal|equals|relative|relation|relative|correspond\w*|refer\w*"
    r"|belong\w*|match\w*|from|closer|superior|inferior|prefer\w*|according|due|turn\w*|attribut\w*|respect|same|congruent"
    r"|isomorphic|related|parallel|analogous|opposed|chang\w+|contrast|done|made|happen\w*|look|attention|added|answer|is"
    r"|unlike|resemblance|common|proportional|perpendicular|applied|led|likely|like|return|back|visible|now|get|gets|got)\b",
    "from": r"(?<!far )(?<!away )(?<!farthest )(?<!furthest )(?<!farther )(?<!further )(?<!distant )",
    "between": r"\b(?:differ\w*|similar\w*|common|compar\w+|chang\w+|relation\w*|same|distinguish\w*|discrepan\w*"
    r"|distance|match\w*|contrast|distinction|connection|correspond\w*|choose|overlap|ratio|shared?|link|gap|motion"
    r"|move[sd]?|moving|rotat\w+|camera|transformation|mov\w+|removed|added|missing|vary|varies|variation|appeared|disappeared)\b",
    "by": r"\b(?:shown|depicted|represented|displayed|illustrated|described|explained|suggested|supported|given|implied"
    r"|provided|portrayed|exceeded|outnumbered|divided|multiplied)\s+$",
    "at": r"\blook(?:s|ed|ing)?\s+(?:\w+\s+)?$",
    "before": r"\b(?:taken|captured|shot|photographed|made|created|drawn|painted|recorded|happen(?:s|ed)?|place"
    r"|occur(?:s|red)?|earlier|later)\s+(?:(?:just|shortly|immediately|right|long)\s+)?$",
    "if": r"",
    "for": r"",
}
_RELATIONS["after"] = _RELATIONS["before"] + r"|\bhappens\b"

_PLACED = (
    r"\b(?:sandwich|enclos|flank|surround)\w*|\b(?:inwards?|outwards?)\b|\b[nki]-?th\b|\bhow\s+often\b"
    r"|\bin\s+the\s+course\b|\bover\s+the\s+course\b|\bthroughout\b"
    r"|\bsame\s+(?:row|column|page|line)\b|\bshares?\s+(?:an?|its|one)\s+(?:edge|border|side|corner)\b"
    r"|\bone\s+(?:to|on)\s+the\s+(?:left|right)\b"
    rf"|{_NAME}\s+(?:is|are|was|were|belongs?|goes|should\s+be)\s+(?:not\s+)?(?:in(?!\s+(?:colou?r|black|focus|gr[ae]y|sepia|portrait"
    r"|landscape)\b)|at|on|out(?!\s+of\s+focus)|off|up|down|away|by|between|behind|under|over|near|ahead)\b"
    r"|"
    r"\band\s+so\s+(?:on|forth)\b|\betc\b|\bdiagonal\w*|\bopposite\s+(?!of\b|directions?\b|sides?\b|colou?rs?\b|ends?\b)|\bhalfway\b"
    r"|\b(?:NOUNs?|how\s+many)\s+(?:steps?\s+|NOUNs\s+)?(?:far\s+)?(?:away|apart)\b|\bNOUNs?\s+away\b"
    r"|\bclockwise\s+(?:from|of)\b"
)
"""Words that place images which are named somewhere in the sentence."""


def unproven(text: str, names: Sequence[Span], nouns: tuple[str, ...], slots: int) -> str | None:
    """Words by which a text places an image it names in a row, as far as not proven harmless."""
    if share := compiled(r"\bNOUN\s*#?\d{1,2}\s*/\s*\d", nouns).search(text):
        return share[0]  # "image 1/2" may be the first of two
    for sentence in sentences(_with_names(text, names, nouns)):
        if _NAME not in sentence:
            continue
        if placed := compiled(_PLACED, nouns).search(sentence):
            return _shown(placed[0])
        if slots > 2 and (lasting := _LASTING.search(sentence)):
            return lasting[0]
        places = [match.start() for match in re.finditer(_NAME, sentence)]
        if any(_relates(sentence[a + 1 : b]) for a, b in pairwise(places)):
            return _shown(sentence)
        if slots > 2 and any(_is_range(sentence[a:b], sentence[:a]) for a, b in pairwise(places)):
            return _shown(sentence)
        for place in places:
            before, after = sentence[:place], sentence[place + 1 :]
            if not (_leads(before) and (_INSIDE.search(before) or _goes_on(after, nouns))):
                return _shown(sentence[max(0, place - 40) : place + 40])
    return None


_LASTING = re.compile(r"(?i)\bstill\b(?!\s+(?:life|lifes|water)\b)|\bagain\b|\balready\b|\byet\b")
_INSIDE = re.compile(r"(?i)\b(?:in|on|of|than)\s+$")


def _with_names(text: str, names: Sequence[Span], nouns: tuple[str, ...]) -> str:
    """The text with one mark for each name, or list of names, of an image."""
    shifted = [name for name in names if getattr(name, "shift", 0)]
    named = mask(mask(text, names, _NAME), shifted, _SHIFTED)
    named = compiled(rf"(?:(?:the|only|just|both|these)\s+)*(?:{_FORMS})", nouns).sub(_NAME, named)
    return re.sub(rf"{_NAME}(?:(?:{_LIST}|\s+){_NAME})+", _NAME, named, flags=re.IGNORECASE)


_JOINS = re.compile(
    r"(?i)[,;:.<>=]|\b(?:than|as|and|or|nor|but|while|whereas|if|when|where|that|which|what|who|is|are|not|same|similar\w*"
    r"|equals?|identical|match\w*|fits?|resembl\w*|differ\w*|compar\w*|congruent|isomorphic|copy|version|part|crop\w*|edit\w*"
    r"|zoom\w*|rotat\w*|mirror\w*|obtain\w*|turn\w*|chang\w*|becomes?|missing|contrast\w*|exceeds?|outnumbers?|from|for"
    r"|longer|relat\w*|continu\w*|end|follow\w*|preced\w*|before|after|does|do|shows?|like|unlike|versus|vs|with|twice|half"
    r"|transform\w*|correspond\w*|between|to|into|overlap\w*|instead|describes?)\b"
)
_REACHES = re.compile(
    r"(?i)\b(?:to\s+the\s+|on\s+the\s+|further\s+)?(?:left|right)\s+of\b|\b(?:above|below|behind|beside|next\s+to|in\s+front\s+of)\b"
    r"|\b(?:hands?|gives?|throws?|passes|reach\w*|thrown|kicks?|leads?|enters?|walks?|runs?|jumps?|moves?|flows?|extends?)\b"
    r"[^,;]*\b(?:to|into|at|towards?)\b"
)


def _relates(between: str) -> bool:
    """Whether words between two names reach from one picture to the other across the row."""
    apart = re.search(r"(?i)[,;:.]|\b(?:and|but|while|whereas|or|than)\b", between)
    return not _JOINS.search(between) or (not apart and _REACHES.search(between) is not None)


def _is_range(between: str, before: str) -> bool:
    """Whether two names are the ends of "from image 1 to image 4"."""
    return bool(
        re.fullmatch(rf"{_NAME}\s+(?:to|until|through)\s+", between)
        and re.search(r"(?i)\bfrom\s+$", before)
    )


def _leads(before: str) -> bool:
    """Whether what stands before a name is of the closed list."""
    found = re.search(rf"({_WORD}|\W)\s*$", before)
    if found is None or not found[1][0].isalnum():
        return True
    if found[1] == _NAME:
        return False
    word, rest = found[1].lower(), before[: found.start()]
    if word in _RELATIONS:
        return bool(
            re.search(_RELATIONS[word] + ("" if word != "from" else "$"), rest, re.IGNORECASE)
        )
    return word in _BEFORE or word in STATIC or len(word) == 1


def _goes_on(after: str, nouns: tuple[str, ...]) -> bool:
    """Whether what stands after a name is of the closed list."""
    found = re.match(rf"\s*({_WORD})", after)
    if found is None:
        return True
    word = found[1].lower()
    if re.match(r"\s*['\u2019]s\b", after):
        return True
    return word in _AFTER or word in nouns or word.endswith("er") or word.isdigit()


def _shown(words: str) -> str:
    return " ".join(words.replace(_NAME, "...").split())


_CHOSEN = r"\W*which\s+(?:one\s+)?of\s+the\s+(?:\w+\s+){1,2}NOUNs\b"
_PARTICLE = re.compile(
    r"(?i)^\W*(?:does|do|did|will|has|have|had)\b[^.?!]{0,80}\b(?:stand|sit|get|lie|pick|put|take|go|turn|open|close"
    r"|walk|run|move|come|look|fall|grow|become|leave|lose|gain|change)\b(?:\s+(?:up|down|off|away|out|on|in|back))?\W*$"
)


def tells_a_change(text: str, names: Sequence[Span], nouns: tuple[str, ...]) -> str | None:
    """A sentence beside one that names images which tells a change, or compares with one of them."""
    for sentence in sentences(_with_names(text, names, nouns)):
        if _NAME in sentence or not unordered.depends(sentence, nouns):
            continue
        if compiled(_CHOSEN, nouns).match(sentence):
            continue
        if _PARTICLE.search(sentence) or unordered.leaves_out(sentence):
            return sentence
    return None
