"""The numbers of hand-made records, and how they are shown and written."""

import json
import math

import pytest

from perl_jax.evaluation.config import EvaluationConfig
from perl_jax.evaluation.records import Record
from perl_jax.evaluation.results import Evaluation
from perl_jax.rewards import Grade

RIGHT, WRONG = Grade(1.0, "scored", "letter"), Grade(0.0, "scored", "letter")
FAILED = Grade(None, "unscored", "deadline", "2 seconds")


def record(id, grade, consistent=None, order=(0, 1), rollout=0, source="s", kind=None, **changes):
    values = {
        "response": r"é \boxed{A}", "answer": "A", "prediction": "A", "tokens": 4,
        "truncated": False,
    }  # fmt: skip
    values |= changes
    return Record(id, source, kind, order, rollout, grade=grade, consistent=consistent, **values)


def test_examples_weigh_the_same_however_many_orders_they_have():
    found = Evaluation.of(
        [
            record("a", RIGHT, True),
            record("a", WRONG, True, (1, 0)),
            record("b", RIGHT),
            record("c", WRONG),
        ]
    )
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.accuracy_all_orders == pytest.approx((0.5 + 1 + 0) / 3)
    assert (found.order_consistency, found.examples) == (1.0, 3)


def test_a_failed_grade_counts_in_no_mean_and_is_counted():
    found = Evaluation.of(
        [
            record("a", FAILED, False),
            record("a", RIGHT, False, (1, 0)),
            record("b", RIGHT, True),
            record("b", FAILED, True, (1, 0)),
        ]
    )
    assert (found.accuracy, found.accuracy_all_orders) == (1.0, 1.0)  # not 0.5
    assert found.unscored == 0.5
    assert (found.order_consistency, found.examples) == (0.5, 2)


def test_rollouts_are_averaged_within_their_example():
    found = Evaluation.of(
        [
            *(record("a", RIGHT, n == 0, rollout=n) for n in range(4)),
            *(record("a", WRONG, n == 0, (1, 0), n) for n in range(4)),
            *(record("b", WRONG, True, rollout=n) for n in range(2)),
            *(record("b", WRONG, True, (1, 0), n) for n in range(2)),
        ]
    )
    assert (found.accuracy, found.accuracy_all_orders) == (0.5, 0.25)
    assert found.order_consistency == (0.25 + 1) / 2


def test_only_what_is_right_under_every_order_counts_there():
    found = Evaluation.of(
        [
            *(record("a", RIGHT, rollout=n) for n in range(2)),
            record("a", RIGHT, None, (1, 0)),
            record("a", WRONG, None, (1, 0), 1),
            record("b", RIGHT),
            record("c", RIGHT),
            record("c", FAILED, None, (1, 0)),
        ]
    )
    assert found.all_orders_right == (1 / 2 + 1) / 2


def test_flips_are_those_of_other_orders_and_the_noise_that_of_the_own_one():
    found = Evaluation.of(
        [
            record("a", RIGHT, False, flips=0.5),
            record("a", RIGHT, False, (1, 0), flips=1.0),
            record("a", RIGHT, False, (1, 0), 1, flips=0.25),
            record("b", RIGHT, True, flips=0.0),
            record("b", RIGHT, True, (1, 0), flips=0.0),
            record("c", RIGHT),
        ]
    )
    assert (found.flip_rate, found.noise_floor) == (0.3125, 0.25)
    greedy = Evaluation.of([record("a", RIGHT, True), record("a", RIGHT, True, (1, 0), flips=0.0)])
    assert greedy.flip_rate == 0
    assert "eval/noise_floor" not in greedy.metrics()


def test_the_bias_is_that_of_the_slot_that_is_named_most_beyond_the_truth():
    found = Evaluation.of(
        [
            record("a", RIGHT, False, slot=1, true_slot=1),
            record("a", WRONG, False, (1, 0), slot=1, true_slot=0),
            record("b", WRONG, False, slot=0, true_slot=2),
            record("b", WRONG, False, (1, 0), slot=None, true_slot=2),
            # One order alone, and a truth without a slot.
            record("c", WRONG, slot=0, true_slot=2),
            record("d", WRONG, False, slot=None, true_slot=None),
        ]
    )
    # Slot 0: 1/4 less 1/4; slot 1: 1/2 less 1/4; slot 2: 0 less 1/2.
    assert found.slot_bias == 1 / 4


