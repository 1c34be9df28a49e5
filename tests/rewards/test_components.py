import dataclasses
import inspect
import re
import typing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perl_jax.rewards import (
    COMPONENTS,
    Grade,
    ResponseRows,
    RewardConfig,
    Rewarder,
    components,
    format_reward,
    length_reward,
    order_agreement,
    overlong_penalty,
    weighted_sum,
)
from perl_jax.training.display.metrics import METRICS

PUBLISHED = re.compile(r"<think>.*</think>.*\\boxed\{.*\}.*", re.DOTALL)
PIECES = ["<think>", "</think>", "\\boxed{", "\\boxed", "{", "}", "\n", "a", "<think"]


@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_the_format_reward_is_a_full_match_of_the_published_expression(pieces):
    response = "".join(pieces)
    assert format_reward(response) == float(PUBLISHED.fullmatch(response) is not None)


@pytest.mark.parametrize(
    ("response", "reward"),
    [
        ("<think>a</think>\\boxed{5}", 1.0),
        ("<think>a\nb</think>\nso \\boxed{}.\n", 1.0),
        (" <think>a</think>\\boxed{5}", 0.0),
        ("<think>\\boxed{5}</think>", 0.0),
        ("<think>a\\boxed{5}", 0.0),
        ("<think>a</think>\\boxed{5", 0.0),
        ("", 0.0),
    ],
)
def test_the_format_asks_for_a_thought_and_then_a_box(response, reward):
    assert format_reward(response) == reward


def test_the_format_reward_of_a_megabyte_of_marks_comes_at_once():
    # The published expression backtracks over every pair of marks here.
    assert format_reward("<think>" + "</think>\\boxed{" * 50_000) == 0.0


def test_the_overlong_penalty_is_that_of_the_formula():
    # L = 100, c = 20: nothing to 80, a line from 0 to -1 over the buffer, then -1.
    penalty = overlong_penalty([0, 80, 85, 90, 100, 101, 500], max_length=100, buffer=20)
    np.testing.assert_allclose(penalty, [0, 0, -0.25, -0.5, -1, -1, -1])
    assert penalty.dtype == np.float32


def test_an_overlong_penalty_without_a_buffer_punishes_only_what_is_cut_off():
    np.testing.assert_array_equal(
        overlong_penalty([99, 100, 101], max_length=100, buffer=0), [0, 0, -1]
    )
    with pytest.raises(ValueError, match="101 and 100"):
        overlong_penalty([1], max_length=100, buffer=101)


def test_the_reward_is_the_weighted_sum_of_its_parts():
    parts = {"accuracy": [1.0, 0.0, 1.0], "format": [1.0, 1.0, 0.0], "seen": [9.0, 9.0, 9.0]}
    total = weighted_sum(parts, {"accuracy": 0.9, "format": 0.1})
    np.testing.assert_allclose(total, [1.0, 0.1, 0.9], rtol=1e-6)


@pytest.mark.parametrize(
    ("parts", "weights", "message"),
    [
        ({"accuracy": [1.0]}, {"acuracy": 1.0}, "did you mean 'accuracy'"),
        ({"accuracy": [1.0, float("nan")]}, {"accuracy": 1.0}, "'accuracy', row 1"),
        ({"accuracy": [1.0], "format": [1.0, 1.0]}, {"accuracy": 1.0}, "one length"),
        ({"accuracy": [1.0]}, {"accuracy": float("nan")}, "finite"),
        ({"accuracy": [1.0]}, {"accuracy": 10**400}, r"weights\['accuracy'\]: expected a finite"),
        ({"accuracy": [1.0]}, {}, "weights: expected at least one component; got none"),
    ],
)
def test_a_sum_that_cannot_be_meant_is_an_error(parts, weights, message):
    with pytest.raises(ValueError, match=message):
        weighted_sum(parts, weights)


# Right, wrong, without a grade, and right but cut off, of at most 100 tokens with a buffer of 20.
# All answer one example, the last two under another order.
ROWS = ResponseRows(
    texts=["<think>a</think>\\boxed{A}", "\\boxed{B}", "<think></think>\\boxed{A}", "A"],
    answers=["A"] * 4,
    metadata=[{}] * 4,
    lengths=np.array([80, 90, 100, 100]),
    stopped=np.array([True, True, True, False]),
    questions=["<image><image> Which?"] * 4,
    ids=["p"] * 4,
    orders=[(0, 1), (0, 1), (1, 0), (1, 0)],
    groups=np.zeros(4, int),
)
GRADES = [
    Grade(1.0, "scored", "letter"),
    Grade(0.0, "scored", "letter"),
    Grade(None, "unscored", "deadline"),
    Grade(1.0, "scored", "letter"),
]
INPUTS = components.RewardInput(ROWS, GRADES, max_new_tokens=100, overlong_buffer=20)
BY_HAND = {
    "accuracy": [1, 0, 0, 1],
    "format": [1, 0, 1, 0],
    "overlong": [0, -0.5, -1, -1],
    # The graded response of the other order is right; of the own order, one of two is.
    "agreement": [1, 0, 0, 0.5],
    # From 80 to 100 tokens: half of the way is 0, and the wrong one earns at most that.
    "length": [0.5, 0, 0, -0.5],
}


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_component_of_the_table_has_its_example_by_hand(name):
    values = COMPONENTS[name].of(INPUTS)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, BY_HAND[name])


