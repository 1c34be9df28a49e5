"""A step's groups as a stream: what finishes first and how work is cut change nothing.

Of the metrics, only costs may differ: times, decode steps, and what was drawn ahead.
"""

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import collecting
from perl_jax import filtering, hosts
from perl_jax.data.pipeline.pipeline import Taken
from perl_jax.experience.config import GroupFilterConfig, RolloutConfig
from perl_jax.experience.past import Past
from perl_jax.filtering import Bounds, PassRate
from perl_jax.mesh import BatchSharding
from tests.data.pipeline.many_hosts import Table
from tests.experience.scripted import Sampler, example
from tests.experience.test_collect import PERMUTED, Rows, collect, collector, outcomes

NAMES = [f"{n:03}" for n in range(400)]
EXAMPLES = [example(name) for name in NAMES]
STEPS = 6


def words(seed=0, rate=0.4):
    """Responses of one to four tokens; groups inform at this rate."""
    random = np.random.default_rng(seed)
    found = {}
    for name in NAMES:
        mixed = random.random() < rate
        grades = random.permutation([1, 0, 0, 1]) if mixed else [int(random.integers(2))] * 4
        lengths = random.integers(0, 3, 4)
        dots = random.choice(["", "."], 4)
        parts = zip(grades, lengths, dots, strict=True)
        found[name] = ["4" * length + str(grade) + dot for grade, length, dot in parts]
    return found


WORDS = words()
SIX = RolloutConfig(groups=6, num_rollouts=2, max_new_tokens=4)


def made(sampler=None, **changes):
    settings = {"rollout": SIX, "permutation": PERMUTED, "filtering": GroupFilterConfig()}
    return collector(EXAMPLES, WORDS, sampler, **{**settings, **changes})


def place_of(collector):
    """The number of the next example."""
    return collector.take.__self__.place


def run(collector, steps=STEPS, past=None, first=0):
    """The steps of a run: what each collected, and where the next one begins."""
    found, past = [], past or Past()
    for step in range(first, first + steps):
        collected = collect(collector, step, seed=step, past=past)
        past = collected.past
        found.append((collected, place_of(collector)))
    return found


COSTS = ("perf/", "filter/surplus", "filter/refills")


def result(steps):
    """All of the steps that may not depend on how the work is cut."""
    return [
        (
            None
            if one.batch is None
            else [np.asarray(value).tolist() for value in vars(one.batch).values()][1:],
            [] if one.batch is None else [group.id for group in one.batch.groups],
            {name: x for name, x in one.metrics.items() if not name.startswith(COSTS)},
            one.operations,
            one.records,
            one.past,
            place,
        )
        for one, place in steps
    ]


@pytest.fixture(scope="module")
def plain():
    return result(run(made()))


def test_the_scripted_run_has_groups_of_every_kind(plain):
    metrics = [metrics for _, _, metrics, *_ in plain]
    assert all(row["filter/kept"] == 6 for row in metrics)
    assert all(row["filter/too_easy"] and row["filter/too_hard"] for row in metrics)


@pytest.mark.parametrize("seed", range(4))
def test_groups_that_finish_in_another_order_make_the_same_step(plain, seed):
    random = np.random.default_rng(seed)
    late = dict(zip(NAMES, random.integers(0, 40, len(NAMES)).tolist(), strict=True))
    assert result(run(made(Sampler(WORDS, chunk=3, late=late)))) == plain


@pytest.mark.parametrize("orders", [1, 5, 24])
@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_how_many_run_at_once_and_for_how_long_changes_nothing(plain, orders, chunk):
    assert result(run(made(Sampler(WORDS, orders=orders, chunk=chunk)))) == plain


@pytest.mark.parametrize("margin", [-2.0, 0.5, 4.0])
def test_how_many_are_drawn_ahead_changes_nothing(plain, margin, monkeypatch):
    monkeypatch.setattr(filtering, "_MARGIN", max(margin, 0.0))
    monkeypatch.setattr(filtering, "_LEAST_MARGIN", margin)
    steps = run(made(Sampler(WORDS, chunk=2)))
    assert result(steps) == plain
    surplus = sum(one.metrics["filter/surplus"] for one, _ in steps)
    if margin == 4.0:
        assert surplus > 30


def test_surplus_examples_come_again_and_every_example_is_used_once():
    steps = run(made())
    assert sum(one.metrics["filter/surplus"] for one, _ in steps) > 0
    ids = [row["id"] for one, _ in steps for row in one.records]
    assert ids == NAMES[: len(ids)]
    for one, place in steps:
        assert one.records[-1]["id"] == NAMES[place - 1]
        assert one.records[-1]["outcome"] == "kept"
        assert one.metrics["filter/drawn"] == len(one.records)


