"""Whole runs as a user makes them: what they leave behind, and that it says what happened."""

import io
import json
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image
from safetensors.numpy import load_file

from perl_jax import runs
from perl_jax.config import TrainConfig, WarmstartConfig
from perl_jax.data.sources.digits import Digits, DigitsConfig, words
from perl_jax.evaluate import main as evaluate_main
from perl_jax.evaluation.sets.table import BENCHMARKS
from perl_jax.export import main as export_main
from perl_jax.models import load_model
from perl_jax.processing import load_processor
from perl_jax.report import main as report_main
from perl_jax.rollout import Group, Sampler, SamplerConfig, Strategy
from perl_jax.settings import read_config
from perl_jax.training.display.metrics import find_metric
from perl_jax.training.display.writers import read_metrics
from perl_jax.types import prompt_text
from tests.evaluation.scripted import ROWS, SCRIPTED, lines_of, write_rows
from tests.graders import quick_runs
from tests.inspection.page_reader import read_page
from tests.update.real_runs import POLICY

OTHER_ROWS = {"rows": 65, "seed": 1, "skew": 0.8}
HELD_OUT = DigitsConfig(split="held_out", rows=4)


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with quick_runs():
        yield


def settings(**changes):
    """Two steps of reinforcement learning on digits, evaluated after each of them."""
    return {
        "model": {"path": str(POLICY), "compute_dtype": "float32"},
        "data": {
            "train": {"digits": {"rows": 64, "seed": 1, "skew": 0.8}},
            "held_out": {"digits": {"split": "held_out", "rows": 4}},
            "max_prompt_tokens": 80,
        },
        "steps": 2,
        "objective": {"kl_coefficient": 0.01},
        "permutation": {"schedule": {"kind": "constant"}},
        "rollout": {
            "groups": 2,
            "num_rollouts": 4,
            "max_new_tokens": 48,
            "sampler": {
                "prompt_lengths": (80,),
                "response_lengths": (64,),
                "patches": (256,),
                # One order at a time, so that few shapes are compiled.
                "rows": 4,
                "prefill_tokens": 80,
            },
        },
        "learner": {
            "packing": {
                "micro_groups": 1,
                "prompt_lengths": (80,),
                "response_lengths": (48,),
                "patches": (64,),
                "images": (4,),
            }
        },
        "optimizer": {"learning_rate": 1e-3},
        "reward": {"workers": 1, "deadline": 120.0},
        "evaluation": {"every": 1, "examples": 4, "num_orders": 2, "max_new_tokens": 48},
        "checkpoint": {"every": 1},
        "logging": {"console": False},
        **changes,
    }


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "run"
    out, err = io.StringIO(), io.StringIO()
    given = settings(logging={"console": True})
    with redirect_stdout(out), redirect_stderr(err):
        outcome = runs.train(read_config(TrainConfig, ConfigDict(given)), directory)
    assert (outcome.step, outcome.finished) == (2, True)
    (directory.parent / "out").write_text(out.getvalue())
    (directory.parent / "err").write_text(err.getvalue())
    return directory


def test_standard_output_holds_the_final_table_and_the_places_alone(workdir):
    first, *others = (workdir.parent / "out").read_text().splitlines()
    assert first.split() == ["before", "after", "change"]
    assert [line.split("  ")[0] for line in others] == [
        "accuracy", "order_consistency", "examples", "metrics", "checkpoints",
        "exported model", "learning curves", "summary",
    ]  # fmt: skip


def test_the_screen_tells_what_runs_what_happens_and_what_to_do_next(workdir):
    said = (workdir.parent / "err").read_text()
    words = [
        f"loading {POLICY}", "devices ", "model ", "data ", "rule ", "a step ", "filtering ",
        "permutation ", f"work dir     {workdir}", "run          seed 0; starts", "step 1/2",
        "step 2/2", "exporting the policy", "2 steps took", "best held-out", "to export",
        "to ask",
    ]  # fmt: skip
    places = [said.index(word) for word in words]
    assert places == sorted(places)
    assert "kept " in said


def test_a_quiet_run_says_nothing_but_what_was_changed(warmstarted):
    said = (warmstarted.parent / "err").read_text().splitlines()
    changed = [line for line in said if line.endswith("it goes on with the change")]
    assert said == changed
    assert [line.split(": ")[2] for line in changed] == ["early_stop.patience", "export"]


@pytest.fixture(scope="module")
def rows(workdir):
    return read_metrics(workdir / "metrics.jsonl")