def test_every_function_of_a_reward_input_is_in_the_table():
    written = {
        name
        for name, function in inspect.getmembers(components, inspect.isfunction)
        if components.RewardInput in typing.get_type_hints(function).values()
    }
    assert written == {component.of.__name__ for component in COMPONENTS.values()}
    assert COMPONENTS.keys() == BY_HAND.keys()


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_component_can_be_weighted_and_is_a_metric(name):
    assert RewardConfig(weights={name: 0.5}).weights == {name: 0.5}
    assert METRICS[f"reward/{name}"].meaning == COMPONENTS[name].meaning


class ScriptedGrader:
    def grade(self, responses, answers):
        assert (responses, answers) == (ROWS.texts, ROWS.answers)
        return GRADES


def rewarded(weights, called=None, **changes):
    config = RewardConfig(weights=weights, overlong_buffer=20, **changes)
    return Rewarder(config, ScriptedGrader(), max_new_tokens=100, functions=called)(ROWS)


def test_the_reward_is_0_where_there_is_no_grade_and_else_the_weighted_sum():
    found = rewarded({"accuracy": 1.0, "format": 0.5, "overlong": 2.0})
    np.testing.assert_array_equal(found.scored, [True, True, False, True])
    np.testing.assert_allclose(found.accuracy, [1, 0, 0, 1])
    np.testing.assert_allclose(found.reward, [1 + 0.5, -1, 0, 1 - 2])
    assert found.reward.dtype == np.float32


def replace(**columns):
    return dataclasses.replace(ROWS, **columns)


def test_the_format_counts_what_the_template_opened():
    texts = ["Two.</think> \\boxed{A}", "Two. \\boxed{A}", "<think>a</think> \\boxed{A}"]
    expected = {"": [0, 0, 1], "<think>\n": [1, 0, 1], "<think></think>": [1, 1, 1]}
    for opening, values in expected.items():
        inputs = dataclasses.replace(INPUTS, rows=replace(texts=texts), opening=opening)
        np.testing.assert_array_equal(COMPONENTS["format"].of(inputs), values)


def test_a_rewarder_gives_every_component_what_the_template_opened():
    config = RewardConfig(weights={"format": 1.0})
    rewarder = Rewarder(config, ScriptedGrader(), 100, opening="<think>\n")
    found = rewarder(ROWS)
    np.testing.assert_array_equal(found.components["format"], [1, 0, 1, 0])


def test_answers_are_graded_in_the_form_that_their_questions_ask_for():
    asked = []

    class Recorder:
        def grade(self, responses, answers):
            asked.extend(answers)
            return GRADES

    rewarder = Rewarder(RewardConfig(), Recorder(), 100)
    metadata = [{"answer_form": "set"}, {"answer_form": "order"}, {}, {"other": "set"}]
    answers = ["1, 2", "1 and 2", "1, 2", "1, 2"]
    rewarder(replace(answers=answers, metadata=metadata))
    assert asked == [r"\{1, 2\}", "[1, 2]", "1, 2", "1, 2"]


def test_components_without_a_weight_are_measured_all_the_same():
    found = rewarded({"overlong": 1.0})
    np.testing.assert_allclose(found.reward, [0, -0.5, 0, -1])
    assert found.components.keys() == COMPONENTS.keys()


class ScriptedFunctions:
    """Functions of the user that fail for the responses whose numbers are given."""

    def __init__(self, **failing):
        self.failing = failing
        self.asked = []

    def rewards(self, name, columns):
        self.asked.append((name, columns))
        reasons = [self.failing[name].get(text, "") for text in columns["responses"]]
        return np.array([0.0 if reason else 2.0 for reason in reasons], np.float32), reasons


OWN = {"mine": "my:of", "other": "my:other"}


def test_a_function_of_the_user_is_a_component_beside_the_others():
    weights = {"accuracy": 1.0, "mine": 0.25, "other": 0.0}
    found = rewarded(weights, ScriptedFunctions(mine={}, other={}), functions=OWN)
    np.testing.assert_allclose(found.components["mine"], [2, 2, 2, 2])
    np.testing.assert_allclose(found.reward, [1.5, 0.5, 0, 1.5])
    assert found.failed == {}


