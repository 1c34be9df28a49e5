"""Proves of a text that names no image that it says the same of the images in any order.

Such a text still depends on the order where it compares ("is the dog bigger?"), tells a change
("did the ice melt?"), points ("is it darker?") or goes through the images ("what word do they
spell?"). No list of such words is complete, so it is turned round: a sentence has to have one of
the forms below, none of which needs an order.
"""

import re

from perl_jax.permutation.reading.questions import asking, sentences
from perl_jax.permutation.reading.things import is_thing
from perl_jax.permutation.reading.verbs import (
    CHANGE,
    COMPARATIVES,
    INDEFINITES,
    NO_COMPARATIVES,
    PARTICIPLES,
    PASTS,
    STATIC,
)
from perl_jax.permutation.reading.words import NUMBER, compiled

# It is said of each of the images, of any, or of one and the other.
_OF_EACH = re.compile(
    r"(?i)\b(?:both|each|every|neither|either|any|none|all|at\s+least\s+(?:one|two|\d)|at\s+most\s+(?:one|two|\d)"
    r"|exactly\s+(?:one|two|\d)|only\s+one|one|an?|no|single|another|how\s+many\s+of)\s+(?:one\s+)?(?:of\s+)?"
    rf"(?:(?:the|these|those|{NUMBER}|all|given|shown)\s+)*(?:image|picture|photo|photograph|pic|img|scan|view"
    r"|frame|panel|screenshot|figure|graph|chart|map|drawing|painting)s?\b"
    r"|\bone\b.{0,200}\b(?:other|another)\b|\bin\s+(?:both|either|neither|all|each)\b"
)
_TOGETHER = re.compile(
    r"(?i)\b(?:in\s+(?:total|all|common|both|either)|altogether|combined|together|in\s+sum|total\s+(?:number|of|count)"
    r"|common|share|shared|same|identical|alike|similar|similarity|similarities|different|differ|differs|match"
    r"|matches|each\s+other|one\s+another|both|neither|either|overall|isomorphic|congruent)\b"
)
_WHOLE = r"\b(?:NOUNs|pair|set)\b"
_DIFFERENCE = re.compile(
    r"(?i)\b(?:compare|comparison|contrast|chang\w*|same|identical|alike|match|matches)\b"
    r"|\b(?:differ|differs|different|difference|differences|differently|distinguish\w*|distinct)\b"
)
_POINTING = re.compile(
    r"(?i)^(?:\W*(?:and|but|so|also)\s+)?(?:(?:is|are|was|were|does|do|did|has|have|can|will|in|on)\s+)?"
    r"(?:it|this|that|he|she|her|his|its|him)\b(?!\s+(?:true|correct|right|statement|sentence|claim|day|night|possible"
    r"|safe|the\s+case)\b)"
)
_WORD = re.compile(r"[^\W\d_]+(?:[-'\u2019][^\W\d_]+)*")
_STATEMENT = re.compile(
    r"(?i)^.{0,200}?\b(?:statement|sentence|claim|caption|description|hypothesis)s?\b[^:]{0,60}:\s*"
    r"|^\W*(?:true\s+or\s+false|statement|claim|yes\s+or\s+no)\s*[:?,]\s*"
)
_TOLD = re.compile(
    r"(?i)\W*(?:please|now|first|second|then|finally|next|you|the\s+(?:final\s+)?(?:answer|reasoning)|your|think|reason"
    r"|look|consider|examine|study|inspect|observe|read|view|answer|respond|reply|choose|select|pick|output|return"
    r"|provide|put|give|respond|assume|use|note|hint|options?|choices?|questions?|here|given|below|above|these|those"
    r"|explain|write|do\s+not|don't|conclude|end|keep|be|refer|based|images?|pictures?|photos?)\b"
)
_INSTRUCTS = re.compile(
    r"(?i)\W*(?:please\s+|then\s+)?(?:you\s+(?:first|must|should|need|can|will|may)|the\s+(?:final\s+)?(?:answer|reasoning)"
    r"|your|think|reason|answer|respond|reply|output|return|provide|put|give|do\s+not|don't|explain|choose|select"
    r"|write|end|conclude)\b(?!.*\b(?:how|what|which|who|where|why|when|number\s+of|count\s+of|if)\b)"
)
_LEAD = re.compile(
    r"(?i)^\W*(?:if|given|for|assuming|suppose|based\s+on|looking\s+at)\b[^,]{0,80},\s*"
)
_LOWER = re.compile(
    r"(?i)[- ](?:left|right|part|half|corner|edge|body|leg|lip|jaw|deck|floor|level|case|middle)\b"
)
_AS_MANY = re.compile(
    r"(?i)\b(?:twice|double|half|triple|times|equally|just|as)\s+(?:as\s+)?(?:many|much|big|large|high|tall|long|old)\b"
    r"(?!.{0,200}\bas\b)"
)
_FACING = re.compile(
    r"(?i)\b(?:fac|look|point|turn|walk|run|mov|swim|lean|star|gaz|back|head|fl[yi])\w*\b[^.?!]{0,30}\b(?:each\s+other"
    r"|one\s+another|the\s+others?|cent(?:er|re)|middle|inwards?|outwards?|edges?)\b"
)
_AIMED = re.compile(r"(?i)\bfrom\b.{1,40}\bto\b|\babout\s+to\b|\bgoing\s+to\b|\bready\s+to\b")
_FIGURES = re.compile(r"(?i)\W*(?:\(?[A-Z][).:]|[\d\W]+|none|all|both|yes|no|true|false)?\W*")
_COMMON = re.compile(r"(?i)\b(?:common|share|shares|shared|same)\b")
_ITEMS = re.compile(r"(?i)\s*(?:[,;/&|\n]|\band\b|\bthen\b|\bvs\.?)(?:\s*\band\b)?\s*")
_RELATION = re.compile(
    r"(?i)\b(?:relations?|relationships?|related|ratio|quotient|proportion|percent|percentage|subtract\w*|divid\w*"
    r"|analogy|role|roles)\b"
)
# The point within a number ends none: "0.50" is one, but "1,234" may be two without a space.
_DECIMAL = re.compile(r"(?<![\w.,])\d*\.\d+(?![\w.,]*\d)")
_SEVERAL = re.compile(rf"(?i)\b{NUMBER}\b.{{0,200}}\W{NUMBER}\b")
_SYMMETRIC = (
    r"\bone\b.{0,200}\b(?:other|another)\b|\bboth\b|\bneither\b|\bsame\b|\beach\b|\bidentical\b|\bnothing\b"
    r"|\b(?:they|these|those|the\s+(?:two\s+)?NOUNs)\s+(?:are|do|have|show|look|match|differ)\b"
    r"|^\W*(?:yes|no|true|false|none|similar|different|identical|the\s+same|alike|not\s+(?:the\s+)?\w+)\W*"
    r"(?:they\s+\w+(?:\s+\w+)?)?\W*$"
)
_ASPECT = re.compile(
    r"(?i)\W*(?:the\s+|their\s+|its\s+)?(?:colou?rs?|number|numbers|sizes?|shapes?|positions?|backgrounds?|style|lighting"
    r"|angles?|viewpoints?|brightness|weather|time|season|breed|species|expressions?|poses?|orientations?|type"
    r"|types|materials?|texture|quantity|amounts?|contrast|sharpness|resolution)"
    r"(?:\s+of\s+(?:(?:the|their|its)\s+)?(?:[a-z]+\s+)?[a-z]+)?\W*"
    r"|\W*\(?[A-F]\)?\W*"
)
_COUNTED = (
    r"^\W*how\s+many\s+(?:different\s+)?(?:[\w-]+\s+){1,5}?(?:(?:are|is)\s+(?:there|shown|visible|present|seen|depicted"
    r"|displayed|pictured|in|on|of)\b|(?:do|can)\s+you\s+(?:see|count)\b|(?:show|contain|have|depict|include|feature"
    r"|appear|wear)\b|do\s+the\b)|^\W*how\s+many(?:\s+[\w-]+){0,3}\W*$|^\W*how\s+many\s+of\s|^\W*in\s+how\s+many\s"
)
_ASKS_WHICH = (
    r"\W*(?:(?:in|on|from|of|for|to)\s+)?(?:which|what(?=\s+NOUN))\s+(?:(?P<noun>(?:one\s+)?(?:of\s+)?"
    rf"(?:(?:the|these|those|following|given|{NUMBER})\s+)*NOUNs?)\b|(?:one\s+)?(?:is|are|shows?|has|contains?)\b)"
)
# "How many dogs are in the picture?", "does it show", "are on the left": in which image?
_ONE_IMAGE = (
    r"\b(?:the|its)\s+NOUN\b(?!\s+(?:with|that|of|which|without|showing|pair|set))|\b(?:it|he|she)\s+(?:show|have|contain|wear)"
    r"|\b(?:is|are|on\s+the|at\s+the)\s+(?:left|right)\W*$"
)
_CHOICE = re.compile(r"(?i)\W*(?:which|what)\s+(?:one\s+)?of\s+(?:the\s+following|these)\b")
_OTHER = (
    r"\b(?:the\s+other|this|that)\s+(?:NOUN|one)\b"
    r"|(?<!each )\b(?:another|(?<!the )others?|else)\b(?!\s+than\b)"
    r"|\b(?:is|are)\s+back\b(?!\s+(?:of|to)\b)"
)
_PARTNER = re.compile(r"(?i)\b(?:one|each|any|every|either|an?)\b")
_NEAR = 200
"""How many characters around a word decide whether it compares."""
_NO_PARTICIPLES = frozenset(
    ("speed", "breed", "steed", "hundred", "kindred", "indeed", "exceed", "feed", "weed", "reed")
)
_DETERMINER_WORDS = """
a an the two three four five six some any no several many few all both each every its their his
her of with in on and or black white red green blue brown other same most
"""
_DETERMINERS = frozenset(_DETERMINER_WORDS.split())