def test_lengths_and_cut_off_responses_are_averaged_over_all_responses():
    found = Evaluation.of(
        [record("a", RIGHT, tokens=9, truncated=True), record("b", RIGHT), record("c", RIGHT)]
    )
    assert found.length == pytest.approx(17 / 3)
    assert found.truncated == pytest.approx(1 / 3)


def test_where_nothing_counts_there_is_no_number():
    found = Evaluation.of([record("a", FAILED)])
    assert math.isnan(found.accuracy)
    assert math.isnan(found.order_consistency)
    assert found.metrics() == {
        "eval/length": 4.0, "eval/truncated": 0.0, "eval/unscored": 1.0, "eval/examples": 1.0,
    }  # fmt: skip


def test_the_table_shows_percentages_by_source_and_kind():
    found = Evaluation.of(
        [
            record("a", RIGHT, True, source="long-name", kind="k"),
            record("a", WRONG, True, (1, 0), source="long-name", kind="k", flips=0.25),
            record("b", WRONG, source="b"),
            record("c", RIGHT, source="b"),
            record("d", RIGHT, source="b"),
        ]
    )
    assert found.table().split("\n") == [
        "             accuracy  all orders  consistent  every order     flips     noise"
        "  slot bias  examples",
        "b                66.7        66.7           -         66.7         -         -"
        "          -         3",
        "long-name       100.0        50.0       100.0          0.0      25.0         -"
        "          -         1",
        "long-name/k     100.0        50.0       100.0          0.0      25.0         -"
        "          -         1",
        "all              75.0        62.5       100.0         50.0      25.0         -"
        "          -         4",
    ]


def test_records_are_written_one_a_line(tmp_path):
    path = tmp_path / "records.jsonl"
    found = Evaluation.of(
        [
            record(
                "a",
                RIGHT,
                True,
                kind="k",
                response="two\nlines \u2028 é",
                flips=0.5,
                slot=0,
                true_slot=1,
            ),
            record("a", FAILED, True, (1, 0), kind="k", prediction=None, truncated=True),
        ]
    )
    found.write_records(path)
    lines = path.read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    assert "é" in lines[0]
    assert [json.loads(line) for line in lines] == [
        {
            "id": "a", "source": "s", "kind": "k", "order": [0, 1], "rollout": 0,
            "response": "two\nlines \u2028 é", "answer": "A", "prediction": "A",
            "grade": {"score": 1.0, "outcome": "scored", "detail": "letter", "message": ""},
            "consistent": True, "flips": 0.5, "slot": 0, "true_slot": 1,
            "tokens": 4, "truncated": False, "task": "s/k", "score": 1.0,
        },
        {
            "id": "a", "source": "s", "kind": "k", "order": [1, 0], "rollout": 0,
            "response": r"é \boxed{A}", "answer": "A", "prediction": None,
            "grade": {
                "score": None, "outcome": "unscored", "detail": "deadline", "message": "2 seconds",
            },
            "consistent": True, "flips": None, "slot": None, "true_slot": None,
            "tokens": 4, "truncated": True, "task": "s/k", "score": None,
        },
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("every", 0, "every: expected a whole number of at least 1; got 0"),
        ("examples", 0, "examples: expected a whole number of at least 1; got 0"),
        ("num_orders", -1, "num_orders: expected a whole number of at least 0; got -1"),
        ("max_new_tokens", 2.5, "max_new_tokens: expected a whole number of at least 1; got 2.5"),
        ("batch", True, "batch: expected a whole number of at least 1; got True"),
        ("num_rollouts", 0, "num_rollouts: expected a whole number of at least 1; got 0"),
        ("num_rollouts", 2, "num_rollouts: expected 1 at temperature 0"),
        ("temperature", -0.1, "temperature: expected a number from 0; got -0.1"),
        ("temperature", math.nan, "temperature: expected a number from 0; got nan"),
        ("temperature", math.inf, "temperature: expected a number from 0; got inf"),
    ],
)
def test_a_setting_out_of_its_range_is_named(field, value, message):
    with pytest.raises(ValueError, match=message):
        EvaluationConfig(**{field: value})


def test_the_defaults_and_the_edges_are_valid():
    EvaluationConfig()
    EvaluationConfig(every=1, examples=1, num_orders=0, batch=1, temperature=0.5, num_rollouts=8)
