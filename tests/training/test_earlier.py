"""What an earlier run left in a work directory is never lost, with or without its checkpoints."""

import json
import logging

import jax.numpy as jnp
import pytest
from etils import epath

from perl_jax.training.checkpoint import CheckpointConfig, Checkpoints
from perl_jax.training.earlier import restart, settle

CONFIG = CheckpointConfig(every=10)


@pytest.fixture
def workdir(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def directory(workdir):
    return epath.Path(workdir / "checkpoints")


def write(workdir, logged, every=10, directory=None):
    """The files of a run that logged so many steps."""
    workdir.mkdir(exist_ok=True)
    config = {"checkpoint": {"directory": directory, "every": every}}
    (workdir / "config.json").write_text(json.dumps(config))
    rows = [{"step": step, "reward/mean": 0.5} for step in range(logged + 1)]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (workdir / "rollouts.jsonl").write_text("rollouts\n")
    (workdir / "tensorboard").mkdir()
    (workdir / "mine.txt").write_text("the user's own")


def save(directory, step=10):
    with Checkpoints(directory, CONFIG, fingerprint={}) as checkpoints:
        checkpoints.save(step, {"w": jnp.ones(2)}, {})


def files(directory):
    return sorted(path.name for path in directory.iterdir())


WRITTEN = ["config.json", "metrics.jsonl", "mine.txt", "rollouts.jsonl", "tensorboard"]


def test_a_run_with_checkpoints_goes_on_and_its_files_stay(workdir, directory):
    write(workdir, 12)
    save(directory)
    assert settle(workdir, directory, CONFIG)
    assert files(workdir) == sorted([*WRITTEN, "checkpoints"])


def test_a_new_work_directory_is_free(workdir, directory):
    workdir.mkdir()
    assert not settle(workdir, directory, CONFIG)
    assert files(workdir) == []


def test_checkpoints_that_are_gone_are_an_error_that_names_the_place(workdir, directory):
    write(workdir, 11)
    with pytest.raises(ValueError, match="logged 11 steps here and saved every 10") as caught:
        settle(workdir, directory, CONFIG)
    message = f"there are none in {directory}. To go on, put them back; --restart moves"
    assert message in str(caught.value)
    assert files(workdir) == WRITTEN


def test_a_finished_run_without_checkpoints_is_an_error_however_short_it_was(workdir, directory):
    write(workdir, 3)
    (workdir / "summary.json").write_text("{}")
    with pytest.raises(ValueError, match="its checkpoints are gone"):
        settle(workdir, directory, CONFIG)


def test_a_changed_directory_of_checkpoints_is_an_error_that_names_both(workdir, tmp_path):
    before, now = tmp_path / "before", tmp_path / "now"
    write(workdir, 12, directory=str(before))
    save(before)
    with pytest.raises(ValueError, match="this run are in") as caught:
        settle(workdir, epath.Path(now), CONFIG)
    assert f"are in {before}, as its config.json says" in str(caught.value)
    assert f"checkpoint.directory is now {now}, where there are none" in str(caught.value)
    assert f"--config.checkpoint.directory={before}, or copy them first" in str(caught.value)
    # Where they were moved by hand, the run goes on.
    before.rename(now)
    assert settle(workdir, epath.Path(now), CONFIG)


def test_if_neither_place_has_checkpoints_both_are_named(workdir, tmp_path):
    write(workdir, 12, directory=str(tmp_path / "before"))
    message = f"none in {tmp_path / 'before'} and none in {tmp_path / 'now'}"
    with pytest.raises(ValueError, match=message):
        settle(workdir, epath.Path(tmp_path / "now"), CONFIG)


@pytest.mark.parametrize("logged", [9, 10])
def test_a_run_that_died_before_its_first_checkpoint_starts_again_and_keeps_its_logs(
    workdir, directory, logged, caplog
):
    write(workdir, logged)
    with caplog.at_level(logging.WARNING):
        assert not settle(workdir, directory, CONFIG)
    (aside,) = workdir.glob("before-*")
    assert files(aside) == [name for name in WRITTEN if name != "mine.txt"]
    assert files(workdir) == [aside.name, "mine.txt"]
    assert f"stopped after step {logged}, before its first checkpoint" in caplog.text
    assert str(aside) in caplog.text


def test_when_checkpoints_were_due_is_what_the_earlier_run_was_told(workdir, directory):
    write(workdir, 12, every=50)
    assert not settle(workdir, directory, CONFIG)


def test_a_run_that_died_in_its_first_save_starts_again(workdir, directory):
    write(workdir, 14)
    (directory / "10.orbax-checkpoint-tmp").mkdir(parents=True)
    assert not settle(workdir, directory, CONFIG)
    assert len(list(workdir.glob("before-*"))) == 1


def test_a_lease_is_no_sign_of_a_save(workdir, directory):
    write(workdir, 14)
    directory.mkdir(parents=True)
    (directory / ".lease").touch()
    with pytest.raises(ValueError, match="its checkpoints are gone"):
        settle(workdir, directory, CONFIG)


def test_a_restart_moves_everything_of_the_run_aside_and_nothing_else(workdir, directory):
    write(workdir, 12)
    save(directory)
    exports, logs = ("export", "export-until-1"), ("skipped_rows.jsonl", "reward_functions.log")
    for name in ("summary.json", "fresh_model", *exports, *logs):
        (workdir / name).mkdir()
    (directory / ".lease").touch()
    (workdir / ".lock").touch()
    before = set(files(workdir)) - {".lock", "mine.txt"}
    restart(workdir, directory)
    (aside,) = workdir.glob("before-*")
    assert set(files(aside)) == before
    assert files(aside / "checkpoints") == ["10"]
    assert files(workdir) == [".lock", aside.name, "checkpoints", "mine.txt"]
    # The lease is that of the run that restarts.
    assert files(directory) == [".lease"]
    assert not settle(workdir, directory, CONFIG)
    # Nothing is left to move.
    restart(workdir, directory)
    assert len(list(workdir.glob("before-*"))) == 1


def test_two_restarts_in_a_second_have_a_directory_each(workdir, directory):
    for _ in range(2):
        write(workdir, 1)
        restart(workdir, directory)
    assert len(list(workdir.glob("before-*"))) == 2


def test_a_restart_leaves_checkpoints_elsewhere_alone_and_wants_another_place(workdir, tmp_path):
    write(workdir, 12, directory=str(tmp_path / "elsewhere"))
    save(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"--restart: .*elsewhere holds the steps 10\. Give"):
        restart(workdir, epath.Path(tmp_path / "elsewhere"))
    assert files(workdir) == WRITTEN
    restart(workdir, epath.Path(tmp_path / "new"))
    assert files(tmp_path / "elsewhere") == ["10"]
