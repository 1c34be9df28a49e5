"""While nothing waits, the devices have the next chunk before the host reads the last one."""

import dataclasses

import jax
import numpy as np
import pytest

from perl_jax.mesh import make_mesh
from perl_jax.models import load_model
from perl_jax.rollout import Sampler
from tests.rollout.conftest import CONFIG, WARM

# Caches that need not grow. 24 tokens are one of a prefill, and six chunks.
AHEAD = dataclasses.replace(CONFIG, chunk=4, response_lengths=(64,))
WAITING = dataclasses.replace(AHEAD, ahead=False)
DRAWN = {"num_rollouts": 4, "max_new_tokens": 24, "strategy": WARM, "key": 1}


@pytest.fixture
def events(monkeypatch):
    """What the host does with chunks of a sampling, in its order."""

    def of(sampling):
        found, decoder = [], sampling.decoder
        advance, collect = decoder._advance, decoder.collect

        def advanced(*arguments):
            found.append("dispatched")
            return advance(*arguments)

        def collected():
            found.append("read")
            collect()

        monkeypatch.setattr(decoder, "_advance", advanced)
        monkeypatch.setattr(decoder, "collect", collected)
        return found

    return of


def run(sampling):
    while sampling.busy:
        sampling.launch()
        sampling.collect()


def start(processor, config, model, groups, **changes):
    sampling = Sampler(processor, config).start(model, **{**DRAWN, **changes})
    sampling.add(groups)
    return sampling


def drawn(processor, config, model, groups, **changes):
    return Sampler(processor, config).sample(model, groups, **{**DRAWN, **changes})


def assert_equal(got, want):
    for name in ("tokens", "lengths", "stopped"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    np.testing.assert_allclose(got.logprobs, want.logprobs, atol=1e-5)


def test_a_chunk_is_dispatched_before_the_one_before_it_is_read(model, processor, groups, events):
    sampling = start(processor, AHEAD, model, groups[:1])
    found = events(sampling)
    run(sampling)
    steady = ["dispatched", "read"]
    assert found == ["dispatched", *5 * steady, "read"]
    assert sampling.stats["decode_waits"] == 1

    sampling = start(processor, WAITING, model, groups[:1])
    found = events(sampling)
    run(sampling)
    assert found == len(found) // 2 * steady
    assert sampling.stats["decode_waits"] == len(found) // 2


def test_what_is_drawn_and_how_many_steps_it_takes_are_the_same(model, processor, groups):
    """The devices know what ended: the chunk behind the last one takes no step."""
    got, want = (drawn(processor, one, model, groups[:2]) for one in (AHEAD, WAITING))
    assert_equal(got, want)
    assert got.stats["decode_steps"] == want.stats["decode_steps"]
    assert got.stats["decode_waits"] < want.stats["decode_waits"]


def test_the_devices_end_a_chunk_behind_one_in_which_all_ended(model, processor, groups):
    """Every token but a few ends a response: all do, at different steps of the first chunk."""
    ends = tuple(range(0, model.config.vocab_size, 2))
    short = dataclasses.replace(processor, stop_tokens=ends)
    sampling = start(short, AHEAD, model, groups[:2], num_rollouts=2)
    sampling.launch()
    first, behind = sampling.decoder._in_flight[-1], sampling.decoder._behind
    assert bool(np.asarray(first.done).all()) == (int(behind.steps) == 0)
    while not np.asarray(first.done).all():
        sampling.collect()
        sampling.launch()
        first, behind = sampling.decoder._in_flight[-1], sampling.decoder._behind
    assert int(behind.steps) == 0


def test_texts_that_end_a_response_are_seen_a_chunk_later_and_change_nothing(
    model, processor, groups
):
    """The host alone reads texts, so that the chunk behind goes on with the response."""
    ending = dataclasses.replace(WARM, stop=("e", "a"))
    got, want = (
        drawn(processor, one, model, groups[:2], strategy=ending) for one in (AHEAD, WAITING)
    )
    assert want.stopped[want.lengths > 0].mean() > 0.5
    assert_equal(got, want)


def test_groups_that_join_while_a_chunk_is_behind_enter_after_it(model, processor, groups):
    sampling = start(processor, AHEAD, model, groups[:1])
    sampling.launch()
    sampling.collect()
    assert sampling.decoder._behind is not None
    sampling.add(groups[1:2])
    sampling.launch()
    assert (len(sampling.decoder.queue), sampling.decoder._behind) == (1, None)
    sampling.collect()
    sampling.launch()
    assert not sampling.decoder.queue
    sampling.collect()
    run(sampling)
    assert_equal(sampling.rollouts([0, 1]), drawn(processor, WAITING, model, groups[:2]))


@pytest.mark.parametrize("later", [False, True])
def test_nothing_is_left_of_a_chunk_behind_when_all_are_dropped(later, model, processor, groups):
    sampling = start(processor, AHEAD, model, groups[:1])
    sampling.launch()
    sampling.collect()
    assert sampling.decoder._behind is not None
    sampling.drop([0])
    assert not sampling.busy
    assert (sampling.decoder.state, sampling.decoder._behind) == (None, None)
    if later:
        sampling.add(groups[1:2])
        run(sampling)
        want = drawn(processor, WAITING, model, groups[1:2])
        assert_equal(sampling.rollouts([1]), want)


def test_groups_that_wait_do_not_wait_for_a_chunk_of_what_was_dropped(model, processor, groups):
    sampling = start(processor, AHEAD, model, groups[:1])
    sampling.launch()
    sampling.collect()
    sampling.add(groups[1:2])
    sampling.drop([0])
    sampling.launch()
    assert not sampling.decoder.queue
    sampling.collect()
    run(sampling)
    assert_equal(sampling.rollouts([1]), drawn(processor, WAITING, model, groups[1:2]))


def test_a_chunk_behind_is_the_same_program_on_several_devices(
    checkpoint, processor, groups, caplog
):
    model = load_model(checkpoint, dtype="float32", mesh=make_mesh(data=2, fsdp=2, tensor=2))
    # A size of its own: the program is in no cache.
    sampler = Sampler(processor, dataclasses.replace(AHEAD, chunk=3))
    with jax.log_compiles(), caplog.at_level("WARNING"):
        got = sampler.sample(model, groups[:1], **DRAWN)
    assert got.stats["decode_waits"] == 1
    compiled = [one for one in caplog.messages if one.startswith("Compiling jit(decode)")]
    assert len(compiled) == 1


def test_caches_grow_while_a_chunk_is_on_its_way(model, processor, groups):
    sampler = Sampler(processor, dataclasses.replace(AHEAD, response_lengths=(8,)))
    got = sampler.sample(model, groups[:2], **DRAWN)
    assert "resize" in {name for name, *_ in sampler.calls}
    assert got.stats["decode_waits"] == 1
    assert_equal(got, drawn(processor, WAITING, model, groups[:2]))


def test_an_order_that_may_be_over_takes_no_more_slots_than_there_are(model, processor, groups):
    """The first ends in slot 23 of 24 + 5, in a chunk behind which the other needs slot 29."""
    sampling = start(processor, dataclasses.replace(AHEAD, chunk=5), model, groups[2:3])
    for _ in range(2):
        sampling.launch()
        sampling.collect()
    sampling.add(groups[1:2])
    run(sampling)
    want = drawn(processor, WAITING, model, [groups[2], groups[1]])
    assert_equal(sampling.rollouts([0, 1]), want)