def test_responses_for_which_a_function_fails_are_not_scored_and_are_counted_once():
    third, fourth = ROWS.texts[2:]
    functions = ScriptedFunctions(mine={fourth: "raised"}, other={third: "count", fourth: "count"})
    weights = {"accuracy": 1.0, "mine": 0.25, "other": 0.0}
    found = rewarded(weights, functions, functions=OWN)
    assert found.scored.tolist() == [True, True, False, False]
    np.testing.assert_allclose(found.reward, [1.5, 0.5, 0, 0])
    np.testing.assert_allclose(found.accuracy, [1, 0, 0, 0])
    assert found.failed == {"count": 1, "raised": 1}


def test_functions_are_called_with_one_group_at_a_time_and_all_columns():
    functions = ScriptedFunctions(mine={}, other={})
    config = RewardConfig(weights={"mine": 1.0}, functions={"mine": "my:of"})
    rows = replace(groups=np.array([7, 3, 7, 3]), ids=["p", "q", "p", "q"])
    Rewarder(config, ScriptedGrader(), 100, functions=functions)(rows)
    (one, other) = [columns for _, columns in functions.asked]
    assert one == {
        "responses": [ROWS.texts[0], ROWS.texts[2]],
        "answers": ["A", "A"],
        "metadata": [{}, {}],
        "questions": ["<image><image> Which?"] * 2,
        "ids": ["p", "p"],
        "orders": [(0, 1), (1, 0)],
        "lengths": [80, 100],
        # Not the number in the draw, which depends on what else is drawn.
        "groups": [0, 0],
    }
    assert other["ids"] == ["q", "q"]
    assert {type(value) for column in one.values() for value in column} == {str, dict, tuple, int}


def test_several_groups_are_numbered_as_they_come():
    rows = replace(groups=np.array([7, 3, 7, 3]))
    assert rows.columns([1, 2, 3])["groups"] == [0, 1, 0]


def agreements(rows):
    """Of rows of group, order, and R (right), W (wrong) or - (not graded)."""
    groups, orders, grades = zip(*rows, strict=True)
    accuracy = np.array([grade == "R" for grade in grades], np.float32)
    scored = np.array([grade != "-" for grade in grades])
    return order_agreement(accuracy, scored, np.array(groups), orders).tolist()


def test_a_right_response_is_worth_the_mean_share_of_right_ones_under_the_other_orders():
    own, other, third = (0, 1, 2), (1, 0, 2), (2, 1, 0)
    rows = [(0, own, "R"), (0, own, "W"), (0, other, "R"), (0, other, "R"), (0, third, "W")]
    # Own: (1 + 0) / 2. The other: (1/2 + 0) / 2.
    assert agreements(rows) == [0.5, 0, 0.25, 0.25, 0]


def test_nothing_disagrees_where_there_is_no_other_order():
    one, two = (0, 1), (1, 0)
    assert agreements([(0, one, "R"), (0, one, "W")]) == [1, 0]
    # An example that keeps its order is asked several times in it.
    assert agreements([(0, one, "R"), (1, one, "W"), (1, two, "R")]) == [1, 0, 0]
    assert agreements([(0, one, "R"), (0, two, "-"), (0, two, "-")]) == [1, 0, 0]


def test_responses_without_a_grade_do_not_count_in_the_agreement():
    one, two = (0, 1), (1, 0)
    assert agreements([(0, one, "R"), (0, two, "-"), (0, two, "R"), (0, one, "-")]) == [1, 0, 1, 0]


def test_the_length_reward_is_that_of_the_formula_within_each_group():
    lengths = np.array([100, 200, 300, 150, 7, 7, 10, 900, 20])
    accuracy = np.array([1, 1, 1, 0, 1, 0, 1, 1, 0], np.float32)
    scored = np.array([True] * 7 + [False, True])
    groups = np.array([5, 5, 5, 5, 1, 1, 2, 2, 2])
    # 150 of 100 to 300: 0.25, but it is wrong. 20 of 10 to 20, as 900 has no grade: -0.5.
    expected = [0.5, 0, -0.5, 0, 0, 0, 0.5, 0, -0.5]
    found = length_reward(lengths, accuracy, scored, groups)
    np.testing.assert_allclose(found, expected)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    ("functions", "weights", "message"),
    [
        (["mine"], ["accuracy"], "weights: expected one for the function 'mine', .*accuracy"),
        (["length"], ["length"], "functions: expected names other than accuracy, .*'length'"),
        (["mine"], ["mina"], "did you mean 'mine'"),
    ],
)
def test_functions_have_a_weight_and_a_name_of_their_own(functions, weights, message):
    with pytest.raises(ValueError, match=message):
        RewardConfig(
            functions=dict.fromkeys(functions, "my:of"), weights=dict.fromkeys(weights, 0.0)
        )
