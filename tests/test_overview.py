"""The lines at the start and the end of a run, for scripted parts."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from perl_jax import overview
from perl_jax.config import TrainConfig, WarmstartConfig
from perl_jax.data.pipeline.mixture import Mixture, Part
from perl_jax.data.sources.digits import Digits, DigitsConfig
from perl_jax.data.sources.source import BadRow
from perl_jax.mesh import make_mesh
from perl_jax.settings import read_config
from perl_jax.types import Example

GIVEN = {
    "model": {"path": "some/model", "dtype": "bfloat16"},
    "data": {"train": {"digits": {"rows": 64}}},
    "steps": 1200,
}


class Policy(nnx.Module):
    """A policy of 6 parameters."""

    def __init__(self):
        self.weight = nnx.Param(jnp.zeros((2, 3)))
        self.config = SimpleNamespace(model_type="some_family")


class Rows:
    """Rows that are written down; None is one that cannot be used."""

    def __init__(self, *rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        if self.rows[index] is None:
            raise BadRow("bad_image", str(index), "no image")
        return self.rows[index]


def row(source, **fields):
    return Example("id", source, "<image><image>", ("a", "b"), "1", **fields)


def lines(source=None, mesh=None, kind=TrainConfig, start=(), **changes):
    config = read_config(kind, {**GIVEN, **changes})
    source = Digits(DigitsConfig(rows=64)) if source is None else source
    return overview.first_words(config, mesh, Policy(), source, start)


def starting(told, word):
    return [line.strip() for line in told if line.strip().startswith(word)]


def test_devices_and_model_are_named_with_their_sizes():
    told = lines()
    assert starting(told, "devices") == [f"devices      1 of {jax.device_count()} cpu (cpu)"]
    assert starting(told, "model") == [
        "model        some/model: some_family, 6 parameters (bfloat16, computes in bfloat16)"
    ]
    on_mesh = lines(mesh=make_mesh(2, 2, 2))
    assert starting(on_mesh, "devices") == [
        "devices      8 of 8 cpu (cpu), mesh data 2, fsdp 2, tensor 2"
    ]


def test_a_step_is_told_with_its_numbers():
    told = lines(
        rollout={"groups": 128, "num_rollouts": 6, "max_new_tokens": 2048},
        permutation={"num_orders": 1, "schedule": {"kind": "constant", "peak": 0.5}},
        learner={"updates_per_batch": 2, "epochs_per_batch": 2},
        filtering={"bounds": {"low": 0.1, "high": 0.9, "inclusive": True}, "max_draws": 3},
    )
    assert starting(told, "a step") == [
        "a step       128 groups x up to 2 orders x 6 rollouts = 1,536 responses of up to 2,048 "
        "tokens, 4 updates"
    ]
    assert starting(told, "filtering") == [
        "filtering    keeps groups of a mean accuracy in [0.1, 0.9]; draws up to 384"
    ]
    assert starting(told, "permutation") == [
        "permutation  1 order beside an example's own; rate constant, peak 0.5"
    ]
    told = lines(filtering={"enabled": False}, permutation={"num_orders": 0})
    assert starting(told, "filtering") == ["filtering    keeps every group with a grade"]
    assert starting(told, "permutation") == ["permutation  none"]
    assert starting(told, "rule") == []


def test_rows_are_counted_by_part_and_by_the_source_of_a_sample():
    first = Rows(*[row("NLVR2")] * 3, None)
    second = Rows(*[row("mine")] * 1000)
    told = lines(Mixture([Part("a", first, 1.0), Part("b", second, 3.0)]))
    assert starting(told, "data") == [
        "data         1,004 rows: a 4 (drawn 25% of the time), b 1,000 (drawn 75% of the time)"
    ]
    assert starting(told, "sources") == [
        "sources    mine 8, NLVR2 3 (of 12 rows that were looked at)"
    ]
    assert starting(told, "refused") == ["refused    1 of these rows, by filters or as unusable"]


def test_the_sample_of_a_long_source_is_spread_over_it():
    seen = []

    class Watched(Rows):
        def __getitem__(self, index):
            seen.append(index)
            return super().__getitem__(index)

    lines(Watched(*[row("NLVR2")] * 1600))
    assert seen == list(range(0, 1600, 100))


def test_every_source_is_told_with_its_rule_and_whose_it_is():
    rules = {"Mine": {"movable": "all", "answer": "reference"}}
    source = Rows(row("mine"), row("NLVR2"), row("NLVR2"), row("unheard"), row("ShowHowTo_e"))
    told = starting(lines(source, permutation={"rules": rules}), "rule")
    assert told == [
        "rule       NLVR2: moves all, answer invariant, text rewrite, built in "
        "(2 of the rows looked at)",
        "rule       mine: moves all, answer reference, text rewrite, yours "
        "(1 of the rows looked at)",
        "rule       unheard: has no rule (1 of the rows looked at)",
        "rule       ShowHowTo_e: has no rule (1 of the rows looked at)",
    ]
    kept = lines(Rows(row("unheard")), permutation={"unknown": "keep"})
    assert "stays in order: unknown_source" in starting(kept, "rule")[0]


def test_storage_that_fails_is_not_taken_for_a_bad_row():
    class Gone(Rows):
        def __getitem__(self, index):
            raise OSError("the bucket is gone")

    with pytest.raises(OSError, match="bucket is gone"):
        lines(Gone(row("a")))


def test_a_warm_start_has_rows_and_no_rules():
    told = lines(kind=WarmstartConfig, rows=16)
    assert starting(told, "a step") == ["a step       16 rows, 1 update"]
    assert starting(told, "rule") == starting(told, "filtering") == []


def test_places_seed_and_start_are_told():
    config = replace(read_config(TrainConfig, GIVEN), seed=7)
    told = overview.places_lines(config, Path("/runs/mine"), "gs://b/c", 0)
    assert told == [
        "work dir     /runs/mine",
        "checkpoints  gs://b/c",
        "run          seed 7; starts; 1,200 steps in all",
    ]
    resumed = overview.places_lines(config, Path("/runs/mine"), "gs://b/c", 40)
    assert resumed[-1] == "run          seed 7; resumes from step 40; 1,200 steps in all"
    assert lines(start=told)[-3:] == told


def test_the_end_tells_the_time_the_best_step_and_what_to_do_next(tmp_path):
    workdir = tmp_path / "my runs"
    workdir.mkdir()
    accuracies = {0: 0.25, 20: 0.75, 40: 0.5}
    text = "".join(
        json.dumps({"step": step, "eval/accuracy": value}) + "\n"
        for step, value in accuracies.items()
    )
    (workdir / "metrics.jsonl").write_text(text)
    outcome = SimpleNamespace(step=40, progression=SimpleNamespace(seconds=3725.0))
    config = read_config(TrainConfig, GIVEN)
    assert overview.last_words(config, workdir, workdir / "export", outcome) == [
        "40 steps took 1:02:05, not counting start and evaluations",
        "best held-out accuracy: 0.750, after step 20",
        f"to export a checkpoint: perl-jax export --workdir='{workdir}' --out=DIR --step=best",
        f"to ask the policy: perl-jax generate --model='{workdir}/export' "
        "--image=a.png --image=b.png --prompt='<image><image> ...'",
    ]
    (workdir / "metrics.jsonl").write_text("")
    told = overview.last_words(replace(config, export=False), workdir, workdir, outcome)
    assert told[1:] == [
        f"to export a checkpoint: perl-jax export --workdir='{workdir}' --out=DIR --step=latest"
    ]
