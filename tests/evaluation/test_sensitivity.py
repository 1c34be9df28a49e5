"""The order statistics of scripted policies, by hand."""

import itertools
import json
import math
import random

import pytest

from perl_jax.evaluation.answered import Answered
from perl_jax.evaluation.sensitivity import order_statistics
from perl_jax.permutation import Rule, permute
from perl_jax.types import Example

PICK = Rule(movable="option_images", answer="remap_letter")
ORDERING = Rule(answer="relabel_order")
REFERENCE = Rule(answer="reference")
SAME = Rule()
ALL = tuple(itertools.permutations(range(3)))


def pick(truth="A", id="x"):
    question = "Which image shows a cat?\nA. <image>\nB. <image>\nC. <image>"
    return Example(id, "pick", question, ("x", "y", "z"), truth)


def asked(own, rule, policy, orders=ALL, n=1, task=None, again=(), scores=None):
    """An example answered by a function of the example under each order and of the rollout."""
    examples = tuple(permute(own, order, rule) for order in orders)
    predictions = [[policy(example, m) for m in range(n)] for example in examples]
    right = [
        [float(one == example.answer) for one in of_order]
        for example, of_order in zip(examples, predictions, strict=True)
    ]
    return Answered(
        own.id, task, rule, tuple(orders), examples, predictions, scores or right, again
    )


def by_content(example, _):
    return example.answer


def always(answer):
    return lambda example, _: answer


def values(found):
    return {
        name: part["value"] for name, part in found.items() if isinstance(part, dict) and part
        and "value" in part
    }  # fmt: skip


def biases(found):
    return {one["slot"]: one["bias"]["value"] for one in found["slots"]}


def test_a_policy_that_answers_by_content_never_flips_and_has_no_bias():
    answered = [
        asked(pick(truth, f"{n}-{truth}"), PICK, by_content, n=2)
        for n in range(4)
        for truth in "ABC"
    ]
    found = order_statistics(answered)
    assert values(found) == {
        "accuracy_own_order": 1.0,
        "accuracy_over_orders": 1.0,
        "accuracy_under_all_orders": 1.0,
        "flip_rate": 0.0,
        "noise_floor": 0.0,
        "flip_excess": 0.0,
        "missing": 0.0,
    }
    assert biases(found) == {1: 0.0, 2: 0.0, 3: 0.0}
    assert found["flip_rate"] == {"value": 0.0, "low": 0.0, "high": 0.0, "examples": 12}


def test_a_policy_that_always_names_the_first_slot_flips_wherever_its_image_moves():
    found = order_statistics([asked(pick("B"), PICK, always("A"), n=2)])
    assert values(found) == pytest.approx(
        {
            "accuracy_own_order": 0.0,
            "accuracy_over_orders": 1 / 3,
            "accuracy_under_all_orders": 0.0,
            "flip_rate": 4 / 5,  # of the other orders only (0, 2, 1) leaves the first image
            "noise_floor": 0.0,
            "flip_excess": 4 / 5,
            "missing": 0.0,
        }
    )
    assert [one["slot"] for one in found["slots"]] == [1, 2, 3]
    assert [one["named"]["value"] for one in found["slots"]] == [1, 0, 0]
    assert [one["right"]["value"] for one in found["slots"]] == pytest.approx([1 / 3] * 3)
    assert biases(found) == pytest.approx({1: 2 / 3, 2: -1 / 3, 3: -1 / 3})


def test_the_same_letter_for_the_same_words_is_no_flip():
    claim = "<image><image>The first image shows a cat.\nA. True\nB. False"
    own = Example("claim", "claim", claim, ("x", "y"), "B")
    found = order_statistics([asked(own, SAME, always("A"), ((0, 1), (1, 0)))])
    assert found["flip_rate"]["value"] == 0
    # The first option is always named, and never right.
    assert biases(found) == {1: 1.0, 2: -1.0}