def test_what_was_drawn_beyond_the_batch_is_dropped():
    step = made(Sampler(WORDS, orders=4, chunk=1))
    collected = collect(step)
    (session,) = step.sampler.sessions
    drawn, surplus = (int(collected.metrics[f"filter/{name}"]) for name in ("drawn", "surplus"))
    assert sum(map(len, session.adds)) == drawn + surplus
    assert surplus > 0
    assert session.dropped == list(range(drawn, drawn + surplus))
    assert not session.busy


def test_groups_are_graded_while_the_next_chunk_is_decoded():
    step = made(Sampler(WORDS, orders=4, chunk=2), rollout=replace(SIX, groups=12))
    beside, decode = [], step.sampler.processor.decode

    def watched(tokens):
        beside.append(step.sampler.sessions[-1].launched)
        return decode(tokens)

    step.sampler.processor.decode = watched
    collect(step)
    assert np.mean(beside) > 0.6
    # The last groups decide whether another chunk is needed.
    assert not beside[-1]


def test_examples_are_drawn_while_others_are_sampled():
    rows, launched = Rows(EXAMPLES), []
    step = made(Sampler(WORDS, chunk=2))

    def take(count):
        sessions = step.sampler.sessions
        launched.append(sessions[-1].launched)
        return rows.take(count)

    collect(replace(step, take=take, put_back=rows.put_back))
    assert len(launched) > 1
    assert launched == [False] + [True] * (len(launched) - 1)


def test_no_chunk_is_decoded_that_no_group_of_the_batch_needs():
    informs = {name: ["1.", "0.", "1.", "0."] for name in NAMES}
    sampler = Sampler(informs, orders=1000, chunk=1)
    sampler.late = dict.fromkeys(NAMES[6:], 50)
    step = collector(
        EXAMPLES, informs, sampler, rollout=SIX, permutation=PERMUTED, filtering=GroupFilterConfig()
    )
    # Two tokens each; the surplus would go on for fifty more.
    assert collect(step).metrics["perf/decode_steps"] == 2


def test_a_batch_has_room_for_every_order_whichever_groups_are_in_it():
    one_image = [example(name, "a") for name in "pqrs"]
    responses = {name: ["1.", "0."] for name in "pqrs"}
    smaller = replace(PERMUTED, constant_groups=False)
    collected = collect(collector(one_image, responses, permutation=smaller))
    assert collected.batch.tokens.shape == (2, 2, 2, 6)
    assert collected.batch.lengths.tolist() == [[[2, 2], [0, 0]]] * 2


# The cap, and steps without a batch.


def test_a_batch_at_the_cap_is_smaller_and_uses_all_examples():
    step = made(filtering=GroupFilterConfig(max_draws=1))
    (collected, place), *_ = run(step, 1)
    assert place == 6
    kept = collected.metrics["filter/kept"]
    assert 0 < kept < 6
    assert len(collected.batch.groups) == len(collected.batch.rewards) == kept
    assert collected.metrics["filter/cap_reached"] == 1
    assert collected.metrics["filter/surplus"] == 0
    assert outcomes(collected).count("kept") == kept


NOTHING = {name: [grade] * 4 for name, grade in zip(NAMES, ["1.", "0.", "9."] * 134, strict=False)}
EMPTY = GroupFilterConfig(max_draws=1, max_empty_steps=3, bounds=Bounds(0.25, 0.75))


def empty_run(steps, past=None):
    step = collector(EXAMPLES, NOTHING, rollout=SIX, filtering=EMPTY)
    return run(step, steps, past)


def test_steps_without_an_informative_group_are_counted():
    for (collected, place), empty in zip(empty_run(2), (1, 2), strict=True):
        assert collected.batch is None
        assert collected.metrics["filter/empty"] == 1
        assert (collected.past.empty_steps, place) == (empty, 6 * empty)
        collected.past.check(EMPTY)


def test_too_many_empty_steps_in_a_row_end_the_run_and_say_what_to_look_at():
    past = empty_run(3)[-1][0].past
    with pytest.raises(ValueError, match="no group informed in 3 steps in a row") as error:
        past.check(EMPTY)
    told = str(error.value)
    assert "of 18 groups 6 were too easy, 6 too hard, and 6 not graded" in told
    for part in ("filtering.bounds, (0.25, 0.75)", "26.8%", "filtering.max_draws", "data.train"):
        assert part in told
    past.check(replace(EMPTY, max_empty_steps=4))


def test_empty_steps_count_over_interruptions_and_a_batch_ends_the_count():
    past = Past.of(json.loads(json.dumps(empty_run(2)[-1][0].past.state())))
    after = empty_run(1, past)[-1][0].past
    assert after.empty_steps == 3
    assert after == empty_run(3)[-1][0].past
    collected = collect(made(), past=after)
    assert (collected.past.empty_steps, collected.past.too_easy) == (0, 0)
    assert collected.metrics["filter/empty"] == 0


# The estimate.