def depends(text: str, nouns: tuple[str, ...]) -> str | None:
    """The first sentence of a question that is not proven to need no order; else None."""
    asked = asking(text)
    for sentence in sentences(text):
        said = _LEAD.sub("", _STATEMENT.sub("", sentence))
        if _INSTRUCTS.match(said):
            continue
        if sentence in asked and not _STATEMENT.match(sentence):
            ok = _asks_of_a_set(said, nouns)
        else:
            ok = _FIGURES.fullmatch(said) is not None or _says_of_a_set(said, nouns)
        if not ok:
            return sentence
    return None


def leaves_out(sentence: str) -> str | None:
    """A word of a sentence that tells a change, or that compares with something left out."""
    return tells_a_change(sentence) or _compares(sentence)


def answer_depends(answer: str, question: str, nouns: tuple[str, ...]) -> str | None:
    """The answer, where its words are not proven to be the same in any order; else None."""
    counts = re.match(r"(?i)\W*how\s+m", "\n".join(asking(question)))
    if counts and _SEVERAL.search(_DECIMAL.sub("0", answer)):
        return answer
    if _FIGURES.fullmatch(answer) or not _WORD.search(answer):
        return None
    changes = _compares(answer) or tells_a_change(answer)
    differs = _DIFFERENCE.search(" ".join(asking(question))) is not None
    if changes and not compiled(_SYMMETRIC, nouns).search(answer):
        return changes
    if differs and not compiled(_SYMMETRIC, nouns).search(answer) and not _ASPECT.match(answer):
        return answer
    return None


