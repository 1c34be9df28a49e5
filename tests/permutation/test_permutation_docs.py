"""docs/permutation.md is checked against the code: its examples run, and nothing is left out."""

import itertools
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import pytest

from perl_jax.permutation import (
    BUILT_IN,
    CannotPermute,
    Rule,
    RuleByColumn,
    permute,
    rules_from_config,
)
from perl_jax.permutation.rules import Movable
from perl_jax.permutation.texts import MAX_LENGTH
from perl_jax.types import Example

PAGE = (Path(__file__).parents[2] / "docs" / "permutation.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```example\n(.*?)```", PAGE, re.DOTALL)
NAMES = ("rule", "metadata", "question", "options", "answer", "order", "refused")


def parse(block):
    """The parts before and after the line `becomes`; the second is None where there is none."""
    before, line, after = block.partition("becomes\n")
    parts = [dict(re.findall(r"^(\w+) +(.*)$", text, re.MULTILINE)) for text in (before, after)]
    assert set().union(*parts) <= set(NAMES)
    assert bool(line) != ("refused" in parts[0])
    return parts[0], parts[1] if line else None


def read(row, order):
    """The example that a block describes."""
    options = tuple(filter(None, row.get("options", "").split(" | ")))
    question = row["question"].replace(r"\n", "\n")
    metadata = json.loads(row.get("metadata", "{}"))
    images = tuple(f"picture {slot}" for slot in range(len(order)))
    return Example("x", "mine", question, images, row.get("answer", "yes"), options, metadata)


def rule_of(config):
    return rules_from_config({"mine": json.loads(config)})["mine"]


@pytest.mark.parametrize("block", BLOCKS, ids=[block.split("\n")[1][:60] for block in BLOCKS])
def test_an_example_of_the_page_comes_out_as_it_says(block):
    row, after = parse(block)
    order = json.loads(row["order"])
    own, rule = read(row, order), rule_of(row["rule"])
    if after is None:
        with pytest.raises(CannotPermute) as refusal:
            permute(own, order, rule)
        assert refusal.value.reason == row["refused"]
    else:
        new = read({**row, **after}, order)
        images = tuple(own.images[slot] for slot in order)
        other = permute(own, order, rule)
        assert (other.question, other.options, other.answer, other.images) == (
            new.question, new.options, new.answer, images,
        )  # fmt: skip


def choices(kind):
    """The values of a field's type, where it lists them."""
    if get_origin(kind) is not None and not isinstance(kind, type):
        inner = [value for part in get_args(kind) for value in choices(part)]
        return inner or [v for v in get_args(kind) if isinstance(v, str | int)]
    return []


def test_every_field_of_a_rule_and_each_of_its_values_has_its_place():
    hints = get_type_hints(Rule)
    assert choices(hints["movable"]) == list(get_args(Movable))
    for field in fields(Rule):
        assert f"### `{field.name}`" in PAGE
        section = PAGE.split(f"### `{field.name}`")[1].split("\n## ")[0].split("\n### ")[0]
        assert "```example" in section
        for value in choices(hints[field.name]):
            assert f"`{json.dumps(value)}`: " in section, (field.name, value)
            assert f'"{field.name}": {json.dumps(value)}' in section, (field.name, value)


def test_the_longest_text_is_that_of_the_code():
    assert f"more than {MAX_LENGTH:,} characters" in PAGE


def expand(name):
    """The names that a name with braces stands for."""
    parts = re.split(r"\{([^}]*)\}", name)
    lists = [part.split(",") if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(choice) for choice in itertools.product(*lists)]


def test_the_table_of_built_in_rules_is_that_of_the_code():
    table = {}
    for line in re.findall(r"^\| `.*\|$", PAGE, re.MULTILINE):
        sources, column, values, rule = (cell.strip() for cell in line.strip("|").split(" |"))
        for source in itertools.chain.from_iterable(map(expand, re.findall("`(.*?)`", sources))):
            if not column:
                table[source] = rule_of(rule.strip("`"))
                continue
            entry = table.setdefault(source, {"column": column.strip("`"), "cases": {}})
            if values == "otherwise":
                entry["otherwise"] = rule_of(rule.strip("`"))
            for value in re.findall("`(.*?)`", values):
                entry["cases"][value] = rule_of(rule.strip("`"))
    read_table = {
        source: RuleByColumn(**entry) if isinstance(entry, dict) else entry
        for source, entry in table.items()
    }
    assert read_table == dict(BUILT_IN)