def test_a_resumed_run_draws_as_the_one_that_was_not_interrupted():
    step = made()
    whole = run(step)
    state = json.loads(json.dumps(whole[2][0].past.state()))
    resumed = made()
    resumed.take(whole[2][1])
    again = run(resumed, STEPS - 3, Past.of(state), first=3)
    assert result(again) == result(whole[3:])
    drawn = [session.adds for session in step.sampler.sessions]
    assert [session.adds for session in resumed.sampler.sessions] == drawn[3:]
    # Without its past, it would draw otherwise.
    fresh = made()
    fresh.take(whole[2][1])
    run(fresh, STEPS - 3, first=3)
    assert [session.adds for session in fresh.sampler.sessions] != drawn[3:]


def test_the_estimate_counts_the_groups_up_to_the_last_one_of_the_batch():
    (first, _), (second, _) = run(made(), 2)
    drawn = first.metrics["filter/drawn"]
    assert first.past.pass_rate == PassRate(6, drawn)
    assert first.metrics["filter/pass_rate"] == 0.5
    assert second.metrics["filter/pass_rate"] == (6 + 8) / (drawn + 16)


# Groups of constant size.


def test_an_example_that_keeps_its_order_has_as_many_responses_as_another():
    alone = [example("p", "a"), example("q")]
    responses = {name: ["1.", "0.", "1.", "1."] for name in "pq"}
    two = RolloutConfig(groups=2, num_rollouts=2, max_new_tokens=4)
    step = collector(alone, responses, rollout=two, permutation=PERMUTED)
    collected = collect(step)
    fixed, permuted = collected.batch.groups
    assert (fixed.asked, len(fixed.prompts)) == ((0, 0), 1)
    assert (permuted.asked, len(permuted.prompts)) == ((0, 1), 2)
    assert collected.batch.mask.any(-1).all()
    # Three right of four, over both askings.
    np.testing.assert_allclose(collected.batch.advantages[0], [[0.5, -1.5], [0.5, 0.5]], atol=1e-4)
    row = collected.records[0]
    assert (row["orders"], row["unpermuted"]) == ([[0], [0]], "single_image")
    assert (len(row["questions"]), len(row["truths"])) == (2, 2)
    assert row["responses"] == [["1", "0"], ["1", "1"]]
    metrics = collected.metrics
    assert (metrics["permutation/rate_realised"], metrics["permutation/orders"]) == (0.5, 1.5)
    # A prompt's tokens, one and four, count for each of its rollouts.
    assert metrics["rollout/tokens"] == 16 + 4 * 1 + 4 * 4


def test_orders_are_asked_in_turns_where_fewer_exist():
    two_images = [example("p", "ab"), example("q", "ab")]
    responses = {name: ["1.", "0."] * 4 for name in "pq"}
    four = replace(PERMUTED, num_orders=3)
    collected = collect(collector(two_images, responses, permutation=four))
    assert [group.asked for group in collected.batch.groups] == [(0, 1, 0, 1)] * 2
    assert collected.records[0]["orders"] == [[0, 1], [1, 0]] * 2
    assert collected.metrics["permutation/orders"] == 2


# Several hosts.


class HeldRows(Rows):
    """The rows of a host of two, whose feeds take turns."""

    def __init__(self, examples, host):
        super().__init__(examples)
        self.host = host

    def take(self, count):
        first = self.place
        feeds = [n % 2 for n in range(first, first + count)]
        taken = super().take(count).examples
        held = [one if feed == self.host else None for one, feed in zip(taken, feeds, strict=True)]
        return Taken(held, feeds)


def test_two_hosts_collect_what_one_alone_collects(plain, monkeypatch):
    table, here = Table(2), threading.local()

    def gather_bytes(data, what):
        told = here.exchange(base64.b64encode(data).decode(), what)
        return [base64.b64decode(one) for one in told]

    monkeypatch.setattr(hosts, "gather", lambda value, what: here.exchange(value, what))
    monkeypatch.setattr(hosts, "gather_bytes", gather_bytes)

    def on(host):
        here.exchange = table.exchange(host)
        rows = HeldRows(EXAMPLES, host)
        step = made(
            Sampler(WORDS, chunk=2),
            sharding=BatchSharding(((0,), (1,)), (0, 1), host),
        )
        step = replace(step, take=rows.take, put_back=rows.put_back)
        try:
            found, past = [], Past()
            for number in range(STEPS):
                collected = collect(step, number, seed=number, past=past)
                past = collected.past
                found.append((collected, rows.place))
            return result(found)
        except BaseException:
            table.leave()
            raise

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(on, range(2)))
    assert found == [plain, plain]


# What it costs.


@pytest.mark.parametrize("rows", [192, 48])
@pytest.mark.parametrize("rate", [0.9, 0.4])
def test_a_stream_costs_little_more_than_one_draw_of_a_known_size(rows, rate):
    workload = collecting.Workload(rate, seed=1, groups=16, rows=rows)
    found = collecting.simulate(workload, steps=8)
    assert found.ratio < 1.3
    assert found.surplus_share < 0.4
    assert found.rounds > 1.1 * found.steps
