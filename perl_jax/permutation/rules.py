"""What may move in the examples of a source, and what then happens to their text and answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from perl_jax.permutation.fields import check_keys, check_strings
from perl_jax.permutation.reading.scan import NOUNS
from perl_jax.settings import check_choice, suggestion
from perl_jax.types import Example

MOVABLE = ("all", "all_but_first", "option_images", "none")
ANSWERS = ("invariant", "reference", "remap_letter", "relabel_order")
TEXTS = ("rewrite", "keep")
SIDES = ("images", "strict")


@dataclass(frozen=True)
class Rule:
    """The permutation rule of one source.

    Attributes:
        movable: Which slots may move: ``all``; ``all_but_first``; ``option_images``, those that the
            lettered options show or name; ``none``; or a tuple of slots, counted from the end where
            negative.
        answer: What follows for the answer. ``invariant``: it states the same fact in any order;
            its words are rewritten as the text's are, a letter stays. ``reference``: as invariant,
            but a bare number, ordinal or side ("2", "second", "left") as an option or answer names
            an image. ``remap_letter``: the options stay and the letter follows its image.
            ``relabel_order``: orders such as ``2→1→3`` or ``[1, 0, 2]``, in the question, the
            options and the answer, are re-expressed; a letter stays.
        text: ``rewrite``: references such as "the second image" are rewritten to name the same
            picture, and an example whose text does not allow that with certainty is not permuted.
            ``keep``: the text is neither touched nor checked.
        index_base: What the first image is called in numbers and orders: 1, or 0.
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

    movable: str | tuple[int, ...] = "all"
    answer: str = "invariant"
    text: str = "rewrite"
    index_base: int = 1
    nouns: tuple[str, ...] = NOUNS
    sides: str = "images"
    fixed_letters: tuple[str, ...] = ()
    change_column: str | None = "change_needed"
    why: str = "never_permute"

    def __post_init__(self) -> None:
        if isinstance(self.movable, str):
            check_choice("rule.movable", self.movable, MOVABLE)
        elif not isinstance(self.movable, tuple) or any(
            type(slot) is not int for slot in self.movable
        ):
            raise ValueError(
                f"rule.movable: expected one of {', '.join(MOVABLE)} or a list of slots; "
                f"got {self.movable!r}"
            )
        check_choice("rule.answer", self.answer, ANSWERS)
        check_choice("rule.text", self.text, TEXTS)
        check_choice("rule.sides", self.sides, SIDES)
        if self.index_base not in (0, 1) or isinstance(self.index_base, bool):
            raise ValueError(f"rule.index_base: expected 0 or 1; got {self.index_base!r}")
        if not self.nouns:
            raise ValueError("rule.nouns: expected at least one word; got none")
        for letter in self.fixed_letters:
            if len(letter) != 1 or not "A" <= letter <= "Z":
                raise ValueError(
                    f"rule.fixed_letters: expected letters from A to Z; got {letter!r}"
                )
        if self.answer == "reference" and self.text == "keep":
            raise ValueError("rule.text: expected 'rewrite' with answer='reference'; got 'keep'")

    @classmethod
    def from_config(cls, config: Mapping[str, Any], path: str = "rule") -> "Rule":
        """Reads a rule from a plain mapping of its attributes; sequences may be lists.

        Raises:
            ValueError: At an unknown key or a bad value; it names the path of the field.
        """
        values = dict(check_keys(path, config, [item.name for item in fields(cls)]))
        for name in ("nouns", "fixed_letters"):
            if name in values:
                values[name] = check_strings(f"{path}.{name}", values[name])
        if isinstance(values.get("movable"), list):
            values["movable"] = tuple(values["movable"])
        for name in ("change_column", "why"):
            if not isinstance(values.get(name, ""), str | None):
                raise ValueError(f"{path}.{name}: expected a string; got {values[name]!r}")
        try:
            return cls(**values)
        except ValueError as error:
            raise ValueError(str(error).replace("rule", path, 1)) from None


