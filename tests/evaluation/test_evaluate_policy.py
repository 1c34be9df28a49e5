"""Evaluations of real policies: their numbers are those of their records, and these are true."""

import dataclasses
import json
import math
from collections import defaultdict

import numpy as np
import pytest

from perl_jax.data.sources.digits import Digits, DigitsConfig
from perl_jax.evaluation.config import EvaluationConfig
from perl_jax.evaluation.consistency import orders_of
from perl_jax.evaluation.evaluate import evaluate
from perl_jax.permutation import permute, rule_for
from perl_jax.rollout import Group, Sampler, Strategy
from tests.evaluation.conftest import CONFIG, RULES

pytestmark = pytest.mark.usefixtures("compiled_quickly")

GREEDY = EvaluationConfig(max_new_tokens=8)
SAMPLED = EvaluationConfig(max_new_tokens=8, temperature=1.0, num_rollouts=2)


@pytest.fixture(scope="module")
def greedy(constant, examples, grader):
    return evaluate(*constant, examples, rules=RULES, grader=grader, config=GREEDY)


@pytest.fixture(scope="module")
def sampled(constant, examples, grader):
    return evaluate(*constant, examples, rules=RULES, grader=grader, config=SAMPLED, seed=1)


def with_other_orders(found, source=""):
    """How many examples of a source, or of a kind of it, were asked under more than one order."""
    named = [one for one in found.records if f"{one.source}/{one.kind}/".startswith(source)]
    return len({one.id for one in named if one.consistent is not None})


def test_a_policy_that_always_says_a_scores_what_one_computes_by_hand(greedy):
    assert {record.response for record in greedy.records} == {r"\boxed{A}"}
    assert (greedy.examples, with_other_orders(greedy)) == (11, 9)
    # Right: two of six picks, two of three claims, the fixed and the single one.
    assert greedy.accuracy == 6 / 11
    # Over all orders a picture is first in a third of them; claims and the rest stay.
    assert greedy.accuracy_all_orders == pytest.approx((6 / 3 + 2 + 1 + 1) / 11)
    # The claims are rewritten and keep their letters; no pick has its image always first.
    assert greedy.order_consistency == 3 / 9
    # Right under every order: what no order changes.
    assert greedy.all_orders_right == (2 + 1 + 1) / 11
    # The first image of a pick stays in one of five other orders.
    assert greedy.flip_rate == pytest.approx((6 * 4 / 5 + 0) / 9)
    assert math.isnan(greedy.noise_floor)
    # A is named always, and right in a third of the picks and in two of three claims.
    assert greedy.slot_bias == pytest.approx(1 - (6 / 3 + 2) / 9)
    assert (greedy.length, greedy.truncated, greedy.unscored) == (6, 0, 0)


