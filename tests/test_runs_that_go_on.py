"""Whole runs that are extended, watched more closely, fed other rows, and started from others."""

import json

import numpy as np
import pytest
from etils import epath
from safetensors.numpy import load_file

from perl_jax import runs
from perl_jax.config import WarmstartConfig
from perl_jax.export import main as export_main
from perl_jax.settings import read_config
from perl_jax.training.checkpoint.lease import Lease
from perl_jax.training.display.writers import read_metrics
from perl_jax.training.start import Start
from tests.graders import quick_runs
from tests.test_runs import warmstart_settings
from tests.update.real_runs import POLICY

# No step is due but the last.
CHECKPOINT = {"every": 100}
DATA = {"train": {"digits": {"rows": 256}}, "max_prompt_tokens": 80}
HELD_OUT = {**DATA, "held_out": {"digits": {"split": "held_out", "rows": 2}}}
EVALUATION = {"every": 1, "examples": 2, "num_orders": 0, "max_new_tokens": 4}


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with quick_runs():
        yield


def warmstart(workdir, start=None, **changes):
    given = {"checkpoint": CHECKPOINT, "data": DATA, "evaluation": EVALUATION, **changes}
    config = read_config(WarmstartConfig, warmstart_settings(**given))
    return runs.warmstart(config, workdir, start or Start())


def weights(directory):
    return load_file(directory / "model.safetensors")


def same(one, other):
    return all(np.array_equal(one[name], leaf) for name, leaf in other.items())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def first(place):
    """A run of two steps, without evaluations."""
    warmstart(place / "run", steps=2)
    return place / "run"


@pytest.fixture(scope="module")
def refused(first, place):
    """What the same command says to it, and what an export of its best step says."""
    with pytest.raises(ValueError, match="this run is finished") as again:
        warmstart(first, steps=2)
    flags = [f"--workdir={first}", f"--out={place / 'none'}", "--step=best", "--debug"]
    with pytest.raises(ValueError, match="step best") as best:
        export_main(flags)
    return str(again.value), str(best.value)


@pytest.fixture(scope="module")
def extended(first, refused):
    """The same run, with two more steps and evaluations."""
    outcome = warmstart(first, steps=4, data=HELD_OUT)
    assert (outcome.step, outcome.finished) == (4, True)
    return first


def test_a_finished_run_says_how_it_is_extended(refused):
    assert "2 of 2 steps are done. To go on, give --config.steps=N with more than 2; " in refused[0]


def test_without_evaluations_there_is_no_best_step(refused):
    assert "none of its checkpoints was evaluated. Choose latest or one of 2" in refused[1]


def test_an_extended_run_is_the_one_that_had_all_steps_from_the_start(extended, place):
    warmstart(place / "whole", steps=4, data=HELD_OUT)
    assert same(weights(extended / "export"), weights(place / "whole" / "export"))
    losses = [
        [row.get("supervised/loss") for row in read_metrics(workdir / "metrics.jsonl")][-4:]
        for workdir in (extended, place / "whole")
    ]
    assert losses[0] == losses[1]


def test_an_evaluation_that_is_added_begins_where_the_run_is(extended):
    rows = {row["step"]: row for row in read_metrics(extended / "metrics.jsonl")}
    assert [step for step, row in rows.items() if "eval/accuracy" in row] == [2, 3, 4]
    assert "supervised/loss" in rows[2]
    summary = json.loads((extended / "summary.json").read_text())
    assert (summary["steps"], summary["before"]["examples"]) == (4, 2)


def test_the_end_of_an_extended_run_takes_the_place_of_the_first(extended):
    (before,) = extended.glob("export-until-*")
    assert not same(weights(before), weights(extended / "export"))
    summary = json.loads((extended / "summary.json").read_text())
    assert summary["export"] == str(extended / "export")


def test_the_best_step_is_saved_when_it_is_found(extended):
    # Only the last step was due. The first that was evaluated is the best, with nothing right.
    assert sorted(path.name for path in (extended / "checkpoints").iterdir()) == ["3", "4"]