def test_the_summary_has_what_was_measured_before_and_after(workdir, rows):
    summary = json.loads((workdir / "summary.json").read_text())
    assert (summary["steps"], summary["seed"]) == (2, 0)
    for name, row in (("before", rows[0]), ("after", rows[-1])):
        assert summary[name] == {
            "accuracy": row["eval/accuracy"],
            "order_consistency": row["eval/order_consistency"],
            "examples": 4,
        }
    assert summary["seconds"] == pytest.approx(
        sum(row["perf/step_seconds"] for row in rows[1:]), abs=0.1
    )


def test_every_metric_that_a_run_logs_is_in_the_table(rows):
    assert [row["step"] for row in rows] == [0, 1, 2]
    logged = set().union(*rows) - {"step"}
    assert [name for name in logged if find_metric(name) is None] == []
    assert {
        "reward/accuracy", "policy/entropy", "policy/kl", "policy/clip_fraction",
        "policy/logprob_gap_max", "rollout/length", "rollout/truncated", "permutation/rate",
        "filter/kept", "perf/tokens_per_second", "perf/mfu", "perf/compilations", "data/epoch",
    } <= logged  # fmt: skip


def test_what_a_step_logs_is_consistent(rows):
    for row in rows[1:]:
        assert 0 < row["perf/mfu"] < 1.5
        assert row["perf/tokens_per_second"] == pytest.approx(
            row["rollout/tokens"] / row["perf/step_seconds"]
        )
        assert row["policy/logprob_gap_max"] < 1e-4
        assert row["permutation/orders"] == 2
    # The reference is the policy before the first update, in bfloat16.
    assert rows[1]["policy/kl"] < 1e-2
    assert rows[2]["data/epoch"] == sum(row["filter/drawn"] for row in rows[1:]) / 64


def test_rollouts_curves_settings_and_event_files_are_there(workdir):
    lines = (workdir / "rollouts.jsonl").read_bytes().splitlines()
    records = [json.loads(line) for line in lines]
    assert {record["step"] for record in records} == {1, 2}
    assert all(text for record in records for of_order in record["responses"] for text in of_order)
    shown = {name for record in records for name in record["images"]}
    assert {file.name for file in (workdir / "images").iterdir()} == {f"{n}.jpg" for n in shown}
    lines = (workdir / "evaluations" / "step_2.jsonl").read_text().splitlines()
    answers = [json.loads(line) for line in lines]
    assert len({answer["id"] for answer in answers}) == 4
    with Image.open(workdir / "curves.png") as curves:
        assert curves.size[0] > 500
    assert any((workdir / "tensorboard").iterdir())
    stored = json.loads((workdir / "config.json").read_text())
    given = settings(logging={"console": True})
    assert read_config(TrainConfig, stored) == read_config(TrainConfig, given)


def test_a_checkpoint_is_exported_as_the_model_directory_that_the_run_left(workdir, tmp_path):
    export_main([f"--workdir={workdir}", f"--out={tmp_path / 'latest'}"])
    at_the_end = load_file(workdir / "export" / "model.safetensors")
    exported = load_file(tmp_path / "latest" / "model.safetensors")
    assert exported.keys() == at_the_end.keys()
    assert all(np.array_equal(exported[name], leaf) for name, leaf in at_the_end.items())
    start = load_file(POLICY / "model.safetensors")
    assert exported.keys() == start.keys()
    assert not any(np.array_equal(exported[name], leaf) for name, leaf in start.items())
    # Step 1 is still there: each of the last two is kept.
    export_main([f"--workdir={workdir}", f"--out={tmp_path / 'first'}", "--step=1"])
    first = load_file(tmp_path / "first" / "model.safetensors")
    assert not any(np.array_equal(exported[name], leaf) for name, leaf in first.items())


