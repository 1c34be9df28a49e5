"""What a record holds for groups that are kept, dropped, and could not be graded."""

from dataclasses import replace

import numpy as np
import pytest

from perl_jax.experience import groups as making
from perl_jax.experience.config import GroupFilterConfig, RolloutConfig
from perl_jax.permutation import Orders
from perl_jax.rewards import COMPONENTS
from perl_jax.types import Example, ImagePatches
from tests.experience.scripted import SOURCE, example
from tests.experience.test_collect import PERMUTED, collect, collector

FILTERED = GroupFilterConfig(max_draws=2)


def records(responses, images="abcd", **changes):
    examples = [example(name, images) for name in responses]
    return collect(collector(examples, responses, **changes)).records


@pytest.fixture(scope="module")
def rows():
    """One group of each outcome: 2 are wanted, 4 are drawn."""
    responses = {"p": ["1.", "1."], "q": ["0.", "40"], "r": ["9.", "9."], "s": ["1.", "440."]}
    return records(responses, filtering=FILTERED)


def test_every_group_says_what_became_of_it(rows):
    found = [(row["group"], row["id"], row["source"], row["outcome"]) for row in rows]
    assert found == [
        (0, "p", SOURCE, "too_easy"),
        (1, "q", SOURCE, "too_hard"),
        (2, "r", SOURCE, "unscored"),
        (3, "s", SOURCE, "kept"),
    ]


def test_a_group_that_was_kept_has_all_that_was_asked_said_and_earned(rows):
    row = rows[3]
    assert row["questions"] == ["<image><image><image><image>"]
    assert (row["orders"], row["truths"], row["unpermuted"]) == ([[0, 1, 2, 3]], ["1"], None)
    assert row["responses"] == [["1", "440"]]
    assert (row["lengths"], row["stopped"]) == ([[2, 4]], [[True, True]])
    assert row["accuracy"] == row["reward"] == row["rewards"]["accuracy"] == [[1.0, 0.0]]
    assert row["rewards"].keys() == COMPONENTS.keys()
    np.testing.assert_allclose(row["advantages"], [[0.7071, -0.7071]], atol=1e-4)


def test_a_group_that_was_dropped_has_no_advantages_but_all_else(rows):
    row = rows[1]
    assert row["responses"] == [["0", "40"]]
    assert row["stopped"] == [[True, False]]
    assert (row["accuracy"], row["advantages"]) == ([[0.0, 0.0]], [[None, None]])


def test_responses_without_a_grade_have_no_numbers(rows):
    row = rows[2]
    assert row["responses"] == [["9", "9"]]
    assert row["accuracy"] == row["reward"] == row["rewards"]["overlong"] == [[None, None]]
    partly = records({"p": ["1.", "49.", "0."]} | {"q": ["1.", "0.", "0."]}, rollout=three())
    assert partly[0]["accuracy"] == [[1.0, None, 0.0]]
    assert [value is None for value in partly[0]["advantages"][0]] == [False, True, False]


def three():
    return RolloutConfig(groups=2, num_rollouts=3, max_new_tokens=4)


def test_surplus_groups_have_no_record():
    responses = {name: ["1.", "0."] for name in "pqrs"}
    made = collector([example(name) for name in responses], responses, filtering=FILTERED)
    collected = collect(made)
    assert [row["outcome"] for row in collected.records] == ["kept", "kept"]
    assert collected.metrics["filter/surplus"] > 0


def test_every_order_has_its_question_truth_and_responses():
    responses = {"p": ["1.", "0.", "41.", "40."], "q": ["1.", "0.", "1.", "0."]}
    row = records(responses, permutation=PERMUTED)[0]
    assert row["responses"] == [["1", "0"], ["41", "40"]]
    assert len(row["orders"]) == len(row["questions"]) == len(row["truths"]) == 2
    assert len(row["rewards"]["accuracy"]) == 2


def test_an_order_that_an_example_does_not_have_is_not_in_its_record():
    responses = {"p": ["1.", "0."], "q": ["1.", "0."]}
    smaller = replace(PERMUTED, constant_groups=False)
    row = records(responses, images="a", permutation=smaller)[0]
    assert (row["orders"], row["responses"]) == ([[0]], [["1", "0"]])
    assert (row["lengths"], row["advantages"][1:]) == ([[2, 2]], [])
    assert row["unpermuted"] == "single_image"


def test_as_many_groups_are_recorded_as_are_wanted():
    responses = {"p": ["1.", "0."], "q": ["1.", "0."]}
    assert [row["id"] for row in records(responses, recorded=1)] == ["p"]
    assert records(responses, recorded=0) == []


def test_a_text_is_decoded_once(monkeypatch):
    responses = {"p": ["1.", "0."], "q": ["1.", "0."]}
    made = collector([example(name) for name in responses], responses)
    decoded, decode = [], made.sampler.processor.decode
    monkeypatch.setattr(
        type(made.sampler.processor), "decode", lambda self, row: decoded.append(1) or decode(row)
    )
    collect(made)
    assert len(decoded) == 4


def test_another_host_knows_what_was_asked_and_the_names_of_the_pictures():
    images = tuple(ImagePatches(np.ones((4, 1)), (2, 2), digest=name) for name in ("aa", "bb"))
    own = Example(
        "id", SOURCE, "Which?", images, "A", ("A. x", "B. \ud800"), {"prompt_suffix": "!"}
    )
    other = Example("id", SOURCE, "Which one?", images[::-1], "B")
    orders = Orders(np.array([[0, 1], [1, 0]]), (own, other), True, None)
    told = making.orders_of_note(making.note_of(orders))
    assert [one.question for one in told.examples] == ["Which?\nA. x\nB. \ud800!", "Which one?"]
    assert [one.answer for one in told.examples] == ["A", "B"]
    assert [image.digest for image in told.examples[0].images] == ["aa", "bb"]
    assert (told.orders.tolist(), told.drawn, told.reason) == ([[0, 1], [1, 0]], True, None)


def test_a_step_tells_what_it_does_while_nothing_is_decoded():
    told = []
    responses = {"p": ["1.", "0."], "q": ["1.", "0."]}
    records(responses, activity=lambda *what: told.append(what))
    assert told == [("waiting for rows",), ("grading",)]