def test_a_coin_flips_as_often_when_the_same_order_is_asked_again():
    rng = random.Random(1)
    answered = [
        asked(pick("ABC"[n % 3], str(n)), PICK, lambda *_: rng.choice("ABC"), ALL[:3], n=4)
        for n in range(200)
    ]
    found = order_statistics(answered)
    for name in ("flip_rate", "noise_floor"):
        part = found[name]
        assert part["value"] == pytest.approx(2 / 3, abs=0.03)
        assert part["low"] < 2 / 3 < part["high"]
        assert part["high"] - part["low"] < 0.1
    assert found["flip_excess"]["low"] < 0 < found["flip_excess"]["high"]
    assert all(one["bias"]["low"] < 0 < one["bias"]["high"] for one in found["slots"])


def test_all_pairs_of_answers_under_two_orders_count():
    turned = (1, 2, 0)  # what stood first is last now
    answered = asked(
        pick(), PICK, lambda e, m: ("AB" if e.answer == "A" else "CC")[m], (ALL[0], turned), n=2
    )
    # A is C now and B is A: of four pairs, (A, C) twice are the same.
    found = order_statistics([answered])
    assert found["flip_rate"]["value"] == 2 / 4
    assert found["noise_floor"]["value"] == 1  # A and B
    assert found["flip_excess"]["value"] == -1 / 2


def test_answers_given_again_are_compared_with_the_first_ones():
    one = asked(pick(), PICK, always("A"), again=("A", "(A)", "B", None))
    assert order_statistics([one])["noise_floor"]["value"] == 2 / 4
    alone = order_statistics([asked(pick(), PICK, always("A"))])
    assert alone["noise_floor"] == alone["flip_excess"] == {
        "value": None, "low": None, "high": None, "examples": 0,
    }  # fmt: skip


def test_a_missing_answer_flips_across_orders_but_two_of_the_same_order_are_alike():
    for policy in (always(None), always("banana")):
        found = order_statistics([asked(pick(), PICK, policy, n=2)])
        assert (found["flip_rate"]["value"], found["noise_floor"]["value"]) == (1, 0)
        assert found["missing"]["value"] == float(policy(None, 0) is None)
    lost = order_statistics([asked(pick(), PICK, lambda e, m: "A" if m else None, n=2)])
    assert lost["missing"]["value"] == 1 / 2
    assert lost["noise_floor"]["value"] == 1
    # Of four pairs of each order three lack an answer; (A, A) is the same under one order of five.
    assert lost["flip_rate"]["value"] == pytest.approx(1 - 1 / 4 / 5)


def test_an_order_is_written_anew_and_names_no_slot():
    question = "<image><image><image>Put the images in order."
    own = Example("o", "o", question, ("x", "y", "z"), "2→1→3")
    found = order_statistics([asked(own, ORDERING, by_content)])
    assert found["flip_rate"]["value"] == 0
    assert found["slots"] == []
    # 2→1→3 under the own order is the same text only where no image has moved.
    assert order_statistics([asked(own, ORDERING, always("2, 1, 3"))])["flip_rate"]["value"] == 1


def test_free_answers_agree_as_they_are_graded():
    own = Example("w", "w", "<image><image>How many cats are there?", ("x", "y"), "3")
    both = ((0, 1), (1, 0))

    def pair(first, second):
        shown, scores = tuple(permute(own, order, SAME) for order in both), [[0.0], [0.0]]
        one = Answered("w", None, SAME, both, shown, [[first], [second]], scores, (second,))
        found = order_statistics([one])
        assert found["slots"] == []
        return found["flip_rate"]["value"], found["noise_floor"]["value"]

    for first, second in (("0.50", "1/2"), ("Two cats", r"\text{two cats}"), ("1234", "1,234")):
        assert pair(first, second) == (0, 0)
    assert pair("3", "4") == (1, 1)
    assert pair("x+y", "y+x") == (1, 1)  # only mathematics could tell


def test_a_grader_tells_that_expressions_are_the_same(grader):
    question = "<image><image>What is the sum of the two numbers in both images?"
    own = Example("w", "w", question, ("x", "y"), "3")
    both = ((0, 1), (1, 0))
    shown = tuple(permute(own, order, SAME) for order in both)
    for other, flips in (("y+x", 0), ("y-x", 1), (r"\frac{", 1)):
        for pair in ([["x+y"], [other]], [[other], ["x+y"]]):
            one = Answered("w", None, SAME, both, shown, pair, [[0.0], [0.0]])
            assert order_statistics([one], grader=grader)["flip_rate"]["value"] == flips


