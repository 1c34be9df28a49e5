"""docs/rewards.md states what the grader does, and lists every component, outcome and setting."""

import ast
import dataclasses
import re
import typing
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from perl_jax.rewards import (
    ANSWER_FORM,
    COMPONENTS,
    RewardConfig,
    answer_text,
    asked_answer,
    check_truth,
    format_reward,
    order_agreement,
)
from perl_jax.rewards.functions import COLUMNS, REASONS
from perl_jax.rewards.grader import Grade, Outcome
from perl_jax.settings import read_config

DOCS = Path(__file__).parents[2] / "docs" / "rewards.md"
PAGE = DOCS.read_text()


def table(*header):
    """The rows of all tables with this header, without backticks."""
    lines = iter(PAGE.splitlines())
    found = []
    for line in lines:
        if cells(line) == list(header):
            next(lines)
            for row in lines:
                if not row.startswith("|"):
                    break
                found.append(cells(row))
    assert found, header
    return found


def cells(line):
    return [cell.strip().removeprefix("`").removesuffix("`") for cell in line.split("|")[1:-1]]


RESPONSES = table("response", "truth", "score", "outcome", "detail")
BOXES = table("box", "truth", "score", "detail")


def test_every_response_of_the_page_gets_the_grade_that_stands_beside_it(grader):
    grades = grader.grade([row[0] for row in RESPONSES], [row[1] for row in RESPONSES])
    told = [Grade(float(score), outcome, detail) for _, _, score, outcome, detail in RESPONSES]
    assert grades == told


def test_every_answer_of_the_page_gets_the_grade_that_stands_beside_it(grader):
    grades = grader.grade([rf"\boxed{{{row[0]}}}" for row in BOXES], [row[1] for row in BOXES])
    assert [(g.score, g.outcome, g.detail) for g in grades] == [
        (float(score), "scored", detail) for _, _, score, detail in BOXES
    ]


def test_every_truth_of_the_page_is_read_as_the_page_says():
    for written, text in table("truth", "graded as"):
        truth = ast.literal_eval(written)
        if text == "refused":
            assert check_truth(truth)
        else:
            assert (answer_text(truth), check_truth(truth)) == (text, None)


def test_every_response_of_the_page_has_the_format_that_stands_beside_it():
    for response, told in table("response", "format"):
        assert format_reward(response) == float(told)


def test_the_second_response_of_the_page_earns_its_format_with_what_a_template_opened():
    second, _ = table("response", "format")[1]
    assert format_reward("<think>\n" + second) == 1.0


def test_the_page_names_the_metadata_that_says_set_or_order():
    assert f"`{ANSWER_FORM}`" in PAGE
    for written, form, asked in (("2, 3", "set", r"\{2, 3\}"), ("2 and 3", "order", "[2, 3]")):
        assert f"`{written}`" in PAGE
        assert asked_answer(written, {ANSWER_FORM: form}) == asked


@pytest.mark.parametrize(
    ("form", "is_set"),
    [("2, 3", False), ("[2, 3]", False), ("2→3", False), ("2 and 3", True), ("2 or 3", True),
     (r"\{2, 3\}", True)],
)  # fmt: skip
def test_the_forms_of_the_page_are_sets_and_orders_as_it_says(grader, form, is_set):
    rows = [(re.split("`(?: or |, )`", row[0]), row[1]) for row in table("truth", "compared as")]
    (cell,) = [kind for forms, kind in rows if form in forms]
    assert cell.endswith("set" if is_set else "order")
    assert grader.grade([r"\boxed{3, 2}"], [form])[0].score == float(is_set)


def test_the_page_lists_every_component():
    assert [row[0] for row in table("component", "value")] == list(COMPONENTS)


def test_the_page_lists_every_setting_with_its_default():
    rows = table("field", "default", "meaning")
    assert [row[0] for row in rows] == [field.name for field in dataclasses.fields(RewardConfig)]
    defaults = dataclasses.asdict(RewardConfig())
    assert {row[0]: ast.literal_eval(row[1]) for row in rows} == defaults


def test_the_page_lists_all_that_a_function_may_take_and_every_way_to_fail():
    assert [row[0] for row in table("parameter", "entry for each response")] == list(COLUMNS)
    ways = table("reason", "what happened", "responses left out")
    assert [row[0] for row in ways] == list(REASONS)


def test_the_agreement_of_the_page_is_computed_as_it_says():
    rows = table(
        "order", "first response", "second response", "right", "agreement of the right ones"
    )
    truths = {(0, 1, 2): "first image", (1, 0, 2): "second image", (0, 2, 1): "first image"}
    orders = [ast.literal_eval(row[0]) for row in rows for _ in range(2)]
    said = [cell for row in rows for cell in row[1:3]]
    right = np.array([truths[order] == text for order, text in zip(orders, said, strict=True)])
    found = order_agreement(right, np.ones(6, bool), np.zeros(6, int), orders)
    np.testing.assert_array_equal(found, [0.5, 0, 0.25, 0.25, 0, 0])
    told = [row[4].rpartition("= ")[2] for row in rows]
    assert told == ["0.5", "0.25", "none"]


def documented(text):
    return set(re.findall(r"``(\w+)``", text))


def test_the_page_lists_every_outcome_and_every_detail_of_a_grade():
    outcomes = set(typing.get_args(Outcome))
    assert {row[0] for row in table("outcome", "score", "meaning")} == outcomes
    # The docstring of a grade lists its details.
    details = documented(Grade.__doc__ or "") - outcomes
    in_code = set(re.findall(r"`(\w+)`", PAGE))
    assert len(details) == 18
    assert details <= in_code
    ways = [row[0] for row in table("detail", "truth", "comparison")]
    assert set(ways) <= details
    assert {row[3] for row in BOXES} | {"exact"} == set(ways)


def test_the_configurations_of_the_page_are_read():
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    configurations = [block for block in blocks if block.startswith("config.")]
    assert len(configurations) == 2
    for block in configurations:
        config = ConfigDict({"reward": {}})
        exec(compile(block, str(DOCS), "exec"), {"config": config})
        read_config(RewardConfig, config.reward.to_dict(), "config.reward")


def test_the_programs_of_the_page_run(capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    names: dict = {}
    for block in blocks:
        if not block.startswith("config."):
            exec(compile(block, str(DOCS), "exec"), names)
    np.testing.assert_allclose(
        names["brevity"](["a" * 500, "a" * 500], ["A", "A"], [{}, {"limit": 1000}]), [0.75, 0.5]
    )
    out = capsys.readouterr().out
    assert "'zero/no_box': 1" in out
    assert "[1. 0. 1.]" in out
    assert names["problems"][0] == ""
    assert "does not match itself" in names["problems"][1]
