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
    RewardConfig,
    Rewarder,
    components,
    format_reward,
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
        ({"accuracy": [1.0]}, {}, "weights: expected at least one component; got none"),
    ],
)
def test_a_sum_that_cannot_be_meant_is_an_error(parts, weights, message):
    with pytest.raises(ValueError, match=message):
        weighted_sum(parts, weights)


# Right, wrong, without a grade, and right but cut off, of at most 100 tokens with a buffer of 20.
ROWS = components.RewardInput(
    texts=["<think>a</think>\\boxed{A}", "\\boxed{B}", "<think></think>\\boxed{A}", "A"],
    answers=["A"] * 4,
    metadata=[{}] * 4,
    lengths=np.array([80, 90, 100, 100]),
    stopped=np.array([True, True, True, False]),
    grades=[
        Grade(1.0, "scored", "letter"),
        Grade(0.0, "scored", "letter"),
        Grade(None, "unscored", "deadline"),
        Grade(1.0, "scored", "letter"),
    ],
    max_new_tokens=100,
    overlong_buffer=20,
)
BY_HAND = {"accuracy": [1, 0, 0, 1], "format": [1, 0, 1, 0], "overlong": [0, -0.5, -1, -1]}


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_component_of_the_table_has_its_example_by_hand(name):
    values = COMPONENTS[name].of(ROWS)
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
        return ROWS.grades


def rewarded(weights, **changes):
    config = RewardConfig(weights=weights, overlong_buffer=20, **changes)
    rewarder = Rewarder(config, ScriptedGrader(), max_new_tokens=100)
    rows = dataclasses.asdict(ROWS)
    return rewarder(
        *(rows[name] for name in ("texts", "answers", "metadata", "lengths", "stopped"))
    )


def test_the_reward_is_0_where_there_is_no_grade_and_else_the_weighted_sum():
    found = rewarded({"accuracy": 1.0, "format": 0.5, "overlong": 2.0})
    np.testing.assert_array_equal(found.scored, [True, True, False, True])
    np.testing.assert_allclose(found.accuracy, [1, 0, 0, 1])
    np.testing.assert_allclose(found.reward, [1 + 0.5, -1, 0, 1 - 2])
    assert found.reward.dtype == np.float32


def test_the_format_counts_what_the_template_opened():
    texts = ["Two.</think> \\boxed{A}", "Two. \\boxed{A}", "<think>a</think> \\boxed{A}"]
    expected = {"": [0, 0, 1], "<think>\n": [1, 0, 1], "<think></think>": [1, 1, 1]}
    for opening, values in expected.items():
        rows = dataclasses.replace(ROWS, texts=texts, opening=opening)
        np.testing.assert_array_equal(COMPONENTS["format"].of(rows), values)


def test_a_rewarder_gives_every_component_what_the_template_opened():
    config = RewardConfig(weights={"format": 1.0})
    rewarder = Rewarder(config, ScriptedGrader(), 100, opening="<think>\n")
    rows = dataclasses.asdict(ROWS)
    found = rewarder(
        *(rows[name] for name in ("texts", "answers", "metadata", "lengths", "stopped"))
    )
    np.testing.assert_array_equal(found.components["format"], [1, 0, 1, 0])


def test_answers_are_graded_in_the_form_that_their_questions_ask_for():
    asked = []

    class Recorder:
        def grade(self, responses, answers):
            asked.extend(answers)
            return ROWS.grades

    rewarder = Rewarder(RewardConfig(), Recorder(), 100)
    metadata = [{"answer_form": "set"}, {"answer_form": "order"}, {}, {"other": "set"}]
    answers = ["1, 2", "1 and 2", "1, 2", "1, 2"]
    rewarder(ROWS.texts, answers, metadata, ROWS.lengths, ROWS.stopped)
    assert asked == [r"\{1, 2\}", "[1, 2]", "1, 2", "1, 2"]


def test_components_without_a_weight_are_measured_all_the_same():
    found = rewarded({"overlong": 1.0})
    np.testing.assert_allclose(found.reward, [0, -0.5, 0, -1])
    assert found.components.keys() == COMPONENTS.keys()


def test_a_function_of_the_user_is_a_component_beside_the_others(tmp_path, monkeypatch):
    (tmp_path / "my_length.py").write_text("def of(texts, answers, metadata): return [2] * 4")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = rewarded({"accuracy": 1.0, "mine": 0.25}, functions={"mine": "my_length:of"})
    np.testing.assert_allclose(found.components["mine"], [2, 2, 2, 2])
    np.testing.assert_allclose(found.reward, [1.5, 0.5, 0, 1.5])