@dataclass(frozen=True)
class RuleByColumn:
    """The rules of a source whose rows differ: one rule for each value of a metadata column.

    Attributes:
        column: The metadata column, such as ``question_type``.
        cases: The rule of each value. Letter case, spaces, hyphens and underscores do not count.
        otherwise: The rule of any other value, or None where that is an unknown source.
    """

    column: str
    cases: Mapping[str, Rule] = field(default_factory=dict)
    otherwise: Rule | None = None

    @classmethod
    def from_config(cls, config: Mapping[str, Any], path: str = "rule") -> "RuleByColumn":
        """Reads ``{column, cases: {value: rule}, otherwise: rule}`` from plain mappings.

        Raises:
            ValueError: At an unknown key or a bad value; it names the path of the field.
        """
        values = check_keys(path, config, ("column", "cases", "otherwise"))
        if not isinstance(values.get("column"), str):
            raise ValueError(
                f"{path}.column: expected a metadata column; got {values.get('column')!r}"
            )
        cases = values.get("cases", {})
        if not isinstance(cases, Mapping):
            raise ValueError(f"{path}.cases: expected a mapping; got {cases!r}")
        otherwise = values.get("otherwise")
        return cls(
            values["column"],
            {
                value: Rule.from_config(case, f"{path}.cases.{value}")
                for value, case in cases.items()
            },
            None if otherwise is None else Rule.from_config(otherwise, f"{path}.otherwise"),
        )

    def select(self, metadata: Mapping[str, Any]) -> Rule | None:
        """The rule of a row, or None where its value has none."""
        wanted = _folded(metadata.get(self.column, ""))
        for value, rule in self.cases.items():
            if _folded(value) == wanted:
                return rule
        return self.otherwise


Rules = Mapping[str, Rule | RuleByColumn]
SINGLE_IMAGE = Rule(movable="none", why="single_image")
UNKNOWN_SOURCE = Rule(movable="none", why="unknown_source")


def rules_from_config(config: Mapping[str, Any], path: str = "rules") -> Rules:
    """Reads rules from plain mappings: source -> rule, or source -> {column, cases, otherwise}.

    Raises:
        ValueError: At an unknown key or a bad value; it names the path of the field.
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"{path}: expected a mapping of sources to rules; got {config!r}")
    rules: dict[str, Rule | RuleByColumn] = {}
    for source, rule in config.items():
        if isinstance(rule, Rule | RuleByColumn):
            rules[source] = rule
        elif isinstance(rule, Mapping) and "column" in rule:
            rules[source] = RuleByColumn.from_config(rule, f"{path}.{source}")
        else:
            rules[source] = Rule.from_config(rule, f"{path}.{source}")
    return rules


def find_rule(example: Example | str, rules: Rules, *, unknown: str = "error") -> Rule:
    """The rule of an example in a table; see `perl_jax.permutation.rule_for`."""
    check_choice("unknown", unknown, ("error", "keep"))
    if isinstance(example, Example) and len(example.images) < 2:
        return SINGLE_IMAGE
    source = example if isinstance(example, str) else example.source
    # The last of several spellings wins: a user's table is put after the shipped one.
    entry = {name.lower(): rule for name, rule in rules.items()}.get(source.lower())
    rule = entry
    if isinstance(entry, RuleByColumn):
        if isinstance(example, str):
            raise ValueError(
                f"the rule of {source!r} depends on the column {entry.column!r}: pass the example"
            )
        rule = entry.select(example.metadata)
    if isinstance(rule, Rule):
        return rule
    if unknown == "keep":
        return UNKNOWN_SOURCE
    raise ValueError(
        f"no permutation rule for {_undeclared(example, entry, list(rules))}, or pass "
        "unknown='keep' to leave such examples in their own order"
    )


def _undeclared(
    example: Example | str, entry: Rule | RuleByColumn | None, sources: list[str]
) -> str:
    """What has no rule, and how to declare one."""
    if isinstance(entry, RuleByColumn) and isinstance(example, Example):
        value = example.metadata.get(entry.column)
        what = f"{example.source!r} with {entry.column} {value!r}"
        what += suggestion(value, list(entry.cases))
        declared = {"column": entry.column, "cases": {value: {"movable": "all"}}}
    else:
        source = example if isinstance(example, str) else example.source
        what = f"the multi-image source {source!r}{suggestion(source, sources)}"
        declared = {"movable": "all", "answer": "invariant", "text": "rewrite"}
    source = example if isinstance(example, str) else example.source
    return f"{what}: declare one, as in rules={ ({source: declared})!r}"


def _folded(value: object) -> str:
    return "".join(character for character in str(value).lower() if character not in " _-")