def test_sources_and_their_kinds_have_scores_of_their_own(greedy):
    found = {
        name: (s.accuracy, s.order_consistency, s.examples, with_other_orders(greedy, name))
        for name, s in greedy.by_source.items()
    }
    assert found.pop("mixed/fixed")[0] == 1.0
    assert found == {
        "pick": (2 / 6, 0.0, 6, 6),
        "mixed": (4 / 5, 1.0, 5, 3),
        "mixed/claim": (2 / 3, 1.0, 3, 3),
    }
    assert math.isnan(greedy.by_source["mixed/fixed"].order_consistency)


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def test_the_numbers_of_a_random_policy_are_those_of_its_records(sampled, tmp_path):
    sampled.write_records(tmp_path / "records.jsonl")
    rows = read(tmp_path / "records.jsonl")
    assert len({row["prediction"] for row in rows}) == 3

    own, everywhere, meant, same, changed, noise = (defaultdict(list) for _ in range(6))
    for row in rows:
        letter, in_own_order = row["prediction"], row["order"] == sorted(row["order"])
        right = float(row["response"] == rf"\boxed{{{row['answer']}}}")
        assert row["grade"]["score"] == right
        everywhere[row["id"]].append(right)
        if in_own_order:
            own[row["id"]].append(right)
        # What the letter stands for: an image, or one of two options in words.
        options = row["order"] if row["source"] == "pick" else ["True", "False"]
        meant[row["id"], row["rollout"]].append(dict(zip("ABC", options, strict=False)).get(letter))
    for (id, _), answers in meant.items():
        if len(answers) > 1:
            same[id].append(len(set(answers)) == 1 and None not in answers)

        own_order = [meant[id, rollout][0] for rollout in range(2)]
        # A letter of no option means nothing, whatever is answered under another order.
        changed[id] += [one != mine or mine is None for one in answers[1:] for mine in own_order]
        if len(answers) > 1:
            noise[id].append(own_order[0] != own_order[1])

    def mean(parts):
        return np.mean([np.mean(part) for part in parts.values()])

    assert sampled.accuracy == pytest.approx(mean(own), abs=1e-12)
    assert sampled.accuracy_all_orders == pytest.approx(mean(everywhere), abs=1e-12)
    assert sampled.order_consistency == pytest.approx(mean(same), abs=1e-12)
    changed = {id: flips for id, flips in changed.items() if flips}
    assert sampled.flip_rate == pytest.approx(mean(changed), abs=1e-12)
    assert sampled.noise_floor == pytest.approx(mean(noise), abs=1e-12)
    assert sampled.flip_rate > 0
    assert (sampled.examples, with_other_orders(sampled)) == (len(own), len(same)) == (11, 9)
    assert 0 < sampled.order_consistency < 1
    assert len(rows) == 2 * (6 * 6 + 3 * 2 + 2)


def test_metrics_carry_the_documented_names(sampled):
    metrics = sampled.metrics()
    assert metrics == {
        "eval/accuracy": sampled.accuracy,
        "eval/accuracy_all_orders": sampled.accuracy_all_orders,
        "eval/order_consistency": sampled.order_consistency,
        "eval/all_orders_right": sampled.all_orders_right,
        "eval/flip_rate": sampled.flip_rate,
        "eval/noise_floor": sampled.noise_floor,
        "eval/slot_bias": sampled.slot_bias,
        "eval/length": 6.0,
        "eval/truncated": 0.0,
        "eval/unscored": 0.0,
        "eval/examples": 11.0,
        "eval/accuracy/pick": sampled.by_source["pick"].accuracy,
        "eval/accuracy/mixed": sampled.by_source["mixed"].accuracy,
        "eval/accuracy/mixed/claim": sampled.by_source["mixed/claim"].accuracy,
        "eval/accuracy/mixed/fixed": sampled.by_source["mixed/fixed"].accuracy,
        "eval/order_consistency/pick": sampled.by_source["pick"].order_consistency,
        "eval/order_consistency/mixed": sampled.by_source["mixed"].order_consistency,
        "eval/order_consistency/mixed/claim": sampled.by_source["mixed/claim"].order_consistency,
        **{
            f"eval/{name}/{source}": getattr(sampled.by_source[source], name)
            for name in ("flip_rate", "noise_floor", "slot_bias")
            for source in ("pick", "mixed", "mixed/claim")
        },
    }
    assert all(type(value) is float for value in metrics.values())
    summary = sampled.summary()
    assert summary == {
        "accuracy": sampled.accuracy,
        "order_consistency": sampled.order_consistency,
        "examples": 11,
    }
    assert {type(value) for value in summary.values()} == {float, int}


def test_the_same_policy_and_seed_give_the_same_records_and_another_seed_others(
    constant, examples, grader, sampled
):
    def again(seed):
        return evaluate(*constant, examples, rules=RULES, grader=grader, config=SAMPLED, seed=seed)

    assert again(1) == sampled
    assert [r.prediction for r in again(2).records] != [r.prediction for r in sampled.records]