def test_a_checkpoint_is_evaluated_as_the_model_that_the_run_left(workdir, tmp_path, monkeypatch):
    monkeypatch.setitem(BENCHMARKS, "scripted", SCRIPTED)
    path = write_rows(tmp_path, ROWS[:3])
    limits = ["--max_new_tokens=24", "--prompt=boxed", f"--data=scripted={path}"]
    for name, *source in (
        ("run", f"--workdir={workdir}"),
        ("first", f"--workdir={workdir}", "--step=1"),
        ("export", f"--model={workdir / 'export'}", "--dtype=float32"),
    ):
        evaluate_main([*source, *limits, f"--out={tmp_path / name}"])
    latest, first, settings_of = (
        json.loads((tmp_path / name / "scripted" / "settings.json").read_text())
        for name in ("run", "first", "export")
    )
    assert (latest["workdir"], latest["step"], first["step"]) == (str(workdir), 2, 1)
    # The demo's rows hold all that is asked.
    assert latest["prompt"]["suffix"] == ""
    assert settings_of["prompt"]["suffix"].startswith(" You FIRST think")
    asked_bare = [*limits[:1], "--prompt=official", limits[2]]
    for name, *source in (
        ("run-2", f"--workdir={workdir}"),
        ("export-2", f"--model={workdir / 'export'}", "--dtype=float32"),
    ):
        evaluate_main([*source, *asked_bare, f"--out={tmp_path / name}"])
    assert lines_of(tmp_path / "run-2/scripted") == lines_of(tmp_path / "export-2/scripted")
    with pytest.raises(SystemExit):
        evaluate_main([f"--workdir={workdir}", "--step=7", *limits, f"--out={tmp_path / 'no'}"])


def test_a_step_that_is_not_there_is_an_error_of_one_line(workdir, tmp_path):
    command = [sys.executable, "-m", "perl_jax.export", f"--workdir={workdir}"]
    done = subprocess.run(
        [*command, f"--out={tmp_path / 'out'}", "--step=7"], capture_output=True, text=True
    )
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "step 7 is not in" in line
    assert "1, 2" in line


@pytest.mark.parity
def test_transformers_gives_the_same_greedy_answers_from_the_exported_directory(workdir):
    from tests.models.reference import Reference

    directory = workdir / "export"
    processor = load_processor(directory)
    source = Digits(HELD_OUT)
    examples = [source[n] for n in range(len(source))]
    prompts = [processor.encode(prompt_text(one), one.images) for one in examples]
    rollouts = Sampler(processor, SamplerConfig(prompt_lengths=(80,))).sample(
        load_model(directory, dtype="float32"),
        [Group.of(one.id, [prompt]) for one, prompt in zip(examples, prompts, strict=True)],
        num_rollouts=1,
        max_new_tokens=48,
        strategy=Strategy(temperature=0.0),
        key=0,
    )
    reference = Reference(directory)
    for prompt, tokens, length in zip(
        prompts, rollouts.tokens[:, 0, 0], rollouts.lengths[:, 0, 0], strict=True
    ):
        want = reference.greedy(prompt, int(length), suppress=list(processor.banned_tokens))
        assert tokens[:length].tolist() == want


def warmstart_settings(**changes):
    """Supervised training of a model with one layer of each kind."""
    return {
        "fresh": {
            "text": {
                "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1,
                "num_attention_heads": 2, "num_key_value_heads": 1,
            },
            "vision": {"depth": 1, "hidden_size": 32, "fullatt_block_indexes": [0]},
            "words": words(),
            "dtype": "float32",
            "min_pixels": 784,
        },
        "model": {"compute_dtype": "float32"},
        "data": {
            "train": {"digits": {"rows": 256}},
            "held_out": {"digits": {"split": "held_out", "rows": 2}},
            "max_prompt_tokens": 80,
        },
        "steps": 6,
        "rows": 16,
        "max_response_tokens": 44,
        "optimizer": {"learning_rate": 1e-2},
        "learner": {
            "packing": {
                "micro_groups": 16, "prompt_lengths": (80,), "response_lengths": (44,),
                "patches": (256,), "images": (64,),
            }
        },
        "rollout": {
            "sampler": {"prompt_lengths": (80,), "patches": (256,), "rows": 1, "prefill_tokens": 80}
        },
        "evaluation": {"every": 3, "examples": 2, "num_orders": 0, "max_new_tokens": 4},
        "checkpoint": {"every": 3},
        "logging": {"console": False, "tensorboard": False},
        **changes,
    }  # fmt: skip


