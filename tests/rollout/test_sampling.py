"""Groups that join while others run, or leave, draw what they draw in one call."""

import dataclasses

import jax
import numpy as np
import pytest

from perl_jax.mesh import make_mesh
from perl_jax.models import load_model
from perl_jax.rollout import Group, Sampler
from tests.rollout.alone import sample_alone
from tests.rollout.conftest import CONFIG, WARM

DRAWN = {"num_rollouts": 4, "max_new_tokens": 24, "strategy": WARM, "key": 1}


@pytest.fixture(scope="module")
def named(groups):
    """The groups of most tests, and two that ask one prompt three times."""
    text, one = groups[2].prompts[0], groups[1].prompts[0]
    return [*groups, Group.of("text thrice", [text] * 3), Group.of("one thrice", [one] * 3)]


@pytest.fixture(scope="module")
def whole(sampler, model, named):
    """All groups, drawn in one call."""
    return sampler.sample(model, named, **DRAWN)


def start(sampler, model, **changes):
    return sampler.start(model, **{**DRAWN, **changes})


def finish(sampling, before=lambda number: None):
    """The numbers that each collect gave; ``before`` is called before every launch."""
    found, number = [], 0
    before(0)
    while sampling.busy:
        sampling.launch()
        found.append(sampling.collect())
        number += 1
        before(number)
    return found


def assert_same(got, number, want, group, num_orders):
    """The rollouts of a group are those of a group of another call."""
    for k in range(num_orders):
        for n in range(got.tokens.shape[2]):
            length = got.lengths[number, k, n]
            assert length == want.lengths[group, k, n] > 0
            assert (got.tokens[number, k, n, :length] == want.tokens[group, k, n, :length]).all()
            np.testing.assert_allclose(
                got.logprobs[number, k, n, :length], want.logprobs[group, k, n, :length], atol=1e-5
            )
            assert got.stopped[number, k, n] == want.stopped[group, k, n]
    assert (got.lengths[number, num_orders:] == 0).all()


PORTIONS = {0: [2], 1: [4, 3], 3: [0], 4: [5, 1]}
# How the work is cut otherwise, `test_sampler` shows of one call.
CUTS = [
    {},
    {"refill": False},
    {"rows": 1000, "chunk": 5},
    pytest.param({"rows": 4}, marks=pytest.mark.soak),
    pytest.param({"prefill_tokens": 1}, marks=pytest.mark.soak),
]


@pytest.mark.parametrize("change", CUTS, ids=str)
def test_portions_draw_what_one_call_draws(change, model, processor, named, whole):
    """The first is short, so that the table becomes longer while it runs."""
    sampler = Sampler(processor, dataclasses.replace(CONFIG, **change))
    sampling, added = start(sampler, model), []

    def add(number):
        for g in PORTIONS.get(number, ()):
            sampling.add([named[g]])
            added.append(g)

    finish(sampling, before=add)
    assert sorted(added) == list(range(6))
    got = sampling.rollouts(range(6))
    for number, g in enumerate(added):
        assert_same(got, number, whole, g, named[g].num_orders)
    assert "lengthen" in {name for name, _, _ in sampler.calls}


def test_what_is_dropped_changes_nothing_else(sampler, model, named, whole):
    """One group leaves the queue, one while it runs, one while a chunk is on its way."""
    sampling = start(sampler, model)
    sampling.add(named)
    sampling.launch()
    sampling.drop([0])
    found = sampling.collect()
    sampling.drop([5, 3])
    found += [n for numbers in finish(sampling) for n in numbers]
    assert sorted(found) == [1, 2, 4]
    got = sampling.rollouts([4, 1, 2])
    for number, g in enumerate((4, 1, 2)):
        assert_same(got, number, whole, g, named[g].num_orders)
    assert sampling.stats["response_tokens"] < whole.stats["response_tokens"]


def test_dropping_frees_places_and_ends_what_is_busy(sampler, model, named):
    sampling = start(sampler, model)
    sampling.add(named)
    sampling.launch()
    sampling.collect()
    waiting = len(sampling.decoder.queue)
    assert waiting > 0
    assert len(sampling.decoder.table.active) == 4
    sampling.drop(range(6))
    sampling.launch()
    assert sampling.collect() == []
    assert not sampling.busy
    assert sampling.decoder.state is None


def test_complete_groups_stay_complete_when_they_are_dropped(sampler, model, named, whole):
    sampling = start(sampler, model)
    sampling.add(named[:2])
    found = [n for numbers in finish(sampling) for n in numbers]
    sampling.drop([0, 1])
    sampling.drop([0])
    assert sorted(found) == [0, 1]
    assert_same(sampling.rollouts([1]), 0, whole, 1, 1)


def test_every_group_is_reported_once_when_its_last_response_is_complete(sampler, model, named):
    told = []
    sampling = start(sampler, model, activity=lambda what, done, of: told.append((done, of)))
    sampling.add(named)
    found = finish(sampling)
    assert all(numbers == sorted(numbers) for numbers in found)
    assert sorted(n for numbers in found for n in numbers) == list(range(6))
    assert told[0] == (0, 4 * sum(group.num_orders for group in named))
    assert told[-1] == (told[0][1],) * 2


