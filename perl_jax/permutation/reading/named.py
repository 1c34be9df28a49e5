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
from perl_jax.permutation.reading.scan import Reader
from perl_jax.permutation.reading.verbs import CHANGE, COMPARATIVES, STATIC
from perl_jax.permutation.reading.words import NUMBER, POSITION, compiled

_NAME, _SHIFTED = "\u01c2", "\u01c1"
"""Letters that no text has, as `sentences` drops other marks where a sentence begins."""

_FORMS = (
    rf"(?:NOUN|one|that)s?\s+(?:shown\s+)?(?:on|to|at|in)\s+(?:the\s+)?(?:far\s+)?{_NAME}+"
    r"(?:[- ]hand)?(?:\s+side)?"
    rf"|\bNOUNs?\s+(?:\w+\s+){{0,3}}?(?:the\s+)?{_SHIFTED}+(?:\s+NOUNs?\b)?"
    r"|(?:\bNOUNs?[\W_]{0,3})?(?:\b(?:of\s+lucky\s+)?(?:no|nr|number)\b\W{0,3})?"
    rf"{_NAME}+(?:[- ]hand)?(?:\s+(?:{NUMBER}|few|couple)(?=\s+NOUN|\s*$))?"
    r"(?:[\s-]+(?:(?:side|input|given|shown|provided|candidate)\s+)?NOUNs?\b)?"
)
_LIST = (
    r"(?:\s*(?:,|;|/|&|\+|\bvs\.?|\bversus\b|[<>=\u2192\u2013-]+|\band\b|\bor\b|\bnor\b)\s*)+"
    r"(?:(?:in|of|only|from|not|the)\s+)*"
)
_WORD = r"[^\W_]+(?:['\u2019-][^\W_]+)*"

_BEFORE_WORDS = """
about again against also an and answer are as assume assuming attached because both but can
caption choose common compare comparing consider considering contain contains contrast correct
could depict depicted depicting depicts describe described describes describing did do does either
entire equal equals examine except exclude excluding favor favour final find given had has have
ignore ignoring in include including into is it like likely look match matches matching mirrors
neither nor not of on only option or overlap overlaps pick prefer preferred prefers rate read
reference resemble resembles resembling see select shoot should show showing shown shows sort suits
than that the they think twice unlike use using versus view vs was were what where whereas whether
which while who whole will with within without would
"""
_BEFORE = frozenset(_BEFORE_WORDS.split())
"""Words that may stand before a name. What they say holds of the picture, wherever it is shown."""

_AFTER_WORDS = """
a actually alone also always an and answer any appear appears are as at be because belong belongs
best better black blue blurred blurry both bright brighter but can capture captures clear clearly
closed compared contain contained containing contains correct correctly correspond corresponds
could cropped dark depict depicted depicting depicts describe described describes did differ
different differently differs display displayed displays do does doesn't don't each edited eight
either empty equal equals exceed exceeds fake false feature features fewer fit fits five flipped
for four from green had has have having hold holds identical if illustrate illustrates in include
includes indoors instead is isn't it its lack lacks less light like likely look looked looking
looks make makes match matches matching mean means mirror mirrored mirrors more most neither newer
nine no noisy none not of older on one only open or outdoors overlap overlaps picture portray
portrays present presents prove reading real really red refer refers relative represent
represented represents resemble resembles resized rotated same satisfies say says scaled see seem
seems seven sharp show showed showing shown shows similar six slightly so suggest suggests suit
suits support supports taken ten than that the their them there these this those three to too true
turned twice use used uses versus very vs was were what where whereas which while white whose will
with without worth would zoomed
"""
_AFTER = (frozenset(_AFTER_WORDS.split()) | STATIC | COMPARATIVES) - {
    "by", "come", "lie", "lies", "sit", "sits", "stand", "stands", "rest", "hang", "hangs",
    "still", "surround", "surrounds", "follow", "follows", "touch", "touches", "face", "faces",
    "together", "row",
}  # fmt: skip
"""Words that may stand after a name: verbs of what one picture shows, and words of comparing."""

