"""A word that could bear on the order of the images, with all that decides what it stands for."""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from perl_jax.permutation.reading.scan import Reader, Scan
from perl_jax.permutation.reading.things import are_things, is_thing
from perl_jax.permutation.reading.tokens import Token

PARTS_OF_AN_ALBUM = r"(?:frame|book|album|window|wall|card|gallery|hanging)s?"
"""What "picture" may stand before without being a picture."""

IMPERATIVE = (
    r"(?:please\s+)?(?:think|reason|describe|look|read|identify|analy[sz]e|consider|find|examine|count"
    r"|observe|check|determine|solve|compare|answer|give|provide|write|choose|select|state|explain|put"
    r"|output|respond|decide|pick|tell|report|list|summari[sz]e|conclude|study|inspect|review"
    r"|calculate|compute|evaluate|return)\b"
)
"""What a reader is told to do."""

Role = Literal["question", "option", "answer"]

# Words that end a noun phrase, or that stand before it: what follows "the second" is no noun.
_NO_NOUN_WORDS = """
a an the this that these those my your his her its our their some any every each all both no
not and or but nor than as if while whereas when where which who whose what how why because so
is are was were be been being am has have had do does did can could will would shall should may
might must in on at of to from by for with without into onto over under between among against
about above below across along around behind beside near off out through toward towards up down
i you he she it we they me him them us one ones there here then only also just too very more
most less least same other another such respectively versus vs
show shows showing shown contain contains containing depict depicts depicting display displays
feature features have look looks appear appears seem seems include includes portray portrays
present presents represent represents illustrate illustrates
"""
_NO_NOUN = frozenset(_NO_NOUN_WORDS.split())
_WORD = re.compile(r"[ \t]*\n?[ \t]+(?P<word>[^\W\d_]+(?:[-'\u2019][^\W\d_]+)*)", re.UNICODE)
# Things whose words are verbs as well: "does the second point left" has no noun "second point".
_ALSO_VERBS_WORDS = """
bar bear block bowl box brush circle color colour comb cross crown curve dot drill drop duck fan
film hammer head hook label leaf line lock mask nail number park plant point race rake ring ripple
rock row saw score shop shovel shower sign sink spark spot stain stamp star stick stripe suit
switch tie tip title track trail view watch wave
"""
_ALSO_VERBS = frozenset(_ALSO_VERBS_WORDS.split())
_ASKING = re.compile(r"(?i)\b(?:do|does|did|can|could|will|would|should|may|might|must)\s+the\s+$")


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


@dataclass(frozen=True)
class Facts:
    """What is known of an example once its references have been read.

    Attributes:
        question: The question, which says what kind of answer it wants.
        refers: Whether any text names an image by a number, an ordinal, a side or a letter; then a
            word without a noun may name another one.
        numbered: Whether a number may follow as in "image 1 is a cat, 2 a dog".
        spelled: Whether number words such as "one" name images.
        sided: Whether left and right name images.
        bound: Whether the text says which image shows the beginning and which one the end.
        lettered: The letters of the options.
        shown: Whether the images that move are shown as lettered options, so that they have letters
            for names and no numbers.
    """

    reader: Reader
    question: str
    refers: bool = False
    numbered: bool = False
    spelled: bool = False
    sided: bool = False
    bound: bool = False
    lettered: frozenset[str] = frozenset()
    shown: bool = False


@dataclass(frozen=True)
class Use:
    """A word where it stands."""

    token: Token
    scan: Scan
    facts: Facts
    role: Role
    whole: str  # the text of the option or the answer that it is a part of; else ""

    @property
    def word(self) -> str:
        """The word in lower case."""
        return self.token.word

    @cached_property
    def before(self) -> str:
        """The words before it."""
        return self.scan.before(self.token.start)

    @cached_property
    def after(self) -> str:
        """The words after it."""
        return self.scan.after(self.token.end)

    def follows(self, pattern: str) -> bool:
        """Whether the words before end with a pattern."""
        return _compiled(rf"(?:{pattern})$").search(self.before) is not None

    def precedes(self, pattern: str) -> bool:
        """Whether the words after begin with a pattern."""
        return _compiled(pattern).match(self.after) is not None

    def thing(self, *, plural: bool = False, between: int = 2) -> str | None:
        """The word for a thing that the word stands before: "car" for "the second red car".

        Args:
            plural: Whether a plural counts.
            between: How many words may stand between.
        """
        end = 0
        for _ in range(between + 1):
            match = _WORD.match(self.after, end)
            if match is None or match["word"].lower() in _NO_NOUN:
                return None
            word, end = match["word"].lower(), match.end()
            if self._is_noun(word, plural) and not self._goes_on(end, plural):
                return word
            if word.endswith("s") and not word.endswith(("ous", "ss")):
                return None  # a verb, as in "the second shows dogs", or another plural
        return None

    def _is_noun(self, word: str, plural: bool) -> bool:
        if word in self.facts.reader.nouns:
            return False
        return (plural and are_things(word)) or (is_thing(word) and not self._is_asked(word))

    def _is_asked(self, word: str) -> bool:
        """Whether the word may be the verb of "does the second point left?"."""
        return word in _ALSO_VERBS and _ASKING.search(self.before) is not None

    def is_subject_of(self, word: str) -> bool:
        """Whether the word may be the subject of a verb: "2 points left" counts no points."""
        singular = word.removesuffix("s").removesuffix("e"), word.removesuffix("s")
        opens = self.follows(r"(?:^|[.?!;:,\n\0]\s*|\b(?:and|but|while|whereas|that|if)\s+)")
        return opens and not _ALSO_VERBS.isdisjoint(singular)

    def _goes_on(self, end: int, plural: bool) -> bool:
        """Whether another noun follows: a "dog image" is an image, a "car park" another thing."""
        match = _WORD.match(self.after, end)
        if match is None or match["word"].lower() in _NO_NOUN:
            return False
        word = match["word"].lower()
        own = any(word in (noun, noun + "s") for noun in self.facts.reader.nouns)
        return own or word in _PICTURES

    @property
    def clause_before(self) -> str:
        """The words before, back to the end of the sentence before."""
        return re.split(r"[.?!;\n]", self.before)[-1]

    def in_clause(self, pattern: str) -> bool:
        """Whether a pattern occurs in the sentence around the word."""
        clause = self.clause_before + self.word + re.split(r"[.?!;\n]", self.after)[0]
        return _compiled(pattern).search(clause) is not None

    @cached_property
    def own(self) -> str:
        """A pattern for the words that mean one of the images."""
        return "|".join(map(re.escape, self.facts.reader.nouns))


_PICTURES_WORDS = """
image picture photo photograph pic img snapshot snap shot capture scan x-ray xray radiograph
sample panel screenshot slide frame figure fig view sketch drawing painting portrait poster
print still render rendering thumbnail visual graphic exhibit page plot chart graph diagram map
illustration artwork scene video clip plan blueprint floorplan layout document file selfie collage
cartoon comic meme gif icon tile version
copy example instance specimen input output option choice candidate one
images pictures photos photographs pics imgs snapshots shots scans x-rays samples panels
screenshots slides frames figures views sketches drawings paintings portraits posters prints
stills thumbnails pages plots charts graphs diagrams maps illustrations scenes videos clips
"""
_PICTURES = frozenset(_PICTURES_WORDS.split())