@pytest.fixture(scope="module")
def from_best(extended, place):
    start = Start(init_from=f"{extended}@3")
    changes = {"optimizer": {"learning_rate": 1e-3}, "data": HELD_OUT, "steps": 1}
    fresh = {"fresh": None, "model": {"path": str(extended / "fresh_model")}}
    warmstart(place / "new", start, **fresh, **changes)
    return place / "new"


def test_a_new_run_starts_from_a_step_of_another(from_best, extended):
    rows, others = (read_metrics(w / "metrics.jsonl") for w in (from_best, extended))
    # The same rows come first, and the policy has learnt on them already.
    assert [row["step"] for row in rows] == [0, 1]
    assert rows[1]["supervised/loss"] < 0.9 * others[0]["supervised/loss"]
    assert rows[1]["optimizer/learning_rate"] == pytest.approx(1e-3)
    summary = json.loads((from_best / "summary.json").read_text())
    assert summary["init_from"] == {"from": f"{extended}@3", "moments": False}


def test_with_other_rows_that_are_allowed_a_run_goes_on_at_their_beginning(from_best, capsys):
    fresh = {"fresh": None, "model": {"path": str(from_best.parent / "run" / "fresh_model")}}
    changes = {"optimizer": {"learning_rate": 1e-3}, "steps": 2, **fresh}
    parts = [{"source": {"digits": {"rows": rows, "seed": rows}}} for rows in (256, 128)]
    data = {**DATA, "train": {"mixture": parts}}
    with pytest.raises(runs.RUN_ERRORS, match=r"(?s)data\.train\.mixture.*changes=data\.train"):
        warmstart(from_best, data=data, **changes)
    outcome = warmstart(from_best, Start(allow_changes=("data.train",)), data=data, **changes)
    assert outcome.step == 2
    assert "the new order begins at its first row" in capsys.readouterr().err
    assert read_metrics(from_best / "metrics.jsonl")[-1]["data/epoch"] == 16 / 384


# What is refused before anything is loaded.


@pytest.fixture
def unloaded(monkeypatch):
    """No part of a run may be opened."""

    def opened(*arguments):
        raise AssertionError("the rows were opened")

    monkeypatch.setattr(runs, "open_rows", opened)


def test_a_directory_of_checkpoints_has_one_job(unloaded, tmp_path):
    shared = tmp_path / "checkpoints"
    with (
        Lease(epath.Path(shared), "/runs/other"),
        pytest.raises(runs.RUN_ERRORS, match=r"in use by process \d+ on .* \(workdir /runs/other"),
    ):
        warmstart(tmp_path / "run", checkpoint={"directory": str(shared)})


def test_a_run_whose_checkpoints_are_gone_is_refused_and_loses_nothing(unloaded, tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    rows = "".join(json.dumps({"step": step}) + "\n" for step in range(4))
    (workdir / "metrics.jsonl").write_text(rows)
    with pytest.raises(ValueError, match="logged 3 steps here and saved every 1, and its check"):
        warmstart(workdir, checkpoint={"every": 1})
    assert (workdir / "metrics.jsonl").read_text() == rows
    with pytest.raises(AssertionError, match="the rows were opened"):
        warmstart(workdir, Start(restart=True), fresh=None, model={"path": "org/name"})
    (aside,) = workdir.glob("before-*")
    assert (aside / "metrics.jsonl").read_text() == rows
    # The lease ends with the run, however that ends.
    assert list((workdir / "checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"allow_changes": ("seeed",)}, r"--allow_changes: .*'seeed' \(did you mean 'seed'"),
        ({"init_from": str(POLICY)}, "this is a model directory: start from it with --config.mod"),
        ({"init_moments": True}, "--init_moments: expected --init_from=WORKDIR too"),
        ({"init_from": "runs/none@best"}, "runs/none: expected the work directory of a run"),
    ],
)
def test_flags_that_cannot_be_followed_are_refused(flags, message, unloaded, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        warmstart(tmp_path / "run", Start(**flags))
    assert not list(tmp_path.glob("run/fresh_model"))