# Before "to", "from", "between" and "by" a name needs a word that says what the relation is.
_RELATIONS = {
    "to": r"\b(?:similar|similarity|compar\w+|identical|equal|equals|relative|relation"
    r"|correspond\w*|refer\w*|belong\w*|match\w*|from|closer|superior|inferior|prefer\w*|according|due|turn\w*"
    r"|attribut\w*|respect|same|congruent|isomorphic|related|parallel|analogous|opposed|chang\w+"
    r"|contrast|done|made|happen\w*|look|attention|added|answer|is|unlike|resemblance|common"
    r"|proportional|perpendicular|applied|led|likely|like|return|back|visible|now|get|gets|got)\b",
    "from": r"(?<!far )(?<!away )(?<!farthest )(?<!furthest )(?<!farther )(?<!further )"
    r"(?<!distant )$",
    "between": r"\b(?:differ\w*|similar\w*|common|compar\w+|chang\w+|relation\w*|same"
    r"|distinguish\w*|discrepan\w*|match\w*|contrast|distinction|connection|correspond\w*|choose"
    r"|overlap|ratio|shared?|motion|mov\w+|rotat\w+|camera|transformation|removed|added"
    r"|missing|vary|varies|variation|appeared|disappeared)\b",
    "by": r"\b(?:shown|depicted|represented|displayed|illustrated|described|explained|suggested"
    r"|supported|given|implied|provided|portrayed|exceeded|outnumbered|divided|multiplied)\s+$",
    "at": r"\blook(?:s|ed|ing)?\s+(?:\w+\s+)?$",
    "before": r"\b(?:taken|captured|shot|photographed|made|created|drawn|painted|recorded|place"
    r"|happen(?:s|ed)?|occur(?:s|red)?|earlier|later)\s+"
    r"(?:(?:just|shortly|immediately|right|long)\s+)?$",
    "if": r"",
    "for": r"",
}
_RELATIONS["after"] = _RELATIONS["before"] + r"|\bhappens\b"

_PLACED = (
    r"\b(?:sandwich|enclos|flank|surround)\w*|\b(?:inwards?|outwards?)\b|\b[nki]-?th\b"
    r"|\bhow\s+often\b|\b(?:in|over)\s+the\s+course\b|\bthroughout\b|\band\s+so\s+(?:on|forth)\b"
    r"|\betc\b|\bsame\s+(?:row|column|page|line)\b|\bone\s+(?:to|on)\s+the\s+(?:left|right)\b"
    r"|\bshares?\s+(?:an?|its|one)\s+(?:edge|border|side|corner)\b|\bdiagonal\w*|\bhalfway\b"
    rf"|{_NAME},?\s+(?:is|are|was|were|belongs?|goes|should\s+be)\s+(?:not\s+)?"
    r"(?:(?:shown|placed|displayed|located|positioned|arranged)\s+)?"
    r"(?:in(?!\s+(?:colou?r|black|focus|gr[ae]y|sepia|portrait|landscape)\b)|at|on"
    r"|out(?!\s+of\s+focus)|off|up|down|away|by|between|behind|under|over|near|ahead)\b"
    r"|\bNOUNs\b[^.?!]{0,30}\b(?:sorted|ordered|arranged|ranked)\b|\bfor\s+the\s+\w+\s+time\b"
    r"|\bNOUNs?\s+(?:\w+\s+)?in\s+the\s+\w+\s+(?:row|column)\b"
    rf"|{_NAME}[^.?!]*\bthe\s+following\s+NOUNs|\b(?:number|index|position)\s+of\s+{_NAME}"
    rf"|\b(?:shows?|contains?|depicts?|has|have)\s+(?:the|its)\s+(?!last|final){POSITION}\s+(?!NOUN)\w"
    rf"|\b{POSITION}\s+(?!input\b|given\b|NOUN)[a-z]+\s+NOUN\b"
    r"|\bopposite\s+(?!of\b|directions?\b|sides?\b|colou?rs?\b|ends?\b)|\bclockwise\s+(?:from|of)\b"
    r"|\b(?:NOUNs?|how\s+many)\s+(?:steps?\s+|NOUNs\s+)?(?:far\s+)?(?:away|apart)\b"
)
"""Words that place images which are named somewhere in the sentence."""


def unproven(text: str, names: Sequence[Span], reader: Reader, *, alone: bool) -> str | None:
    """Words by which a text places an image it names in a row, as far as not proven harmless.

    With ``alone`` the sentences that name no image are judged too.
    """
    nouns, several = reader.nouns, reader.num_slots > 2
    if share := compiled(r"\bNOUN\s*#?\d{1,2}\s*/\s*\d", nouns).search(text):
        return share[0]  # "image 1/2" may be the first of two
    ranged = several and any(_RANGE.search(text[name.start : name.end]) for name in names)
    if ranged and (change := unordered.tells_a_change(text)):
        return change  # "in images 1 to 3 the ball moves"
    for sentence in sentences(_with_names(text, names, nouns)):
        if _NAME in sentence:
            words = _placing(sentence, nouns, several)
        else:
            words = _told_alone(sentence, nouns) if alone else None
        if words:
            return " ".join(words.replace(_NAME, "...").split())
    return None


def _placing(sentence: str, nouns: tuple[str, ...], several: bool) -> str | None:
    """The words by which a sentence places the images that it names."""
    if placed := compiled(_PLACED, nouns).search(sentence):
        return placed[0]
    places = [match.start() for match in re.finditer(_NAME, sentence)]
    if several and (lasting := _LASTING.search(sentence)):
        return lasting[0]
    changes = _CHANGES.intersection(re.findall(r"[a-z]+", sentence.lower()))
    if several and len(places) == 1 and changes:
        return sentence
    for a, b in pairwise(places):
        between = sentence[a + 1 : b]
        if _relates(between) or (several and _is_range(between, sentence[:a])):
            return sentence
    for place in places:
        before, after = sentence[:place], sentence[place + 1 :]
        if not (_leads(before) and (_INSIDE.search(before) or _goes_on(after, nouns))):
            return sentence[max(0, place - 40) : place + 40]
    return None


