"""One step's rollouts, made of scripted parts: masks, keys, orders and weights.

Faults that two runs do not show when they are compared with each other, and the tests that do:

=====================================================  =============================================
rollouts without a grade in the loss mask              test_rollouts_without_a_grade_have_no_weight
fillers in place of missing groups                     test_a_batch_at_the_cap_has_fewer_groups
step 0 given to the order sampler at every step        test_an_example_is_shown_in_other_orders_...
one stream for an example that comes twice in a step   test_an_example_that_comes_twice_has_...
=====================================================  =============================================

In ``tests/experience/test_rewarded_rollouts.py``, ``tests/training/test_reinforce.py``,
``tests/update/test_policy_gradient_loss.py`` and ``tests/training/test_loop.py``:

=====================================================  =============================================
``stopped`` ignored by the overlong penalty            test_responses_that_are_cut_off_pay_...
the key of the run not folded with the step            test_every_step_draws_with_a_key_of_its_own
importance weights of the new log-probabilities        test_importance_weights_compare_the_old_...
a stale metric attached to a checkpoint                test_a_checkpoint_has_the_accuracy_of_its_...
``>`` for ``>=`` at ``max_skipped``                    test_a_run_fails_when_the_updates_skipped_...
=====================================================  =============================================
"""

from dataclasses import replace

import jax
import numpy as np
import pytest

from perl_jax.data.pipeline.pipeline import Taken
from perl_jax.experience.collect import Collector
from perl_jax.experience.config import GroupFilterConfig, PermutationConfig, RolloutConfig
from perl_jax.objectives import Objective
from perl_jax.permutation import Schedule, orders_for, rules_from_config
from perl_jax.rewards import RewardConfig, Rewarder
from perl_jax.rollout import Strategy
from perl_jax.types import ImagePatches
from tests.experience.scripted import SOURCE, Grader, Sampler, example

RULES = {SOURCE: {"text": "keep"}}
IN_ORDER = PermutationConfig(num_orders=0, rules=RULES)
PERMUTED = PermutationConfig(num_orders=1, schedule=Schedule("constant"), rules=RULES)
UNFILTERED = GroupFilterConfig(enabled=False)


class Rows:
    """Examples in this order; ``place`` is the number of the next one."""

    def __init__(self, examples):
        self.examples, self.place = examples, 0

    def take(self, count):
        taken = self.examples[self.place : self.place + count]
        assert len(taken) == count
        self.place += count
        return Taken(taken, [0] * count)

    def put_back(self, count):
        self.place -= count


def collector(examples, responses, sampler=None, **changes):
    """A collector of two rollouts of up to four tokens; examples come in this order."""
    rows = Rows(examples)
    settings = {
        "rollout": RolloutConfig(groups=2, num_rollouts=2, max_new_tokens=4),
        "permutation": IN_ORDER,
        "filtering": UNFILTERED,
        "objective": Objective(),
        "response_lengths": (6,),
        "seed": 3,
        "total_steps": 100,
    }
    return Collector(
        sampler or Sampler(responses),
        rows.take,
        rows.put_back,
        Rewarder(RewardConfig(weights={"accuracy": 1.0}, workers=1), Grader(), 4),
        lambda groups, responses: 10 * len(groups) + int(responses.lengths.sum()),
        **{**settings, **changes},
    )


def outcomes(collected):
    return [row["outcome"] for row in collected.records]


def orders_in(collected):
    return [row["orders"] for row in collected.records]


def collect(collector, step=0, seed=0, past=None):
    return collector.collect("policy", step, jax.random.key(seed), past)


def adds(made):
    """The ids of the groups that were added at once, of all steps."""
    return [ids for session in made.sampler.sessions for ids in session.adds]


MIXED = {name: ["1.", "0.", "0.", "1."] for name in "pqrstu"}
P_AND_Q = [example("p"), example("q")]


# Masks and weights.


@pytest.mark.reliability("70")
def test_every_token_of_a_graded_response_counts_and_none_after_it():
    made = collector(P_AND_Q, {"p": ["321.", "0."], "q": ["21", "4440"]})
    batch = collect(made).batch
    assert batch.lengths.tolist() == [[[4, 2]], [[2, 4]]]
    assert batch.mask.sum(-1).tolist() == [[[4, 2]], [[2, 4]]]
    assert batch.mask.shape[-1] == 6  # the ladder's
    assert batch.logprobs[batch.mask].tolist() == [-0.5] * 12
    # Two rollouts, one of them right, lie half of the difference from their mean: 0.5 / sqrt(0.5).
    np.testing.assert_allclose(batch.advantages, [[[0.7071, -0.7071]]] * 2, atol=1e-4)


def test_advantages_are_those_of_the_objective():
    apart = Objective(baseline="leave_one_out", scale="none")
    responses = {"p": ["1.", "0."], "q": ["1.", "1."]}
    batch = collect(collector(P_AND_Q, responses, objective=apart)).batch
    # Of right and wrong: 1 - 0 and 0 - 1.
    assert batch.advantages.tolist() == [[[1.0, -1.0]], [[0.0, 0.0]]]
    wide = Objective(ddof=0)
    batch = collect(collector(P_AND_Q, responses, objective=wide)).batch
    np.testing.assert_allclose(batch.advantages[0], [[1, -1]], atol=1e-4)  # 0.5 / 0.5


