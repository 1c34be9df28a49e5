"""Rules: which images of a source's examples may move, and what follows for text and answer."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import MinLen, Predicate

from perl_jax.legible import brief, field_name
from perl_jax.permutation.reading.words import NOUNS
from perl_jax.settings import Checked, Expects, read_config

Movable = Literal["all", "all_but_first", "option_images", "none"]
_Slots = Annotated[tuple[int, ...], Expects("a list of slots")]
_Letter = Annotated[
    str,
    Predicate(lambda text: len(text) == 1 and "A" <= text <= "Z"),
    Expects("a letter from A to Z"),
]


@dataclass(frozen=True)
class Rule(Checked):
    """The permutation rule of one source.

    Attributes:
        movable: Which slots may move: ``all``; ``all_but_first``; ``option_images``, those that the
            lettered options show or name; ``none``; or a tuple of slots, counted from the end where
            negative.
        answer: What follows for the answer. ``invariant``: it states the same fact in any order;
            its words are rewritten as the text's are, a letter stays. ``reference``: as invariant,
            but where the question asks for an image, a bare number, ordinal or side ("2",
            "second", "left") as an option or answer names one. ``remap_letter``: the options stay
            and the letter follows its image. ``relabel_order``: orders such as ``2→1→3`` or
            ``[1, 0, 2]``, in the question, the options and the answer, are re-expressed; a letter
            stays.
        text: ``rewrite``: references such as "the second image" are rewritten to name the same
            picture, and every other word that could bear on the order is proven harmless; an
            example whose text does not allow that with certainty is not permuted.
            ``keep``: the text is neither touched nor checked.
        index_base: The number of the first image in texts and orders: 1 or 0.
        nouns: The words that mean one of the images, in the singular.
        sides: ``strict`` where the images are shown side by side and texts leave out the noun
            (NLVR2): then "the dog on the right" is not permuted, as it may be in the right image.
        fixed_letters: Letters of options that stand for no image, such as a none-of-the-above
            that the example does not list.
        change_column: The metadata column that tells whether the answer depends on the order, or
            None to ignore it. Where it is false, a letter does not follow; where it is true, an
            invariant answer needs a reference in the text to explain that.
        why: For ``movable="none"``: the reason code that is counted.
    """

    movable: Movable | _Slots = "all"
    answer: Literal["invariant", "reference", "remap_letter", "relabel_order"] = "invariant"
    text: Literal["rewrite", "keep"] = "rewrite"
    index_base: Annotated[Literal[0, 1], Expects("0 or 1")] = 1
    nouns: Annotated[tuple[str, ...], MinLen(1)] = NOUNS
    sides: Literal["images", "strict"] = "images"
    fixed_letters: tuple[_Letter, ...] = ()
    change_column: str | None = "change_needed"
    why: str = "never_permute"

    def _check_together(self) -> None:
        if self.answer == "reference" and self.text == "keep":
            raise ValueError("text: expected 'rewrite' with answer='reference'; got 'keep'")


@dataclass(frozen=True)
class RuleByColumn(Checked):
    """The rules of a source whose rows differ: one rule for each value of a metadata column.

    Attributes:
        column: The metadata column, such as ``question_type``.
        cases: The rule of each value. Letter case, spaces, hyphens and underscores do not count.
        otherwise: The rule of any other value, or None where that is an unknown source.
    """

    column: str
    cases: Mapping[str, Rule] = field(default_factory=dict)
    otherwise: Rule | None = None

    def select(self, metadata: Mapping[str, Any]) -> Rule | None:
        """The rule of a row, or None where its value has none."""
        wanted = _folded(metadata.get(self.column, ""))
        fitting = (rule for value, rule in self.cases.items() if _folded(value) == wanted)
        return next(fitting, self.otherwise)


Rules = Mapping[str, Rule | RuleByColumn]


def rules_from_config(config: Mapping[str, Any], path: str = "rules") -> Rules:
    """Reads rules from plain mappings of their attributes, by source.

    A source has a rule, or ``{column, cases: {value: rule}, otherwise: rule}``.

    Raises:
        ValueError: At an unknown key or a bad value; it names the path of the field.
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"{path}: expected a mapping of sources to rules; got {brief(config)}")
    rules: dict[str, Rule | RuleByColumn] = {}
    for source, rule in config.items():
        if isinstance(rule, Rule | RuleByColumn):
            rules[source] = rule
        else:
            by_column = isinstance(rule, Mapping) and "column" in rule
            kind: type[Rule | RuleByColumn] = RuleByColumn if by_column else Rule
            rules[source] = read_config(kind, rule, f"{path}.{field_name(source)}")
    return rules


def _folded(value: object) -> str:
    return re.sub("[ _-]", "", str(value).lower())
