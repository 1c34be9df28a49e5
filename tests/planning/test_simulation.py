"""A step of drawn lengths calls what the sampler and the learner do with them."""

from dataclasses import replace

import numpy as np
import pytest

from perl_jax.models import read_config
from perl_jax.planning import simulation, work
from perl_jax.planning.draws import Draws
from perl_jax.planning.simulation import simulate
from perl_jax.types import Responses
from perl_jax.update.operations import forward_operations


def of_lengths(rehearsal, recorder, monkeypatch, lengths, draws=None):
    """A step whose responses have these lengths, for all orders and rollouts of a group."""
    shape = (len(lengths), 2, 2)
    whole = np.broadcast_to(np.array(lengths, np.int32)[:, None, None], shape)
    monkeypatch.setattr(simulation, "log_normal", lambda mean, cv, longest, shape: whole)
    draws = draws or Draws.unfiltered(len(lengths))
    return simulate(replace(rehearsal, step=replace(rehearsal.step, draws=draws)), recorder)


@pytest.fixture
def finer(rehearsal):
    """Whose responses of eight tokens take four chunks."""
    config = rehearsal.config
    sampler = replace(config.rollout.sampler, chunk=2)
    return replace(
        rehearsal, config=replace(config, rollout=replace(config.rollout, sampler=sampler))
    )


def test_responses_of_full_length_call_what_is_recorded(rehearsal, recorder, monkeypatch):
    found = of_lengths(rehearsal, recorder, monkeypatch, [8] * 8)
    for name in ("prefill", "admit", "decode", "reference", "update", "apply"):
        assert len(found.calls[name]) == recorder.calls[name].count
    assert max(call.size for call in found.calls["decode"]) == recorder.calls["decode"].size
    (update,) = found.calls["update"]
    assert update.size == recorder.calls["update"].size
    # Prompts of 32 tokens; the last token of a response is not read.
    assert found.read == 16 * 32 + 32 * 7
    assert found.tokens == 32 * (32 + 8)
    assert "start" not in found.calls


def test_short_responses_take_fewer_chunks_and_fewer_tokens(rehearsal, recorder, monkeypatch):
    long, short = (of_lengths(rehearsal, recorder, monkeypatch, [length] * 8) for length in (8, 2))
    # 16 orders in 8 places, in chunks of 4: each wave needs two, or the first of them.
    assert (len(long.calls["decode"]), len(short.calls["decode"])) == (4, 2)
    tokens = [found.calls["update"][0].work.tokens for found in (long, short)]
    # Four orders on each of four shards: 4 (32 + 2 x 7) and 4 (32 + 2 x 1) tokens, rounded up.
    assert tokens == [192, 144]


def test_one_long_response_keeps_a_smaller_batch_running(finer, recorder, monkeypatch):
    found = of_lengths(finer, recorder, monkeypatch, [1] * 7 + [8])
    tokens = [call.work.tokens for call in found.calls["decode"]]
    assert tokens[-1] < tokens[0]
    assert found.calls["compact"]


def test_the_update_has_the_groups_that_are_kept(rehearsal, recorder, monkeypatch):
    half = Draws(pass_rate=0.5, wanted=8, kept=8, needed=16, drawn=16, most=32)
    found = of_lengths(rehearsal, recorder, monkeypatch, [8] * 16, half)
    assert found.tokens == 32 * (32 + 8)
    assert [call.work.tokens for call in found.calls["update"]] == [192]
    assert len(found.calls["decode"]) == 2 * len(found.unfiltered["decode"])
    assert "update" not in found.unfiltered


def test_operations_are_the_least_of_what_is_drawn_and_learned_from(
    rehearsal, recorder, monkeypatch
):
    found = of_lengths(rehearsal, recorder, monkeypatch, [8] * 8)
    model = read_config(rehearsal.config.model.path)
    lengths = np.full((8, 2, 2), 8, np.int32)
    responses = Responses(np.zeros((8, 2, 2, 8), np.int32), lengths)
    once = forward_operations(model, rehearsal.groups(8), responses)
    assert found.of_rollouts == once.forward()
    # One update, and the reference's scores.
    assert found.of_update == 4 * once.forward()