def lists_one_each(answer: str, question: str, count: int) -> bool:
    """Whether an answer lists as many things as there are images, so that they may be in order."""
    items = [item for item in _ITEMS.split(answer.strip(" .")) if item.strip()]
    listed = len(items) == count and all(len(item.split()) <= 4 for item in items)
    return listed and not _COMMON.search(question) and not re.match(r"(?i)\W*one\b", answer)


def _asks_of_a_set(sentence: str, nouns: tuple[str, ...]) -> bool:
    """Whether a question is about all images together, or about a thing that stands still."""
    asked = compiled(_ASKS_WHICH, nouns).match(sentence)
    if asked:
        return not tells_a_change(sentence) or asked["noun"] is not None
    if _compares(sentence):
        return False
    each, together = _OF_EACH.search(sentence), _TOGETHER.search(sentence)
    if not each and (_points(sentence, nouns) or compiled(_ONE_IMAGE, nouns).search(sentence)):
        return False
    if re.match(r"(?i)\W*(?:in\s+)?how\s+many\b", sentence):
        counted = re.search(_COUNTED, sentence, re.IGNORECASE)
        changes = not each and tells_a_change(sentence)
        return not changes and bool(counted or each or together)
    if re.match(r"(?i)\W*(?:is|are|does|do|has|have|can|true|was|were|did)\b", sentence):
        return _says_of_a_set(sentence, nouns)
    if (tells_a_change(sentence) and not each) or _RELATION.search(sentence):
        return False
    whole = compiled(_WHOLE, nouns).search(sentence) and re.match(
        r"(?i)\W*(?:describe|compare|(?:what|which|who)\s+(?:\w+\s+){0,3}?(?:is|are|do|can|colou?r|difference))",
        sentence,
    )
    return bool(each or together or whole or _CHOICE.match(sentence))