def test_the_size_of_the_batch_changes_nothing(constant, examples, grader, sampled):
    config = dataclasses.replace(SAMPLED, batch=6)
    assert evaluate(
        *constant, examples, rules=RULES, grader=grader, config=config, seed=1
    ) == sampled  # fmt: skip


def test_every_order_is_asked_with_its_own_text_and_images(untrained, examples, grader):
    found = evaluate(*untrained, examples[:3], rules=RULES, grader=grader, config=GREEDY)
    assert [r.id for r in found.records] == ["pick-0"] * 6 + ["claim-0"] * 2 + ["pick-1"] * 6
    assert len({record.response for record in found.records}) > 10
    by_id = {example.id: example for example in examples}
    sampler, model = untrained
    processor, groups, records = sampler.processor, [], found.records[4:]
    for number, record in enumerate(records):
        own = by_id[record.id]
        shown = permute(own, record.order, rule_for(own, rules=RULES))
        assert record.answer == shown.answer
        groups.append(Group.of(str(number), [processor.encode(shown.question, shown.images)]))
    rollouts = sampler.sample(
        model, groups, num_rollouts=1, max_new_tokens=8, strategy=Strategy(temperature=0.0)
    )
    for g, record in enumerate(records):
        assert record.response == rollouts.texts(processor.decode)[g][0][0]
        assert record.tokens == rollouts.lengths[g, 0, 0]
        assert record.truncated == (not rollouts.stopped[g, 0, 0])


def test_an_image_is_encoded_once_for_all_orders(constant, examples, grader):
    encoded = []

    class Counted(Sampler):
        def sample(self, model, groups, **arguments):
            rollouts = super().sample(model, groups, **arguments)
            encoded.append((rollouts.stats["images"], rollouts.stats["orders"]))
            return rollouts

    sampler, model = constant
    counted = Counted(sampler.processor, CONFIG)
    evaluate(counted, model, examples[:2], rules=RULES, grader=grader, config=GREEDY)
    assert encoded == [(3 + 2, 6 + 2)]


def test_responses_that_are_cut_off_are_counted_and_have_no_answer(constant, examples, grader):
    config = EvaluationConfig(max_new_tokens=4)
    found = evaluate(*constant, examples[:2], rules=RULES, grader=grader, config=config)
    assert (found.length, found.truncated) == (4, 1)
    assert (found.accuracy, found.order_consistency) == (0, 0)
    assert {(r.prediction, r.grade.detail) for r in found.records} == {(None, "unclosed_box")}


def test_answers_are_drawn_as_configured(constant, examples, grader):
    config = dataclasses.replace(GREEDY, stop=("A",))
    found = evaluate(*constant, examples[:2], rules=RULES, grader=grader, config=config)
    assert {record.response for record in found.records} == {r"\boxed{A"}
    assert found.truncated == 0


def test_the_first_examples_are_asked_and_no_more(constant, examples, grader):
    config = dataclasses.replace(GREEDY, examples=3, num_orders=2)
    found = evaluate(*constant, iter(examples), rules=RULES, grader=grader, config=config, seed=7)
    assert list(dict.fromkeys(r.id for r in found.records)) == [e.id for e in examples[:3]]
    assert [r.id for r in found.records].count("pick-0") == 3
    assert [r.id for r in found.records].count("claim-0") == 2
    drawn = [[order for order, _ in orders_of(examples[0], RULES["pick"], 2, s)] for s in (7, 1)]
    assert [r.order for r in found.records[:3]] == drawn[0] != drawn[1]


def test_examples_with_one_id_stay_apart(constant, examples, grader):
    twin = dataclasses.replace(examples[0], images=examples[2].images, answer="B")
    trap = dataclasses.replace(examples[1], id="pick-0#2")
    asked = [examples[0], twin, trap, examples[0]]
    found = evaluate(*constant, asked, rules=RULES, grader=grader, config=GREEDY)
    names = list(dict.fromkeys(record.id for record in found.records))
    assert names == ["pick-0", "pick-0#2", "pick-0#2#2", "pick-0#3"]
    assert (found.examples, found.accuracy) == (4, 3 / 4)