@pytest.mark.parametrize("name", ["decode", "update"])
def test_every_call_has_work(rehearsal, recorder, monkeypatch, name):
    found = of_lengths(rehearsal, recorder, monkeypatch, [3] * 8)
    assert all(call.work.tokens > 0 for call in found.calls[name])
    assert all(call.work is None for call in found.calls["apply"])


def test_caches_are_read_as_far_as_they_are_filled(finer, recorder, monkeypatch):
    monkeypatch.setattr(work, "block_of", lambda slots: 2)
    found = of_lengths(finer, recorder, monkeypatch, [8] * 4)
    # Chunks of two steps in ten slots.
    assert [call.work.owned for call in found.calls["decode"]] == [0.2, 0.4, 0.6, 0.8]
    assert all(call.work.owned == 1 for call in found.calls["prefill"])


def test_chunks_wait_for_the_host_only_while_orders_wait_or_the_batch_shrinks(
    finer, recorder, monkeypatch
):
    """16 or 8 orders in 8 places, of four chunks each."""
    half = Draws(pass_rate=0.5, wanted=4, kept=4, needed=8, drawn=8, most=16)
    found = of_lengths(finer, recorder, monkeypatch, [8] * 8, half)
    # The first half, for the second; and the chunk that the second enters with.
    assert (len(found.calls["decode"]), len(found.unfiltered["decode"])) == (8, 4)
    assert (found.waits, found.waits_unfiltered) == (5, 1)
    # Of one long response, also the chunk before which the batch shrinks.
    long = of_lengths(finer, recorder, monkeypatch, [1] * 7 + [8], half)
    assert long.waits == 1 + 1 + 1
    # What ends early has a chunk behind it, in which the devices make no step.
    early = of_lengths(finer, recorder, monkeypatch, [3] * 8, half)
    assert (len(early.calls["decode"]), len(early.unfiltered["decode"])) == (2, 1)


def test_calls_of_the_sampler_tell_how_far_their_arrays_reach(finer, recorder, monkeypatch):
    """16 orders of two rollouts in 8 places, on four shards."""
    found = of_lengths(finer, recorder, monkeypatch, [1] * 7 + [8])
    for name in ("prefill", "admit"):
        extents = [call.extent for call in found.calls[name]]
        assert sum(4 * extent.rows for extent in extents) == 16
        assert all(extent.axis == extent.rows for extent in extents)
        assert {extent.shards for extent in extents} == {4}
    first, *_, last = [call.extent for call in found.calls["decode"]]
    assert (first.axis, first.rows) == (2, 4)
    assert last.rows < first.rows
    assert all(call.extent.axis > 0 for call in found.calls["encode"])
    assert found.calls["update"][0].extent is None


def test_lengths_are_those_of_the_workload(rehearsal, recorder, monkeypatch):
    asked = []

    def drawn(*arguments):
        asked.append(arguments)
        return np.full(arguments[3], 3, np.int32)

    monkeypatch.setattr(simulation, "log_normal", drawn)
    step = rehearsal.step
    simulate(rehearsal, recorder)
    shape = (step.draws.drawn, 2, 2)
    assert asked == [(step.mean, rehearsal.workload.response_variation, step.longest, shape)]
    assert len({step.mean, step.longest}) == 2


def test_tokens_are_those_of_the_groups_that_are_kept(rehearsal, recorder, monkeypatch):
    half = Draws(pass_rate=0.5, wanted=8, kept=8, needed=16, drawn=16, most=32)
    found = of_lengths(rehearsal, recorder, monkeypatch, [1, 8] * 4 + [8] * 8, half)
    assert found.tokens == 32 * 32 + 4 * 4 * (1 + 8)
    assert found.read == 16 * 32 + 4 * 4 * (0 + 7)
    assert "copy" not in found.calls