def _says_of_a_set(sentence: str, nouns: tuple[str, ...]) -> bool:
    """Whether a statement, or a question for its truth, is the same in any order."""
    if _compares(sentence):
        return False
    if _OF_EACH.search(sentence):
        return True
    if tells_a_change(sentence) or _POINTING.match(sentence) or _FACING.search(sentence):
        return False
    if _AIMED.search(sentence) or _points(sentence, nouns):
        return False
    if re.match(rf"(?i)\W*(?:is|was|has|does|did)?\s*the\s+(?:{'|'.join(nouns)})\b", sentence):
        return False
    words = [word.lower() for word in _WORD.findall(sentence)]
    return bool(
        set(words) <= {"and", "or"}
        or _TOGETHER.search(sentence)
        or words[0] in INDEFINITES
        or not STATIC.isdisjoint(words)
        or _TOLD.match(sentence)
    )


def _points(sentence: str, nouns: tuple[str, ...]) -> bool:
    """Whether a sentence points at an image without saying which: "in the other picture"."""
    pointed = compiled(_OTHER, nouns).search(sentence)
    return pointed is not None and not _PARTNER.search(sentence[: pointed.start()])


def _compares(sentence: str) -> str | None:
    """A comparison that leaves out what it compares with: "is the dog bigger?"."""
    if as_many := _AS_MANY.search(sentence):
        return as_many[0]
    for match in _WORD.finditer(sentence):
        word = match[0].lower()
        if not _is_comparative(word):
            continue
        after = sentence[match.end() : match.end() + _NEAR]
        before = sentence[max(0, match.start() - _NEAR) : match.start()]
        if re.search(r"(?i)^[^.?!;]*\bthan\b", after) or re.search(r"(?i)\bthan\b", before):
            continue
        if word in ("lower", "upper") and _LOWER.match(after):
            continue
        if word in ("more", "less", "fewer", "further", "better") and re.match(
            r"(?i)\s+(?:or\s+(?:less|more|fewer)|about|information|detail|likely\s+to)\b", after
        ):
            continue
        if re.search(r"(?i)\bor\s+$", before) or re.match(r"(?i)\s+one\s+of\b", after):
            continue
        return word
    return None


def _is_comparative(word: str) -> bool:
    if word in COMPARATIVES:
        return True
    if (
        not word.endswith("er")
        or "-" in word
        or len(word) < 5
        or word in NO_COMPARATIVES
        or is_thing(word)
    ):
        return False
    return not word.endswith(("eer", "yer", "wner", "ther", "ever"))


def tells_a_change(sentence: str) -> str | None:
    """A word that tells what happened or happens, which needs to know what was before."""
    words, static = [word.lower() for word in _WORD.findall(sentence)], False
    for place, word in enumerate(words):
        if word in CHANGE or word in PASTS:
            return word
        before = words[max(0, place - 3) : place]
        if word.endswith("ing") and before[-1:] in (["is"], ["are"]) and word not in STATIC:
            return word
        if word in ("was", "were", "had", "did", "been"):
            return word
        perfect = {"has", "have", "having"} & set(before)
        if perfect and word in PARTICIPLES:
            return word
        if word.endswith("ed") and len(word) > 4 and word not in _NO_PARTICIPLES:
            attributive = before[-1:] and before[-1] in _DETERMINERS
            if (perfect and not attributive) or not (static or attributive):
                return word
        static = static or word in STATIC
    return None
