"""The order check: by rule where the rules know, by a server otherwise, else not at all."""

import json

import pytest

from perl_jax.data.sources.digits import Digits, DigitsConfig
from perl_jax.permutation import CannotPermute, movable_slots, permute, rule_for, sample_orders
from perl_jax.preparation.order_check import OrderConfig, changes_by_rule, check_orders
from tests.data.sources.parquet_files import digit_png
from tests.preparation.preparing import bad_row, chat_server, example, kept, run_stage, told

NLVR2 = "Mantis-Instruct-nlvr2"
BOTH = "<image><image> Both images show a dog.\n(A) True\n(B) False"
FIRST = "<image><image> The first image shows a dog.\n(A) True\n(B) False"
SIDE = "<image><image> The left image shows a dog on the left.\n(A) True\n(B) False"


def changes(row):
    return changes_by_rule(row, rule_for(row, unknown="keep"), seed=0)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"source": NLVR2, "question": BOTH}, False),
        ({"source": NLVR2, "question": FIRST}, True),
        ({"source": NLVR2, "question": SIDE}, None),
        ({"source": NLVR2, "question": "<image> A dog?", "images": (digit_png(0),)}, False),
        ({"source": "Mantis-Instruct-star", "question": "<image><image> Then?"}, None),
        ({"source": "unheard of", "question": BOTH}, None),
        (
            {"source": "ShowHowTo", "question": "<image><image> Order them.", "answer": "2→1",
             "metadata": {"question_type": "ordering"}},
            True,
        ),
        (
            {"source": "Mantis-Instruct-iconqa", "question": "Which?\nA. <image>\nB. <image>"},
            True,
        ),
    ],
)  # fmt: skip
def test_the_rules_know_whether_the_answer_depends_on_the_order(changed, expected):
    assert changes(example(**changed)) is expected


def test_every_question_of_the_demo_depends_on_the_order():
    source = Digits(DigitsConfig(rows=40))
    assert [changes(source[n]) for n in range(40)] == [True] * 40


def test_an_answer_that_no_option_image_gives_is_not_marked():
    """False would be true, but rules refuse it beside options."""
    row = example(
        source="Mantis-Instruct-iconqa",
        question="Which?\nA. <image>\nB. <image>\nC. None of them",
        answer="C",
    )
    assert changes(row) is None


def test_a_mark_never_takes_a_permutation_away(tmp_path):
    source = Digits(DigitsConfig(rows=24))
    rows = [source[n] for n in range(24)]
    rows += [example(n, source=NLVR2, question=q) for n, q in enumerate((BOTH, FIRST, SIDE))]
    marked = kept(run_stage(check_orders, rows, OrderConfig(), tmp_path))
    for before, after in zip(rows, marked, strict=True):
        rule = rule_for(before)
        for order in sample_orders(
            5, 0, before.id, len(before.images), 3, movable=movable_slots(before, rule)
        ).tolist():
            try:
                expected = permute(before, order, rule)
            except CannotPermute:
                continue
            permuted = permute(after, order, rule)
            assert (permuted.question, permuted.answer) == (expected.question, expected.answer)


def test_what_a_row_says_stays_and_what_is_not_known_is_left_open(tmp_path):
    rows = [
        example(0, source=NLVR2, question=BOTH, metadata={"change_needed": True, "level": 1}),
        example(1, source=NLVR2, question=BOTH, metadata={"level": 1}),
        bad_row(),
        example(2, source="unheard of"),
    ]
    outcomes = run_stage(check_orders, rows, OrderConfig(), tmp_path)
    assert told(outcomes) == ["given_true", "rule_false", "missing_image", "unknown"]
    given, by_rule, unknown = kept(outcomes)
    assert (given, unknown) == (rows[0], rows[3])
    assert by_rule.metadata == {"level": 1, "change_needed": False}


def test_rules_of_ones_own_decide(tmp_path):
    rules = {"mine": {"movable": "all", "answer": "invariant", "text": "rewrite"}}
    rows = [example(0, source="mine", question=BOTH)]
    outcomes = run_stage(check_orders, rows, OrderConfig(rules=rules), tmp_path)
    assert told(outcomes) == ["rule_false"]


def test_the_endpoint_is_asked_only_where_the_rules_do_not_know(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    answers = {
        "one": {"answer_depends_on_order": True},
        "two": {"answer_depends_on_order": False},
        "three": {"answer_depends_on_order": "yes"},
    }

    def answer(prompt):
        number = next(number for number in answers if f"Question {number}" in prompt)
        return json.dumps(answers[number])

    rows = [
        example(n, source="unheard of", question=f"<image><image> Question {number}?")
        for n, number in enumerate(answers)
    ]
    rows = [example(7, source=NLVR2, question=BOTH), *rows]
    with chat_server(answer=answer) as chat:
        outcomes = run_stage(
            check_orders, rows, OrderConfig(ask=True), tmp_path, endpoint=chat.config()
        )
        with chat_server(answer=answer, trouble=[400]) as other:
            refused = run_stage(
                check_orders, rows[1:2], OrderConfig(ask=True), tmp_path / "b",
                endpoint=other.config(),
            )  # fmt: skip
    assert told(outcomes) == ["rule_false", "endpoint_true", "endpoint_false", "malformed"]
    assert [row.metadata.get("change_needed") for row in kept(outcomes)] == [
        False, True, False, None,
    ]  # fmt: skip
    assert sum(chat.prompts.values()) == 3
    assert told(refused) == ["refused"]