def test_an_answer_may_name_an_image():
    question = "<image><image><image>Which image shows a cat?"
    own = Example("r", "r", question, ("x", "y", "z"), "the second image")
    found = order_statistics([asked(own, REFERENCE, always("1"))])
    assert found["flip_rate"]["value"] == 4 / 5
    assert biases(found) == pytest.approx({1: 2 / 3, 2: -1 / 3, 3: -1 / 3})


def test_examples_with_one_order_are_not_counted():
    single = Example("s", "s", "<image>Is it left?\nA. Yes\nB. No", ("x",), "A")
    one = asked(single, SAME, always("B"), ((0,),), n=2)
    found = order_statistics([one, asked(pick(), PICK, by_content)])
    assert (found["examples"], found["permuted"]) == (2, 1)
    assert found["accuracy_own_order"]["value"] == 1
    assert all(part["examples"] <= 1 for part in found.values() if isinstance(part, dict) and part)
    alone = order_statistics([one])
    assert set(values(alone).values()) == {None}
    assert (alone["examples"], alone["permuted"], alone["slots"]) == (1, 0, [])


def test_tasks_have_statistics_of_their_own():
    answered = [
        asked(pick(id="a"), PICK, by_content, task="two"),
        asked(pick(id="b"), PICK, always("A"), task="one"),
        asked(pick(id="c"), PICK, always("A"), task="one"),
        asked(pick(id="d"), PICK, always("A")),
    ]
    found = order_statistics(answered)
    assert list(found["by_task"]) == ["one", "two"]
    one, two = found["by_task"]["one"], found["by_task"]["two"]
    assert (one["examples"], two["examples"], found["examples"]) == (2, 1, 4)
    assert one["flip_rate"]["value"] == 4 / 5
    assert two["flip_rate"]["value"] == 0
    assert found["flip_rate"]["value"] == pytest.approx(3 / 5)
    assert "by_task" not in one
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_unknown_scores_are_left_out_of_accuracies_but_not_of_flips():
    both = (ALL[0], (1, 2, 0))
    scores = [[1.0, None, 1.0], [1.0, 1.0, 0.0]]
    found = order_statistics([asked(pick(), PICK, by_content, both, n=3, scores=scores)])
    assert found["accuracy_own_order"]["value"] == 1
    assert found["accuracy_over_orders"]["value"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["accuracy_under_all_orders"]["value"] == 1 / 2
    assert found["flip_rate"]["value"] == 0
    unknown = order_statistics([asked(pick(), PICK, by_content, scores=[[None]] * 6)])
    assert unknown["accuracy_over_orders"] == {
        "value": None, "low": None, "high": None, "examples": 0,
    }  # fmt: skip
    assert unknown["flip_rate"]["value"] == 0


def test_intervals_are_those_of_a_mean_and_repeat_with_the_seed():
    answered = [
        asked(pick(id=str(n)), PICK, by_content if n % 2 else always("B"), ALL[:2])
        for n in range(200)
    ]
    found = order_statistics(answered, seed=3)
    part = found["accuracy_own_order"]
    assert part["value"] == 1 / 2
    error = 1.96 * math.sqrt(0.25 / 200)
    assert part["low"] == pytest.approx(0.5 - error, abs=0.015)
    assert part["high"] == pytest.approx(0.5 + error, abs=0.015)
    assert order_statistics(answered, seed=3) == found
    assert order_statistics(answered, seed=4) != found


def test_what_does_not_fit_together_is_an_error():
    one = asked(pick(id="q7"), PICK, by_content)
    fields = (one.id, None, PICK, one.orders, one.examples)
    with pytest.raises(ValueError, match="'q7': expected as many examples, predictions and scores"):
        order_statistics([Answered(*fields, one.predictions[:5], one.scores)])
    with pytest.raises(ValueError, match="'q7': expected as many predictions and scores under"):
        order_statistics([Answered(*fields, [["A", "A"], *one.predictions[1:]], one.scores)])
    with pytest.raises(ValueError, match="'q7': expected its own order first"):
        order_statistics(
            [
                Answered(
                    one.id, None, PICK, one.orders[::-1], one.examples, one.predictions, one.scores
                )
            ]
        )
    assert order_statistics([])["examples"] == 0