@pytest.mark.reliability("75")
def test_rollouts_without_a_grade_have_no_weight():
    three = RolloutConfig(groups=2, num_rollouts=3, max_new_tokens=4)
    responses = {"p": ["1.", "449.", "0."], "q": ["1.", "0.", "0."]}
    batch = collect(collector(P_AND_Q, responses, rollout=three)).batch
    assert batch.mask.any(-1).tolist() == [[[True, False, True]], [[True, True, True]]]
    # It is not in the mean and the deviation of its group either.
    np.testing.assert_allclose(batch.advantages[0], [[0.7071, 0.0, -0.7071]], atol=1e-4)


def test_a_batch_at_the_cap_has_fewer_groups():
    responses = {"p": ["1.", "1."], "q": ["0.", "1."]}
    made = collector(P_AND_Q, responses, filtering=GroupFilterConfig(max_draws=1))
    collected = collect(made)
    batch = collected.batch
    assert [group.id for group in batch.groups] == ["1/q"]
    assert batch.mask.any(-1).tolist() == [[[True, True]]]
    assert batch.rewards.tolist() == [[[0, 1]]]
    np.testing.assert_allclose(batch.advantages, [[[-0.7071, 0.7071]]], atol=1e-4)
    assert outcomes(collected) == ["too_easy", "kept"]
    counts = ("filter/drawn", "filter/kept", "filter/too_easy", "filter/cap_reached")
    assert [collected.metrics[name] for name in counts] == [2, 1, 1, 1]


def test_an_order_that_an_example_does_not_have_has_no_weight():
    fixed = example("q", "a")  # One image has no other order.
    responses = {"p": ["1.", "0.", "1.", "0."], "q": ["1.", "0."]}
    smaller = replace(PERMUTED, constant_groups=False)
    batch = collect(collector([example("p"), fixed], responses, permutation=smaller)).batch
    assert batch.lengths.tolist() == [[[2, 2], [2, 2]], [[2, 2], [0, 0]]]
    assert batch.mask.any(-1).tolist() == [[[True] * 2] * 2, [[True] * 2, [False] * 2]]
    assert batch.advantages[1, 1].tolist() == [0.0, 0.0]


def test_all_orders_of_an_example_share_one_baseline():
    responses = {"p": ["1.", "1.", "1.", "0."], "q": ["1.", "0.", "1.", "0."]}
    batch = collect(collector(P_AND_Q, responses, permutation=PERMUTED)).batch
    # Three right of four: (1 - 0.75) / 0.5 and (0 - 0.75) / 0.5.
    np.testing.assert_allclose(batch.advantages[0], [[0.5, 0.5], [0.5, -1.5]], atol=1e-4)


@pytest.mark.reliability("90")
def test_there_is_no_batch_where_no_group_informs():
    responses = {"p": ["1.", "1."], "q": ["0.", "0."]}
    collected = collect(collector(P_AND_Q, responses, filtering=GroupFilterConfig(max_draws=1)))
    assert collected.batch is None
    assert outcomes(collected) == ["too_easy", "too_hard"]
    assert "advantage/std" not in collected.metrics


# Draws.


@pytest.mark.reliability("90")
def test_groups_that_do_not_inform_are_replaced_by_the_next_examples():
    examples = [example(name) for name in "pqrstu"]
    responses = {**MIXED, "p": ["1.", "1."], "q": ["1.", "0."], "r": ["0.", "0."]}
    made = collector(examples, responses, filtering=GroupFilterConfig(max_draws=3))
    collected = collect(made)
    assert [group.id for group in collected.batch.groups] == ["1/q", "3/s"]
    assert [row["id"] for row in collected.records] == ["p", "q", "r", "s"]
    assert outcomes(collected) == ["too_easy", "kept", "too_hard", "kept"]
    assert collected.metrics["filter/drawn"] == 4


def test_a_step_draws_with_the_policy_and_the_key_of_the_step():
    made = collector(P_AND_Q, MIXED)
    collect(made, seed=5)
    (session,) = made.sampler.sessions
    arguments = session.arguments
    assert arguments["model"] == "policy"
    assert arguments["key"] == jax.random.key(5)
    assert (arguments["num_rollouts"], arguments["max_new_tokens"]) == (2, 4)
    assert arguments["most_orders"] == 2


@pytest.mark.reliability("18")
def test_an_example_that_comes_twice_has_streams_of_its_own():
    """The sampler's streams follow from the key and the id of the group, see `Sampler.sample`."""
    always_right = {"p": ["1.", "1."]}
    made = collector([example("p")] * 4, always_right, filtering=GroupFilterConfig(max_draws=2))
    collect(made)
    ids = [id for at_once in adds(made) for id in at_once]
    assert len(set(ids)) == len(ids) == 4


