"""The experiment of docs/experiments.md: its runs, what is kept of them, and its intervals."""

import json
import math
import re
from pathlib import Path

import pytest

from benchmarks import perl_vs_grpo as experiment
from benchmarks.perl_vs_grpo import ARMS, Run, runs
from perl_jax.config import TrainConfig
from perl_jax.overrides import open_config, split_overrides


def test_every_arm_is_trained_once_at_each_of_its_biases_and_seeds():
    planned = list(runs((0, 1)))
    assert len(planned) == len(set(planned))
    assert {(run.arm, run.skew) for run in planned} == {
        (name, skew) for name, arm in ARMS.items() for skew in arm.skews
    }
    assert all(planned.count(Run(run.arm, run.skew, 1 - run.seed)) == 1 for run in planned)


def config_of(run):
    """The configuration that the run's command line gives."""
    overrides, rest = split_overrides(run.command("somewhere")[3:])
    (config,) = [one.partition("=")[2] for one in rest if one.startswith("--config=")]
    return open_config(TrainConfig, config, overrides)


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_has_as_many_rollouts_of_as_many_groups(arm):
    config = config_of(Run(arm, 0.8, 3))
    rollouts = (1 + config.permutation.num_orders) * config.rollout.num_rollouts
    groups = config.rollout.groups * (config.filtering.max_draws if config.filtering.enabled else 1)
    assert (rollouts, groups, config.steps) == (12, 32, 20)
    assert (config.seed, config.data.train.digits.skew) == (3, 0.8)
    assert config.data.held_out.digits.skew is None
    assert config.evaluation.examples == 512


def test_the_arms_differ_in_permutation_and_filter_alone():
    told = {}
    for arm in ("GRPO", "permutation", "filtering", "PeRL"):
        config = config_of(Run(arm, 0.95, 0))
        told[arm] = (config.permutation.num_orders, config.filtering.enabled)
    assert told == {
        "GRPO": (0, False),
        "permutation": (1, False),
        "filtering": (0, True),
        "PeRL": (1, True),
    }


def line(step, **metrics):
    return json.dumps({"step": step, **{k.replace("__", "/"): v for k, v in metrics.items()}})


def drawn(**more):
    return {
        "filter__drawn": 30, "filter__surplus": 2, "filter__kept": 16, "rollout__tokens": 900.0,
        "reward__accuracy": 0.5, "perf__step_seconds": 1.25, **more,
    }  # fmt: skip


def test_of_a_run_its_evaluations_and_the_figures_of_its_steps_are_kept(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        "\n".join(
            [
                line(0, eval__accuracy=0.25, eval__examples=512),
                line(1, **drawn()),
                line(2, **drawn(reward__accuracy=0.75, eval__accuracy=0.5, eval__length=3)),
            ]
        )
    )
    assert experiment.result_of(Run("PeRL", 0.8, 4), tmp_path) == {
        "arm": "PeRL", "skew": 0.8, "seed": 4,
        "held_out": {"0": {"accuracy": 0.25}, "2": {"accuracy": 0.5, "length": 3}},
        "drawn": (30, 30), "surplus": (2, 2), "kept": (16, 16), "tokens": (900.0, 900.0),
        "accuracy": (0.5, 0.75), "step_seconds": (1.25, 1.25),
    }  # fmt: skip


def test_what_has_a_result_is_not_trained_again(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "RESULTS", tmp_path / "results" / "digits.jsonl")
    trained = []

    def train(command, **_):
        workdir = next(one for one in command if one.startswith("--workdir=")).partition("=")[2]
        trained.append(workdir)
        (tmp_path / workdir).mkdir(parents=True)
        metrics = [line(0, eval__accuracy=0.25), line(1, **drawn(eval__accuracy=0.5))]
        (tmp_path / workdir / "metrics.jsonl").write_text("\n".join(metrics))
        if len(trained) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(experiment.subprocess, "run", train)
    with pytest.raises(KeyboardInterrupt):
        experiment.run_all((0,), tmp_path / "runs")
    assert len(experiment.read_results()) == 2
    interrupted = trained[-1]
    experiment.shutil.rmtree(interrupted)
    experiment.run_all((0,), tmp_path / "runs")
    assert trained.count(interrupted) == 2
    assert len(trained) - 1 == len(set(trained)) == len(list(runs((0,))))
    assert set(experiment.read_results()) == set(runs((0,)))
    assert not list((tmp_path / "runs").iterdir())


def test_a_run_that_ended_before_its_result_was_written_is_not_trained_again(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "RESULTS", tmp_path / "results" / "digits.jsonl")
    first = next(runs((0,)))
    trained = []

    def train(command, **_):
        workdir = Path(next(one for one in command if "--workdir=" in one).partition("=")[2])
        workdir.mkdir(parents=True)
        metrics = [line(0, eval__accuracy=0.25), line(1, **drawn(eval__accuracy=0.5))]
        (workdir / "metrics.jsonl").write_text("\n".join(metrics))
        (workdir / "summary.json").write_text("{}")
        trained.append(workdir.name)
        if len(trained) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(experiment.subprocess, "run", train)
    with pytest.raises(KeyboardInterrupt):
        experiment.run_all((0,), tmp_path / "runs")
    assert trained == [first.name]
    assert not experiment.read_results()
    experiment.run_all((0,), tmp_path / "runs")
    assert trained.count(first.name) == 1
    assert first in experiment.read_results()


def row(accuracy, consistency):
    last = {"accuracy": accuracy, "order_consistency": consistency}
    columns = ("drawn", "surplus", "kept", "tokens", "step_seconds", "accuracy")
    first = dict.fromkeys(last, 0.1)
    return {"held_out": {"0": first, "20": last}, **dict.fromkeys(columns, (1.0,))}


def test_an_interval_is_that_of_students_t_over_the_seeds():
    # The quantile of two degrees of freedom is 4.3027; the deviation of 1, 2, 3 is 1.
    mean, width = experiment.interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert width == pytest.approx(4.3027 / math.sqrt(3), abs=1e-4)
    assert math.isnan(experiment.interval([1.0])[1])


def test_differences_are_taken_seed_by_seed_at_the_last_evaluation():
    results = {
        Run("GRPO", 0.8, 0): row(0.5, 0.4),
        Run("GRPO", 0.8, 1): row(0.6, 0.4),
        Run("PeRL", 0.8, 1): row(0.7, 0.5),
        Run("PeRL", 0.8, 0): row(0.6, 0.6),
        Run("PeRL", 0.8, 2): row(0.9, 0.9),
    }
    mine, other = (experiment.values(results, arm, 0.8, "accuracy") for arm in ("PeRL", "GRPO"))
    assert list(mine) == [0, 1, 2]
    assert experiment.differences(mine, other) == pytest.approx([0.1, 0.1])
    table = experiment.tables(results).splitlines()
    (told,) = [one for one in table if re.match(r"\| 0\.8 \| PeRL \|", one)]
    cells = [cell.strip() for cell in told.strip("|").split("|")]
    assert cells[2].startswith("73.3 ± ")
    assert cells[3].startswith("+10.0 ± 0.0")
    assert cells[5].startswith("+15.0 ± ")


def test_the_page_shows_the_results_that_there_are():
    page, results = experiment.PAGE.read_text(), experiment.read_results()
    assert experiment.with_tables(page, experiment.tables(results)) == page
    assert set(results) <= set(runs(experiment.SEEDS))
    planned = len(list(runs(experiment.SEEDS)))
    if len(results) < planned:
        assert f"**Under way: {len(results)} of {planned} runs are done.**" in page
    else:
        assert "Under way" not in page
