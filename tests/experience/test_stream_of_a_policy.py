"""The steps of a real policy do not depend on how sampling is cut and how far ahead is drawn."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest

from perl_jax import filtering
from perl_jax.experience.config import GroupFilterConfig
from perl_jax.filtering import Bounds
from perl_jax.rewards import Grader
from tests.experience.test_stream import COSTS
from tests.update.cases import quick_compilation
from tests.update.real_runs import SAMPLER, Demo


@pytest.fixture(scope="module")
def demo():
    with quick_compilation(), Grader(num_workers=1, deadline=120.0) as grader:
        yield Demo.load(grader)


def steps_of(demo, **sampler):
    config = replace(SAMPLER, **sampler) if sampler else SAMPLER
    # Narrow bounds, so that many groups are dropped.
    filtering = GroupFilterConfig(max_draws=8, bounds=Bounds(0.3, 0.7))
    return demo.collect_steps(2, filtering, sampler=config)


@pytest.fixture(scope="module")
def steps(demo):
    return steps_of(demo)


def without_costs(collected):
    return {name: x for name, x in collected.metrics.items() if not name.startswith(COSTS)}


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        # The digest of a record is that of its tokens.
        assert one.records == other.records
        assert without_costs(one) == without_costs(other)
        assert one.past == other.past
        for name in ("tokens", "lengths", "rewards", "advantages", "mask"):
            np.testing.assert_array_equal(getattr(one.batch, name), getattr(other.batch, name))
        np.testing.assert_allclose(one.batch.logprobs, other.batch.logprobs, atol=1e-5)


def test_groups_of_every_kind_are_drawn_over_several_chunks(steps):
    outcomes = {row["outcome"] for one in steps for row in one.records}
    assert outcomes == {"kept", "too_easy", "too_hard"}
    ids = [row["id"] for one in steps for row in one.records]
    assert len(set(ids)) == len(ids)
    assert all(one.metrics["perf/decode_steps"] > SAMPLER.chunk for one in steps)


def test_fewer_rows_and_shorter_chunks_change_nothing(demo, steps):
    assert_same(steps_of(demo, rows=12, chunk=5), steps)


def test_a_batch_that_runs_to_its_end_changes_nothing(demo, steps):
    assert_same(steps_of(demo, refill=False), steps)


def test_how_many_are_drawn_ahead_changes_nothing(demo, steps, monkeypatch):
    monkeypatch.setattr(filtering, "_MARGIN", 4.0)
    found = steps_of(demo)
    ahead = [sum(one.metrics["filter/surplus"] for one in run) for run in (found, steps)]
    assert ahead[0] > ahead[1]
    assert_same(found, steps)


def test_a_session_is_gone_with_its_last_use(demo):
    gc.disable()
    try:
        session = demo.sampler.start(demo.model, num_rollouts=1, max_new_tokens=1)
        alive = weakref.ref(session)
        del session
        assert alive() is None
    finally:
        gc.enable()