@pytest.fixture(scope="module")
def early(tmp_path_factory):
    """A run that an early stop ended, was started again twice, and went on to its last step."""
    directory = tmp_path_factory.mktemp("runs") / "warmstart"
    summary = directory / "summary.json"

    def run(patience, export=False):
        given = warmstart_settings(early_stop={"patience": patience}, export=export)
        outcome = runs.warmstart(read_config(WarmstartConfig, given), directory)
        return outcome.step, outcome.finished, json.loads(summary.read_text())

    err = io.StringIO()
    with redirect_stderr(err):
        # At four tokens nothing can be right: no evaluation is better than the one at the start.
        ended = run(patience=1)
    exported = (directory / "export").exists()
    # Killed before its summary was there, it has ended nevertheless.
    summary.unlink()
    again = run(patience=1)
    with pytest.raises(ValueError, match="this run is finished") as refused:
        run(patience=1)
    with redirect_stderr(err):
        on = run(patience=5, export=True)
    (directory.parent / "err").write_text(err.getvalue())
    return SimpleNamespace(
        workdir=directory,
        ended=ended,
        exported=exported,
        again=again,
        refused=str(refused.value),
        on=on,
    )


@pytest.fixture(scope="module")
def warmstarted(early):
    return early.workdir


def test_a_warm_start_lowers_the_loss_and_leaves_a_model_directory(warmstarted):
    losses = [row["supervised/loss"] for row in read_metrics(warmstarted / "metrics.jsonl")[1:]]
    assert len(losses) == 6
    # Before anything is learnt, every token is about as likely as any other.
    assert losses[0] == pytest.approx(np.log(608), rel=0.15)
    assert losses[-1] < 0.6 * losses[0]
    assert all(row["perf/mfu"] > 0 for row in read_metrics(warmstarted / "metrics.jsonl")[1:])
    model = load_model(warmstarted / "export", dtype="float32")
    assert model.config.text.num_layers == 1
    fresh = load_file(warmstarted / "fresh_model" / "model.safetensors")
    trained = load_file(warmstarted / "export" / "model.safetensors")
    assert trained.keys() == fresh.keys()
    assert np.any(
        trained["visual.patch_embed.proj.weight"] != fresh["visual.patch_embed.proj.weight"]
    )


def test_a_run_ends_when_no_evaluation_got_better_for_long_enough(early):
    step, finished, summary = early.ended
    assert (step, finished, early.exported) == (3, True, False)
    assert summary["steps"] == 3
    assert summary["before"] == summary["after"] == {"accuracy": 0, "examples": 2}
    assert early.again == early.ended
    assert re.search(r"3 of 6 steps .* give another early_stop", early.refused)
    assert early.on[:2] == (6, True)


def test_a_response_that_is_too_long_ends_the_run_and_is_named(tmp_path):
    given = warmstart_settings(max_response_tokens=10)
    with pytest.raises(ValueError, match=r"'train-0-\d+' of 'digits'.*at most 10 tokens.*got \d+"):
        runs.warmstart(read_config(WarmstartConfig, given), tmp_path / "run")


@pytest.mark.reliability("59")
def test_a_finished_run_is_not_run_again(workdir):
    before = {file: file.stat().st_mtime_ns for file in workdir.glob("*.json*")}
    with pytest.raises(ValueError, match="this run is finished: 2 of 2 steps are done"):
        runs.train(read_config(TrainConfig, settings()), workdir)
    assert before == {file: file.stat().st_mtime_ns for file in workdir.glob("*.json*")}


@pytest.mark.reliability("55")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed: saved as 0, now 1"),
        (
            {"data": {**settings()["data"], "train": {"digits": OTHER_ROWS}}},
            r"data\.train\.digits\.rows: saved as 64, now 65\n.*--allow_changes=data\.train",
        ),
    ],
    ids=["config", "data"],
)
def test_a_work_directory_goes_on_with_its_own_run_alone(change, message, workdir):
    run = partial(runs.train, read_config(TrainConfig, settings(**change)), workdir)
    with pytest.raises(runs.RUN_ERRORS, match=message):
        run()


def test_the_report_of_a_run_shows_all_that_it_logged(workdir, tmp_path):
    report_main([f"--workdir={workdir}", f"--out={tmp_path / 'report.html'}"])
    page = read_page((tmp_path / "report.html").read_text())
    lines = (workdir / "rollouts.jsonl").read_text().splitlines()
    assert len(page.all("group")) == len(lines)
    assert page.all("picture")
    assert not page.all("broken")
    assert not page.all("none")[1:], "filters need JavaScript, and nothing is missing"


def test_the_report_of_a_warm_start_has_curves_and_no_rollouts(warmstarted, tmp_path):
    report_main([f"--workdir={warmstarted}", f"--out={tmp_path / 'report.html'}"])
    page = read_page((tmp_path / "report.html").read_text())
    assert "Supervised loss" in [chart.one("strong").text for chart in page.all("chart")]
    assert "No rollouts were logged." in [one.text for one in page.all("none")]
