"""A run starts from its own checkpoints, from another run's parameters, or from its model."""

import json
import logging
from dataclasses import asdict, replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.training.checkpoint import CheckpointConfig, CheckpointError, Checkpoints
from perl_jax.training.identity import Identity
from perl_jax.training.other_run import InitFrom, choose_step
from perl_jax.training.start import Start, start_or_resume
from perl_jax.update.optimizer import OptimizerConfig, applied_updates, make_optimizer
from perl_jax.update.state import TrainState

EVERY = CheckpointConfig(every=1, keep_last=9)
CONTENTS = {"data": "d", "model": "m", "code": "c"}


def state_of(value, names=("a", "b"), updates=3, shape=(2, 2)):
    params = {name: jnp.full(shape, float(value)) for name in names}
    optimizer = make_optimizer(OptimizerConfig(), 10, params)
    moments = optimizer.init(params)
    for _ in range(updates):
        _, moments = optimizer.update(params, moments, params)
    return TrainState(params, moments, jax.random.key(7), jnp.zeros((), jnp.int32))


class Stepper:
    """Starts from a state of zeros and notes what it resumes from."""

    def __init__(self, fresh=None):
        fresh = fresh or state_of(0, updates=0)
        self.learner = SimpleNamespace(init=lambda model, key: replace(fresh, key=key))
        self.resumed = None

    def restore(self, host):
        self.resumed = host


def identity(model="m"):
    return Identity("train", EVERY, {**CONTENTS, "model": model}, "org/name")


@pytest.fixture
def other(tmp_path):
    """The work directory of a run of which step 2 is the best of three."""
    workdir = tmp_path / "other"
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps({"checkpoint": {"directory": None}}))
    record = identity().record()
    with Checkpoints(workdir / "checkpoints", EVERY, fingerprint=record) as checkpoints:
        for step, metric in ((1, 0.25), (2, 0.75), (3, 0.5)):
            checkpoints.save(step, state_of(step, updates=step), {}, metric=metric)
    return workdir


def start(directory, stepper=None, model="m", **flags):
    stepper = stepper or Stepper()
    with Checkpoints(directory, EVERY, fingerprint=identity(model).record()) as checkpoints:
        state, step, progression = start_or_resume(
            checkpoints, stepper, None, jax.random.key(1),
            identity=identity(model), start=Start(**flags),
        )  # fmt: skip
        if step == 0:
            host = {"stepper": {"data": 1}, "progression": asdict(progression)}
            checkpoints.save(1, state, host)
    return state, step, progression


def value_of(state):
    (value,) = {float(array[0, 0]) for array in state.params.values()}
    return value


def test_a_new_run_starts_from_its_model(tmp_path):
    state, step, progression = start(tmp_path / "c")
    assert (value_of(state), step, progression.init_from) == (0, 0, {})


def test_a_run_goes_on_from_its_newest_checkpoint(tmp_path):
    start(tmp_path / "c")
    stepper = Stepper(state_of(9))
    state, step, _ = start(tmp_path / "c", stepper)
    assert (value_of(state), step, stepper.resumed) == (0, 1, {"data": 1})


@pytest.mark.parametrize(("at", "value"), [("", 3), ("@latest", 3), ("@best", 2), ("@1", 1)])
def test_a_new_run_starts_from_the_parameters_of_another(tmp_path, other, at, value):
    state, step, progression = start(tmp_path / "c", init_from=f"{other}{at}")
    assert (value_of(state), step) == (value, 0)
    assert applied_updates(state.optimizer) == 0
    assert not np.any(state.optimizer[1].mu["a"])
    # The run's own key, not that of the other one.
    assert jax.random.key_data(state.key).tolist() == [0, 1]
    assert progression.init_from == {"from": f"{other}@{at[1:] or 'latest'}", "moments": False}


def test_moments_come_along_if_asked_and_the_schedule_still_begins(tmp_path, other):
    state, _, _ = start(tmp_path / "c", init_from=str(other), init_moments=True)
    expected = state_of(3, updates=3).optimizer
    np.testing.assert_array_equal(state.optimizer[1].mu["a"], expected[1].mu["a"])
    assert state.optimizer[1].count == 3
    assert jax.tree.structure(state.optimizer) == jax.tree.structure(expected)
    assert applied_updates(state.optimizer) == 0
    with pytest.raises(ValueError, match="--init_moments: expected --init_from"):
        start(tmp_path / "d", init_moments=True)