def test_without_other_orders_no_rule_is_needed_and_consistency_is_left_out(
    constant, examples, grader
):
    stranger = dataclasses.replace(examples[0], source="stranger")
    config = dataclasses.replace(GREEDY, num_orders=0)
    found = evaluate(*constant, [stranger] * 8, grader=grader, config=config)
    assert (found.accuracy, with_other_orders(found), len(found.records)) == (1.0, 0, 8)
    assert found.records[0].consistent is None
    assert not any("consistency" in name for name in found.metrics())
    with pytest.raises(ValueError, match="stranger"):
        evaluate(*constant, [stranger], grader=grader, config=GREEDY)


def test_options_that_are_listed_are_part_of_the_prompt(untrained, grader, examples):
    question, *options = examples[0].question.split("\n")
    listed = dataclasses.replace(examples[0], question=question, options=tuple(options))
    inside, outside = (
        evaluate(*untrained, [one, examples[1]], rules=RULES, grader=grader, config=GREEDY)
        for one in (examples[0], listed)
    )
    assert [r.response for r in inside.records] == [r.response for r in outside.records]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": "No place for images"}, "example 'pick-0' of 'pick': 0 image placeholders"),
        ({"images": ("nowhere.png",) * 3}, "example 'pick-0' of 'pick': image: "),
        ({"answer": ""}, "example 'pick-0' of 'pick': the answer is empty"),
    ],
)
def test_an_example_that_cannot_be_asked_is_named(constant, examples, grader, change, message):
    broken = dataclasses.replace(examples[0], **change)
    with pytest.raises(ValueError, match=message):
        evaluate(*constant, [broken], rules=RULES, grader=grader, config=GREEDY)


def test_nothing_to_evaluate_is_an_error(constant, grader):
    with pytest.raises(ValueError, match="examples: expected at least one"):
        evaluate(*constant, [], grader=grader, config=GREEDY)


def test_the_digits_of_the_demo_are_asked_under_all_their_orders(constant, grader):
    source = Digits(DigitsConfig(split="held_out", rows=8))
    config = EvaluationConfig(max_new_tokens=8, num_orders=100)
    found = evaluate(*constant, source, grader=grader, config=config)
    orders = defaultdict(int)
    for record in found.records:
        orders[record.id] += 1
    for example in source:
        movable = len(example.images) - (example.metadata["question_type"] == "match")
        assert orders[example.id] == math.factorial(movable)
    # Statements keep their letter; where letters stand for images, and in orders, A is not steady.
    assert found.by_source["digits/position"].order_consistency == 1.0
    for kind in ("property", "match", "order"):
        assert found.by_source[f"digits/{kind}"].order_consistency == 0.0


def test_an_evaluation_tells_how_many_examples_are_asked(constant, examples, grader):
    told = []
    config = dataclasses.replace(GREEDY, batch=6)
    evaluate(
        *constant, examples, rules=RULES, grader=grader, config=config,
        activity=lambda *what: told.append(what),
    )  # fmt: skip
    assert {(what, of) for what, _, of in told} == {("evaluating", 11)}
    counts = [done for _, done, _ in told]
    assert counts == sorted(counts)
    assert {0, 6, 11} <= set(counts)
    # Several orders of an example, and several calls of the sampler, are told of one by one.
    assert len(set(counts)) > 4


def test_an_answer_is_graded_in_the_form_that_its_question_asks_for(constant, examples, grader):
    asked = []

    class Recorder:
        def grade(self, responses, answers):
            asked.extend(answers)
            return grader.grade(responses, answers)

    both = dataclasses.replace(examples[-1], answer="A, B", metadata={"answer_form": "set"})
    found = evaluate(*constant, [both], rules=RULES, grader=Recorder(), config=GREEDY)
    assert set(asked) == {r"\{A, B\}"}
    assert {record.answer for record in found.records} == {"A, B"}
