"""When a step is saved, which steps stay, and which one is the best."""

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from etils import epath

from perl_jax.training.checkpoint import CheckpointConfig, CheckpointError, Checkpoints
from perl_jax.training.checkpoint.config import steps_to_keep
from perl_jax.training.checkpoint.files import StepFiles
from tests.training.checkpoint.checkpoint_states import FINGERPRINT, abstract

ARRAYS = {"w": jnp.arange(4.0)}


def open_at(directory, **config):
    config = CheckpointConfig(**{"every": 1, **config})
    return Checkpoints(directory, config, fingerprint=FINGERPRINT)


def on_disk(directory):
    return sorted(int(path.name) for path in directory.iterdir())


@pytest.mark.reliability("60")
@pytest.mark.parametrize("name", ["every", "keep_last", "keep_best", "keep_every"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
def test_intervals_and_numbers_to_keep_are_whole_and_positive(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: expected a whole number of at least 1; got"):
        CheckpointConfig(**{name: value})


@pytest.mark.parametrize("name", ["every", "keep_last"])
def test_only_the_best_and_the_regular_steps_may_be_not_kept(name):
    CheckpointConfig(keep_best=None, keep_every=None)
    with pytest.raises(ValueError, match=f"{name}: .*got None"):
        CheckpointConfig(**{name: None})


METRICS = {10: 0.5, 20: None, 30: 0.9, 40: 0.7, 50: 0.9, 60: 0.1, 70: None}


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        ({"keep_last": 1, "keep_best": None}, {70}),
        ({"keep_last": 3, "keep_best": None}, {50, 60, 70}),
        ({"keep_last": 99, "keep_best": None}, set(METRICS)),
        ({"keep_last": 1, "keep_best": 1}, {50, 70}),
        ({"keep_last": 1, "keep_best": 3}, {30, 40, 50, 70}),
        ({"keep_last": 1, "keep_best": 99}, {10, 30, 40, 50, 60, 70}),
        ({"keep_last": 1, "keep_best": None, "keep_every": 20}, {20, 40, 60, 70}),
        ({"keep_last": 2, "keep_best": 1, "keep_every": 40}, {40, 50, 60, 70}),
    ],
)
def test_a_step_is_kept_if_any_rule_keeps_it(config, kept):
    assert steps_to_keep(METRICS, CheckpointConfig(**config)) == kept


@pytest.mark.parametrize("asynchronous", [True, False])
def test_the_directory_holds_what_the_rules_keep(tmp_path, asynchronous):
    config = {"keep_last": 2, "keep_best": 1, "keep_every": 4, "asynchronous": asynchronous}
    with open_at(tmp_path, **config) as checkpoints:
        for step, metric in enumerate([0.1, 0.8, 0.2, 0.3, None, 0.4, 0.5]):
            assert checkpoints.save(step, ARRAYS, {}, metric=metric)
            assert (checkpoints.latest_step() == step) is not asynchronous
        checkpoints.wait()
        assert checkpoints.steps() == [0, 1, 4, 5, 6]
        assert (checkpoints.latest_step(), checkpoints.best_step()) == (6, 1)
        assert on_disk(tmp_path) == [0, 1, 4, 5, 6]
        checkpoints.save(7, ARRAYS, {}, metric=0.9)
    assert on_disk(tmp_path) == [0, 4, 6, 7]


def test_a_new_process_knows_the_metrics_of_the_old_one(tmp_path):
    with open_at(tmp_path, keep_last=1) as checkpoints:
        checkpoints.save(1, ARRAYS, {}, metric=7)
        checkpoints.save(2, ARRAYS, {}, metric=5)
    with open_at(tmp_path, keep_last=1) as checkpoints:
        assert checkpoints.best_step() == 1
        checkpoints.save(3, ARRAYS, {}, metric=2)
        checkpoints.wait()
        assert (checkpoints.best_step(), checkpoints.steps()) == (1, [1, 3])
        assert checkpoints.restore(abstract(ARRAYS), step=1).metric == 7.0


def test_without_metrics_no_step_is_the_best(tmp_path):
    with open_at(tmp_path) as checkpoints:
        checkpoints.save(1, ARRAYS, {})
        checkpoints.wait()
        assert (checkpoints.best_step(), checkpoints.latest_step()) == (None, 1)


def test_the_old_step_stays_until_the_new_one_was_read_back(tmp_path):
    with open_at(tmp_path, keep_last=1) as checkpoints:
        checkpoints.save(1, ARRAYS, {})
        checkpoints.wait()
        checkpoints.save(2, ARRAYS, {})
        # Complete or not, the new step has not been verified by now.
        assert (tmp_path / "1").exists()
        assert checkpoints.steps() == [1]
        checkpoints.wait()
        assert (on_disk(tmp_path), checkpoints.steps()) == ([2], [2])


@pytest.mark.parametrize("part", ["record/metadata", "arrays/manifest.ocdbt"])
def test_the_old_step_stays_if_the_new_one_cannot_be_read_back(tmp_path, part):
    with open_at(tmp_path, keep_last=1) as checkpoints:
        checkpoints.save(1, ARRAYS, {})
        checkpoints.wait()
        checkpoints.save(2, ARRAYS, {})
        while not (tmp_path / "2").exists():
            pass
        (tmp_path / "2" / part).write_bytes(b"")
        with pytest.raises(CheckpointError, match="2 was saved and cannot be read back"):
            checkpoints.wait()
        assert (on_disk(tmp_path), checkpoints.steps()) == ([1, 2], [1])
        assert checkpoints.restore(abstract(ARRAYS)).step == 1
        checkpoints.save(2, ARRAYS, {})
    assert on_disk(tmp_path) == [2]
    assert open_at(tmp_path).restore(abstract(ARRAYS)).step == 2


def test_only_due_steps_are_saved_unless_forced(tmp_path):
    with open_at(tmp_path, every=5, keep_last=9) as checkpoints:
        saved = [step for step in range(12) if checkpoints.save(step, ARRAYS, {})]
        assert saved == [0, 5, 10]
        assert checkpoints.save(12, ARRAYS, {"stop": True}, force=True)
        assert not checkpoints.save(12, ARRAYS, {}, force=True)
    assert on_disk(tmp_path) == [0, 5, 10, 12]
    assert open_at(tmp_path).restore(abstract(ARRAYS)).host == {"stop": True}


def test_a_step_before_the_latest_is_refused(tmp_path):
    with open_at(tmp_path) as checkpoints:
        checkpoints.save(5, ARRAYS, {})
        with pytest.raises(ValueError, match="step: expected at least 6, after those saved; got 4"):
            checkpoints.save(4, ARRAYS, {})
        with pytest.raises(
            ValueError, match="step: expected at least 6, after those saved; got -1"
        ):
            checkpoints.save(-1, ARRAYS, {})
    with pytest.raises(ValueError, match="step: expected at least 0, after those saved; got -1"):
        open_at(tmp_path / "new").save(-1, ARRAYS, {})


@pytest.mark.parametrize("metric", [float("nan"), float("inf"), np.float32("-inf")])
def test_a_metric_is_a_number(tmp_path, metric):
    with pytest.raises(ValueError, match="metric: expected a finite number or None; got"):
        open_at(tmp_path).save(1, ARRAYS, {}, metric=metric)


def test_a_metric_of_numpy_is_saved_as_a_number(tmp_path):
    with open_at(tmp_path) as checkpoints:
        checkpoints.save(1, ARRAYS, {}, metric=np.float32(0.5))
    assert open_at(tmp_path).restore(abstract(ARRAYS)).metric == 0.5


def test_an_evaluation_that_beats_the_best_is_saved_though_the_step_is_not_due(tmp_path):
    with open_at(tmp_path, every=100, keep_last=1) as checkpoints:
        saved = {
            step: checkpoints.save(step, ARRAYS, {}, metric=metric)
            for step, metric in ((1, None), (2, 0.5), (3, 0.5), (4, 0.25), (5, 0.75), (6, 0.6))
        }
        assert saved == {1: False, 2: True, 3: False, 4: False, 5: True, 6: False}
        assert checkpoints.save(7, ARRAYS, {}, metric=0.1, force=True)
        checkpoints.wait()
        assert (on_disk(tmp_path), checkpoints.best_step()) == ([5, 7], 5)


def test_of_the_best_as_many_are_saved_as_are_kept(tmp_path):
    with open_at(tmp_path, every=100, keep_last=1, keep_best=2) as checkpoints:
        for step, metric in enumerate((0.5, 0.25, 0.3, 0.1), 1):
            checkpoints.save(step, ARRAYS, {}, metric=metric)
        checkpoints.wait()
        assert on_disk(tmp_path) == [1, 3]
    with open_at(tmp_path / "none", every=100, keep_best=None) as checkpoints:
        assert not checkpoints.save(1, ARRAYS, {}, metric=0.5)


def test_a_protected_step_stays_as_long_as_later_saves_name_it(tmp_path):
    with open_at(tmp_path, keep_last=2, keep_best=None) as checkpoints:
        for step, protected in enumerate([(), (), (1,), (1,), (1,)], 1):
            checkpoints.save(step, ARRAYS, {}, protected=protected)
        checkpoints.wait()
        assert on_disk(tmp_path) == [1, 4, 5]
    # And over an interruption.
    with open_at(tmp_path, keep_last=2, keep_best=None) as checkpoints:
        checkpoints.restore(abstract(ARRAYS))
        checkpoints.save(6, ARRAYS, {}, protected=(1,))
        checkpoints.wait()
        assert on_disk(tmp_path) == [1, 5, 6]
        checkpoints.save(7, ARRAYS, {})
        checkpoints.wait()
        assert on_disk(tmp_path) == [6, 7]


@pytest.mark.reliability("F18")
def test_a_save_that_orbax_refuses_is_an_error_and_the_older_step_stays(tmp_path, monkeypatch):
    save = ocp.CheckpointManager.save

    def unforced(self, step, *, args, force):
        assert force
        return save(self, step, args=args)

    # By itself Orbax takes no step before its latest one, and says so with a value alone.
    monkeypatch.setattr(ocp.CheckpointManager, "save", unforced)
    files = StepFiles(epath.Path(tmp_path))
    items = ocp.args.Composite(record=ocp.args.JsonSave({"step": 5}))
    files.save(5, items)
    files.join(5)
    with pytest.raises(CheckpointError, match=f"step 3: Orbax refused to save it in {tmp_path}"):
        files.save(3, items)
    files.close()
    assert on_disk(tmp_path) == [5]