_RANGE = re.compile(r"(?i)\d\D+\d|(?<!-)\b(?:to|through)\b")
_CHANGES = CHANGE - {"sequence"}
_LASTING = re.compile(r"(?i)\bstill\b(?!\s+(?:life|lifes|water)\b)|\bagain\b|\balready\b|\byet\b")
_INSIDE = re.compile(r"(?i)\b(?:in|on|of|than)\s+$")


def _with_names(text: str, names: Sequence[Span], nouns: tuple[str, ...]) -> str:
    """The text with one mark for each name, or list of names, of an image."""
    shifted = [name for name in names if getattr(name, "shift", 0)]
    named = mask(mask(text, names, _NAME), shifted, _SHIFTED)
    named = compiled(rf"(?:(?:the|only|just|both|these)\s+)*(?:{_FORMS})", nouns).sub(_NAME, named)
    return re.sub(rf"{_NAME}(?:(?:{_LIST}|\s+){_NAME})+", _NAME, named, flags=re.IGNORECASE)


_JOINS = re.compile(
    r"(?i)[,;:.<>=]|\b(?:than|as|and|or|nor|but|while|whereas|if|when|where|that|which|what|who|is|are"
    r"|not|same|similar\w*|equals?|identical|match\w*|fits?|resembl\w*|differ\w*|compar\w*|congruent"
    r"|isomorphic|copy|version|part|crop\w*|edit\w*|zoom\w*|rotat\w*|mirror\w*|obtain\w*|turn\w*"
    r"|chang\w*|becomes?|missing|contrast\w*|exceeds?|outnumbers?|from|longer|relat\w*|continu\w*|end"
    r"|follow\w*|preced\w*|before|after|does|do|shows?|like|unlike|versus|vs|twice|half|transform\w*"
    r"|correspond\w*|between|overlap\w*|instead|describes?|get|gets|add|adds)\b|^\s*(?:to|into|with|for)\b"
)
"""Words between two names by which a sentence compares pictures, or turns to the next."""
_REACHES = re.compile(
    r"(?i)\b(?:left|right)\s+of\b|\b(?:above|below|behind|beside|next\s+to|in\s+front\s+of)\b"
    r"|\b(?:hands?|gives?|throws?|passes|reach\w*|thrown|kicks?|leads?|enters?|walks?|runs?|jumps?"
    r"|moves?|flows?|extends?)\b[^,;]*\b(?:to|into|at|towards?)\b"
)


def _relates(between: str) -> bool:
    """Whether words between two names reach from one picture to the other across the row."""
    apart = re.search(r"(?i)[,;:.]|\b(?:and|but|while|whereas|or|than)\b", between)
    return not _JOINS.search(between) or (not apart and _REACHES.search(between) is not None)


def _is_range(between: str, before: str) -> bool:
    """Whether two names are the ends of "from image 1 to image 4"."""
    return bool(
        re.fullmatch(r"\s+(?:to|until|through)\s+", between)
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
        return bool(re.search(_RELATIONS[word], rest, re.IGNORECASE))
    if word == "of" and re.search(r"(?i)\bout\s*$", rest):
        return False
    return word in _BEFORE or len(word) == 1


def _goes_on(after: str, nouns: tuple[str, ...]) -> bool:
    """Whether what stands after a name is of the closed list."""
    found = re.match(rf"\s*({_WORD})", after)
    if found is None:
        return True
    word = found[1].lower()
    if re.match(r"\s*['\u2019]s\b", after):
        return True
    return word in _AFTER or word in nouns or word.endswith("er") or word.isdigit()


_CHOSEN = r"\W*which\s+(?:one\s+)?of\s+the\s+(?:\w+\s+){1,2}NOUNs\b"
_PARTICLE = re.compile(
    r"(?i)^\W*(?:does|do|did|will|has|have|had)\b[^.?!]{0,80}\b(?:stand|sit|get|lie|pick|put|take|go|turn|open|close"
    r"|walk|run|move|come|look|fall|grow|become|leave|lose|gain|change)\b(?:\s+(?:up|down|off|away|out|on|in|back))?\W*$"
)


def _told_alone(sentence: str, nouns: tuple[str, ...]) -> str | None:
    """A sentence that names no image, beside one that does, if it tells a change or compares."""
    if not unordered.depends(sentence, nouns) or compiled(_CHOSEN, nouns).match(sentence):
        return None
    told = _PARTICLE.search(sentence) or unordered.leaves_out(sentence)
    return sentence if told else None