def test_without_the_filter_exactly_the_batch_is_drawn_at_once():
    made = collector([example(name) for name in "pqrs"], MIXED)
    assert collect(made).metrics["filter/surplus"] == 0
    assert adds(made) == [["0/p", "1/q"]]


class Pictures:
    """An album that only lists the images that it is given."""

    def __init__(self):
        self.held, self.written = [], []

    def add(self, images):
        self.held += [image.digest for image in images if image.digest not in self.held]

    def write(self):
        self.written.append(sorted(self.held))


@pytest.mark.parametrize(("pictured", "shown"), [(None, "pqrs"), (3, "pqr"), (1, "p"), (0, "")])
def test_pictures_are_kept_of_the_groups_of_the_step_and_not_of_surplus(pictured, shown):
    examples = [example(name, images=name) for name in "pqrstu"]
    responses = {**MIXED, "p": ["1.", "1."], "r": ["0.", "0."]}
    album = Pictures()
    wide = GroupFilterConfig(max_draws=3)
    made = collector(examples, responses, filtering=wide, album=album, pictured=pictured)
    encode = made.sampler.processor.encode

    def with_pictures(text, images):
        patches = (ImagePatches(np.ones((4, 2), np.float32), (2, 2), digest=one) for one in images)
        return replace(encode(text, images), images=tuple(patches))

    made.sampler.processor.encode = with_pictures
    collect(made)
    assert album.written == [list(shown)]


# Orders.


def orders_at(step, permutation=PERMUTED):
    return orders_in(collect(collector(P_AND_Q, MIXED, permutation=permutation), step))


def test_an_example_is_shown_in_other_orders_at_another_step():
    rule = rules_from_config(RULES)[SOURCE]
    found = {step: orders_at(step) for step in range(4)}
    for step, orders in found.items():
        for one, given in zip(P_AND_Q, orders, strict=True):
            want = orders_for(one, rule, seed=3, step=step, rate=1.0, num_orders=1)
            assert given == want.orders.tolist()
    assert len({str(orders) for orders in found.values()}) == 4
    assert orders_at(2) == found[2]


def test_prompts_show_the_images_in_the_orders_of_the_record():
    made = collector(P_AND_Q, MIXED, permutation=PERMUTED)
    orders = orders_in(collect(made, step=1))
    (session,) = made.sampler.sessions
    for group, of_example in zip(session.groups, orders, strict=True):
        assert of_example[0] == [0, 1, 2, 3]
        shown = [[chr(token) for token in prompt.tokens] for prompt in group.prompts]
        assert shown == [["abcd"[slot] for slot in order] for order in of_example]


def test_the_rate_follows_the_schedule_of_the_whole_run():
    linear = PermutationConfig(num_orders=1, schedule=Schedule("linear"), rules=RULES)
    for step, rate in ((0, 1.0), (75, 0.25)):
        made = collector(P_AND_Q, MIXED, permutation=linear)
        assert collect(made, step).metrics["permutation/rate"] == rate


# What is measured.


@pytest.mark.reliability("89")
def test_metrics_are_means_over_all_rollouts_that_were_drawn():
    responses = {"p": ["1.", "4441"], "q": ["0.", "49."]}
    collected = collect(collector(P_AND_Q, responses))
    metrics = collected.metrics
    assert metrics["reward/mean"] == metrics["reward/accuracy"] == pytest.approx(2 / 3)
    assert (metrics["reward/format"], metrics["reward/overlong"]) == (0, pytest.approx(-1 / 3))
    assert metrics["reward/unscored"] == 1 / 4
    assert (metrics["rollout/length"], metrics["rollout/length_max"]) == ((2 + 4 + 2 + 3) / 4, 4)
    assert metrics["rollout/truncated"] == 1 / 4
    # The four tokens of a prompt count for each of its rollouts.
    assert metrics["rollout/tokens"] == 11 + 4 * 4
    assert collected.operations == 10 * 2 + 11
    assert [row["reward"] for row in collected.records] == [[[1, 1]], [[0, None]]]


def test_the_digest_of_a_record_is_that_of_the_tokens_without_their_padding():
    def digest(response, ladder):
        responses = {"p": [response, "0."], "q": ["1.", "0."]}
        collected = collect(collector(P_AND_Q, responses, response_lengths=(ladder,)))
        return collected.records[0]["tokens_sha256"]

    assert digest("41.", 6) == digest("41.", 8)
    assert len({digest(one, 6) for one in ("41.", "31.", "411", "417")}) == 3  # 417 is 41.


def test_rollouts_are_drawn_as_configured():
    drawn = RolloutConfig(
        groups=2, num_rollouts=2, max_new_tokens=4, temperature=0.5, top_k=3, stop=("x",)
    )
    made = collector(P_AND_Q, {"p": ["1.", "0."], "q": ["1.", "0."]}, rollout=drawn)
    collect(made)
    assert made.sampler.sessions[0].arguments["strategy"] == Strategy(
        temperature=0.5, top_k=3, stop=("x",)
    )