def test_a_run_with_steps_of_its_own_ignores_the_same_flag_and_needs_none(tmp_path, other):
    start(tmp_path / "c", init_from=f"{other}@2")
    for flags in ({"init_from": f"{other}@2"}, {}):
        state, step, progression = start(tmp_path / "c", Stepper(state_of(9)), **flags)
        assert (value_of(state), step) == (2, 1)
        assert progression.init_from["from"] == f"{other}@2"


@pytest.mark.parametrize("flags", [{"init_from": "@1"}, {"init_from": "@2", "init_moments": True}])
def test_a_run_with_steps_of_its_own_refuses_another_start(tmp_path, other, flags):
    start(tmp_path / "c", init_from=f"{other}@2")
    given = {**flags, "init_from": f"{other}{flags['init_from']}"}
    message = rf"--init_from={other}@\d: expected a run without steps; this one has done 1, starti"
    with pytest.raises(ValueError, match=message) as caught:
        start(tmp_path / "c", **given)
    assert f"starting from {other}@2. Without the flag it goes on" in str(caught.value)


def test_parameters_that_the_other_run_froze_start_as_in_the_model_and_are_named(
    tmp_path, other, caplog
):
    fresh = state_of(0, names=("a", "b", "new"), updates=0)
    with caplog.at_level(logging.WARNING):
        state, _, _ = start(tmp_path / "c", Stepper(fresh), init_from=str(other))
    values = {name: float(array[0, 0]) for name, array in state.params.items()}
    assert values == {"a": 3, "b": 3, "new": 0}
    said = f"{other} did not train new; they start as in model.path, which is "
    assert said + "the same there" in caplog.text
    with caplog.at_level(logging.WARNING):
        start(tmp_path / "d", Stepper(fresh), model="another", init_from=str(other))
    assert said + "another model there" in caplog.text
    with pytest.raises(ValueError, match=r"--init_moments: .* did not train new"):
        start(tmp_path / "e", Stepper(fresh), init_from=str(other), init_moments=True)


def test_parameters_that_are_frozen_here_are_an_error_that_names_them(tmp_path, other):
    fresh = state_of(0, names=("a",), updates=0)
    with pytest.raises(ValueError, match=r"trained parameters that are frozen here .*: b\. Train"):
        start(tmp_path / "c", Stepper(fresh), init_from=str(other))


def test_arrays_of_another_shape_are_named(tmp_path, other):
    fresh = state_of(0, shape=(4, 2), updates=0)
    with pytest.raises(CheckpointError, match=r"params\.a is float32\[2, 2\] in the checkpoint"):
        start(tmp_path / "c", Stepper(fresh), init_from=str(other))


def test_what_is_no_work_directory_of_a_run_is_refused_with_what_to_do(tmp_path, other):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    cases = [
        (model, ValueError, f"model directory: start from it with --config.model.path={model}"),
        (other / "checkpoints", ValueError, "expected the work directory of a run"),
        (tmp_path / "org" / "name", FileNotFoundError, "given as --config.model.path"),
    ]
    for place, kind, message in cases:
        with pytest.raises(kind, match=message):
            start(tmp_path / "c", init_from=str(place))
    with pytest.raises(ValueError, match="other@7: expected one of its steps, 1, 2, 3"):
        start(tmp_path / "c", init_from=f"{other}@7")


def test_a_path_may_hold_the_sign_that_precedes_a_step(tmp_path):
    place = tmp_path / "me@home"
    assert InitFrom.parse(str(place), False) == InitFrom(place, "latest", False)
    assert InitFrom.parse(f"{place}@12", True) == InitFrom(place, "12", True)


def test_the_best_step_is_one_that_was_evaluated(tmp_path, other):
    def open_at(directory):
        return Checkpoints(directory, EVERY, fingerprint=None)

    with open_at(other / "checkpoints") as checkpoints:
        chosen = [choose_step(checkpoints, step, other) for step in ("best", "latest", "7")]
        assert chosen == [2, 3, 7]
    with Checkpoints(tmp_path / "c", EVERY, fingerprint={}) as checkpoints:
        with pytest.raises(ValueError, match="/run: expected a run with checkpoints; got none"):
            choose_step(checkpoints, "latest", "/run")
        checkpoints.save(4, {"w": jnp.ones(2)}, {})
        checkpoints.wait()
        with pytest.raises(ValueError, match=r"/run: step best: .* none of its .* one of 4$"):
            choose_step(checkpoints, "best", "/run")


def test_names_of_flags_may_be_given_as_flags_have_them():
    assert Start(allow_changes=("config.seed", "optimizer")).allowed == ("seed", "optimizer")