def test_orders_of_one_prompt_read_it_once_and_draw_from_streams_of_their_own(
    sampler, model, named, processor, whole
):
    for k in range(3):
        tokens, logprobs = sample_alone(
            model, processor, named[5], k, 1,
            max_new_tokens=24, strategy=WARM, key=jax.random.key(1),
        )  # fmt: skip
        assert whole.tokens[5, k, 1, : whole.lengths[5, k, 1]].tolist() == tokens
        np.testing.assert_allclose(whole.logprobs[5, k, 1, : len(logprobs)], logprobs, atol=1e-5)
    got = sampler.sample(model, named[5:], **DRAWN)
    assert got.stats["orders"] == 3
    assert got.stats["prompt_tokens"] == len(named[5].prompts[0].tokens)


def test_orders_that_a_table_cannot_hold_together_enter_one_after_the_other(
    model, processor, named, whole
):
    few = Sampler(processor, dataclasses.replace(CONFIG, rows=8))
    got = few.sample(model, [named[4], named[5]], **DRAWN)
    for number, g in enumerate((4, 5)):
        assert_same(got, number, whole, g, 3)


def test_a_wave_is_encoded_once_and_its_features_go_with_its_last_order(sampler, model, named):
    sampling = start(sampler, model)
    sampling.add(named[:4])
    sampling.add([named[5], dataclasses.replace(named[1], id="again")])
    waves = list(dict.fromkeys(order.reading.wave for order in sampling.decoder.queue))
    assert len(waves) == 2

    def at_most_one(number):
        waiting = {order.reading.wave for order in sampling.decoder.queue}
        assert all(wave in waiting for wave in waves if wave.features is not None)
        assert sum(wave.features is not None for wave in waves) <= 1

    finish(sampling, before=at_most_one)
    # Each distinct image of a wave: the second shows one image under two ids.
    assert sampling.stats["images"] == 6 + 1


@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.soak), 8])
def test_a_table_that_shrank_grows_again(devices, checkpoint, model, processor, groups, whole):
    """What is left of the first wave moves together; then others join."""
    config = dataclasses.replace(CONFIG, rows=64, chunk=4)
    many = [dataclasses.replace(groups[2 - n % 2], id=str(n)) for n in range(30)]
    want = Sampler(processor, CONFIG).sample(model, many, **DRAWN)
    if devices == 8:
        mesh = make_mesh(data=2, fsdp=2, tensor=2)
        model = load_model(checkpoint, dtype="float32", mesh=mesh)
    sampler, shapes = Sampler(processor, config), []
    sampling = start(sampler, model)
    sampling.add([many[n] for n in range(0, 16, 2)])

    def add(number):
        shapes.append(sampling.decoder.table.shape)
        if number == 2:
            sampling.drop(range(1, 8))
        # What was on its way then comes first, here and where it grows.
        if number == 4:
            sampling.add(many[16:])

    finish(sampling, before=add)
    places = [places for places, _ in shapes]
    small = devices // 2 or 1
    assert places[1:7] == [8, 8, 8, small, small, 16]
    got = sampling.rollouts([0, *range(8, 22)])
    for number, g in enumerate((0, *range(16, 30))):
        assert_same(got, number, want, g, 1)
    assert {name for name, _, _ in sampler.calls} >= {"compact", "lengthen"}


def test_responses_that_end_at_their_first_token_cost_no_step(model, processor, named):
    """The devices see it before the host does."""
    every = tuple(range(model.config.vocab_size))
    short = Sampler(dataclasses.replace(processor, stop_tokens=every), CONFIG)
    got = short.sample(model, named[:3], **DRAWN)
    assert got.stats["decode_steps"] == 0
    assert got.lengths.max() == 1


# What is refused.


def test_two_launches_without_a_collect_are_refused(sampler, model, named):
    sampling = start(sampler, model)
    sampling.add(named[:1])
    sampling.launch()
    with pytest.raises(RuntimeError, match="launch: expected a call of collect after the last one"):
        sampling.launch()


def test_rollouts_of_groups_that_are_not_complete_are_refused(sampler, model, named):
    sampling = start(sampler, model)
    sampling.add(named[:2])
    sampling.drop([1])
    for number, state in enumerate(("it is incomplete", "it is dropped")):
        with pytest.raises(ValueError, match=f"group number {number}: expected .*; {state}"):
            sampling.rollouts([number])
    for call in (sampling.rollouts, sampling.drop):
        with pytest.raises(ValueError, match="group number 2: expected less than 2"):
            call([2])
    with pytest.raises(ValueError, match="numbers: expected at least one group, got none"):
        sampling.rollouts([])


def test_ids_of_all_portions_differ(sampler, model, named):
    sampling = start(sampler, model)
    sampling.add(named[:1])
    with pytest.raises(ValueError, match="expected different ids, got 'two' again"):
        sampling.add(named[:1])
    assert len(sampling.decoder.queue) == named[0].num_orders
