"""A step of reinforcement learning, of scripted parts: keys, policies, and what it reports."""

import gc
import json
import weakref
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from perl_jax.experience.collect import Collected
from perl_jax.experience.config import GroupFilterConfig
from perl_jax.experience.past import Past
from perl_jax.filtering import PassRate
from perl_jax.training.reinforce import Reinforce
from perl_jax.update.config import UpdateConfig
from perl_jax.update.state import TrainState


class Policy(nnx.Module):
    def __init__(self, state):
        self.weight = nnx.Param(state.params["weight"])


class Learner:
    """Adds 1 to the parameter; remembers the batches."""

    def __init__(self):
        self.config = UpdateConfig(updates_per_batch=2)
        self.batches = []
        self.before_update = lambda: None

    def model(self, state):
        return Policy(state)

    def operations(self, batch):
        return 1000

    def num_updates(self, batch):
        return {"fewer": 1, "none": 0}.get(batch, 2)

    def reinforce(self, state, batch, activity):
        activity("update", 1, 2)
        self.before_update()
        self.batches.append(batch)
        if batch == "none":
            return state, {}
        return state_of(float(state.params["weight"]) + 1), {"policy/loss": jnp.float32(2)}


class Collector:
    """Collects the batches that are given, and remembers what it was asked for."""

    filtering = GroupFilterConfig(max_empty_steps=2)

    def __init__(self, *batches):
        self.batches, self.pasts = list(batches), []
        self.weights, self.numbers, self.keys = [], [], []
        self.models = []

    def collect(self, model, number, key, past):
        self.pasts.append(past)
        self.weights.append(float(model.weight[...]))
        self.models.append(weakref.ref(model))
        self.numbers.append(number)
        self.keys.append(key)
        batch = self.batches.pop(0)
        after = Past(PassRate(1.0, number + 2.0), past.empty_steps + (batch is None))
        return Collected(batch, {"reward/mean": 0.5}, 10, [{"id": "p"}], after)


def state_of(weight):
    return TrainState({"weight": jnp.float32(weight)}, (), jax.random.key(7), jnp.int32(0))


def stepper_of(*batches, copy=None):
    places = []
    pipeline = SimpleNamespace(
        metrics=lambda: {"data/epoch": 0.25},
        state=lambda: {"rows": 3},
        restore=lambda place, or_begin: places.append((place, or_begin)),
    )
    stepper = Reinforce(Learner(), Collector(*batches), pipeline, copy)
    return stepper, places


def test_every_step_draws_with_a_key_of_its_own():
    stepper, _ = stepper_of("a", "b", "c")
    state = state_of(0)
    for number in (0, 1, 2):
        state = stepper.step(number, state).state
    collector = stepper.collector
    assert collector.numbers == [0, 1, 2]
    assert collector.keys == [jax.random.fold_in(jax.random.key(7), n) for n in (0, 1, 2)]
    assert len({str(jax.random.key_data(key)) for key in collector.keys}) == 3


def test_every_step_draws_with_the_policy_that_the_last_one_left():
    stepper, _ = stepper_of("a", "b")
    state = stepper.step(0, state_of(5)).state
    stepper.step(1, state)
    assert stepper.collector.weights == [5, 6]
    assert stepper.learner.batches == ["a", "b"]
    assert float(stepper.policy(state).weight[...]) == 6


def test_metrics_come_from_the_rollouts_and_the_data_and_statistics_from_the_update():
    stepper, _ = stepper_of("a")
    result = stepper.step(0, state_of(0))
    assert result.metrics == {"reward/mean": 0.5, "data/epoch": 0.25}
    assert result.stats == {"policy/loss": 2}
    assert result.operations == 1010


def test_a_step_without_an_informative_group_changes_nothing():
    stepper, _ = stepper_of(None)
    state = state_of(0)
    result = stepper.step(0, state)
    assert result.state is state
    assert (result.stats, result.operations, stepper.learner.batches) == ({}, 10, [])
    assert result.metrics["update/applied"] == 0


def test_a_batch_without_a_gradient_counts_as_no_update():
    stepper, _ = stepper_of("none")
    result = stepper.step(0, state_of(3))
    assert float(result.state.params["weight"]) == 3
    assert (result.stats, result.metrics["update/applied"]) == ({}, 0)


def test_a_batch_that_makes_fewer_updates_than_asked_for_is_told_once(caplog):
    stepper, _ = stepper_of("full", "fewer", "none", "fewer")
    state = state_of(0)
    with caplog.at_level("INFO", "perl_jax"):
        for number in range(4):
            state = stepper.step(number, state).state
    (line,) = caplog.messages
    assert line.startswith("step 2: 1 of 2 updates, as so few of its groups have a gradient")


def test_the_copy_for_rollouts_is_drawn_with_and_gone_before_the_update():
    def doubled(model):
        return Policy(state_of(2 * model.weight[...]))

    stepper, _ = stepper_of("a", copy=doubled)
    alive = []

    def look():
        gc.collect()
        alive.append(stepper.collector.models[0]())

    stepper.learner.before_update = look
    result = stepper.step(0, state_of(5))
    assert stepper.collector.weights == [10]
    assert alive == [None]
    assert result.metrics["perf/reshard_seconds"] >= 0
    # Evaluations see the copy, too.
    assert float(stepper.policy(result.state).weight[...]) == 12


@pytest.mark.parametrize("older", [{}, {"filter": {"filter/drawn": 8}}])
def test_a_checkpoint_holds_the_position_in_the_data(older):
    stepper, places = stepper_of()
    assert stepper.host_state()["data"] == {"rows": 3}
    # Older checkpoints lack the past, and have counts of the filter besides.
    stepper.restore({"data": {"rows": 5}, **older})
    # Another order, which the run was allowed, begins.
    assert places == [({"rows": 5}, True)]


def test_every_step_knows_the_past_and_so_does_a_resumed_run():
    stepper, _ = stepper_of("a", None, "c")
    for number in (0, 1):
        stepper.step(number, state_of(0))
    resumed, _ = stepper_of("c")
    resumed.restore(json.loads(json.dumps(stepper.host_state())))
    for one in (stepper, resumed):
        one.step(2, state_of(0))
    assert stepper.collector.pasts == [
        Past(),
        Past(PassRate(1, 2)),
        Past(PassRate(1, 3), empty_steps=1),
    ]
    assert resumed.collector.pasts == stepper.collector.pasts[2:]


def test_too_many_steps_without_an_informative_group_end_the_run():
    stepper, _ = stepper_of(None, None)
    stepper.step(0, state_of(0))
    stepper.check()
    stepper.step(1, state_of(0))
    with pytest.raises(ValueError, match="no group informed in 2 steps in a row"):
        stepper.check()


def test_the_records_are_what_was_collected():
    stepper, _ = stepper_of(None)
    assert stepper.step(0, state_of(0)).records == [{"id": "p"}]


def test_the_update_tells_what_it_is_at():
    stepper, _ = stepper_of("a")
    told = []
    stepper.activity = lambda *what: told.append(what)
    stepper.step(0, state_of(0))
    assert told == [("update", 1, 2)]
