"""The difficulty filter, with the tiny policy that comes with the package."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import perl_jax
from perl_jax.data.pipeline.rows import Skipped
from perl_jax.data.sources.digits import Digits, DigitsConfig
from perl_jax.filtering import Bounds
from perl_jax.models.opening import ModelConfig
from perl_jax.preparation import difficulty
from perl_jax.preparation.accuracies import Accuracies
from perl_jax.preparation.difficulty import (
    DifficultyConfig,
    PolicyConfig,
    RolloutsConfig,
    filter_difficulty,
)
from perl_jax.rollout import SamplerConfig
from perl_jax.settings import read_config
from tests.preparation.preparing import bad_row, example, kept, left_out, run_stage, told

pytestmark = pytest.mark.usefixtures("compiled_quickly")

TINY = Path(perl_jax.__file__).parent / "assets" / "tiny_policy"
CONFIG = DifficultyConfig(
    PolicyConfig(str(TINY), "float32", "float32"),
    RolloutsConfig(
        num_rollouts=4,
        max_new_tokens=48,
        max_prompt_tokens=80,
        batch=2,
        sampler=SamplerConfig(
            prompt_lengths=(80,), response_lengths=(64,), patches=(1024,), chunk=16, rows=8
        ),
    ),
    Bounds(0.0, 1.0, inclusive=True),
)


def rows_of(scores):
    return [example(n) for n in range(len(scores))]


def with_scores(scores, bounds, tmp_path, monkeypatch):
    """Runs the filter on rows whose rollouts earned these scores, without a policy."""
    scored = iter(scores)

    class Asker:
        def __init__(self, config, grader, seed):
            pass

        def __call__(self, rows):
            return {(row.source, row.id): next(scored) for row in rows}

    monkeypatch.setattr(difficulty, "_Asker", Asker)
    monkeypatch.setattr(difficulty, "Grader", lambda num_workers: nullcontext())
    return run_stage(filter_difficulty, rows_of(scores), replace(CONFIG, bounds=bounds), tmp_path)


def test_rows_are_kept_by_the_mean_of_the_rollouts_that_have_a_grade(tmp_path, monkeypatch):
    scores = [
        [1, 1, 1, 1],
        [0, 0, 0, 0],
        [1, 0, 0, 0],
        [1, None, None, None],
        [None, None, 1, 0],
        [None] * 4,
        Skipped("too_long", "row-6", "100 tokens"),
        [1, 1, 1, 0],
    ]
    outcomes = with_scores(scores, Bounds(0.25, 0.75, inclusive=True), tmp_path, monkeypatch)
    assert told(outcomes) == [
        "too_easy", "too_hard", "", "too_easy", "", "unscored", "too_long", "",
    ]  # fmt: skip
    assert [row.metadata["accuracy"] for row in kept(outcomes)] == [0.25, 0.5, 0.75]
    assert left_out(outcomes)["row-3"] == ("too_easy", "1 of 1 rollouts")


def test_bounds_are_changed_without_asking_again(tmp_path, monkeypatch):
    scores = [[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]]
    with_scores(scores, Bounds(0.25, 0.75, inclusive=True), tmp_path, monkeypatch)
    monkeypatch.setattr(difficulty, "Grader", None)
    for bounds, expected in (
        (Bounds(0.25, 0.75), ["too_easy", "too_hard", "too_hard", "too_easy"]),
        (Bounds(0.0, 1.0), ["too_easy", "too_hard", "", ""]),
        (Bounds(0.0, 1.0, inclusive=True), ["", "", "", ""]),
    ):
        config = replace(CONFIG, bounds=bounds)
        outcomes = run_stage(filter_difficulty, rows_of(scores), config, tmp_path)
        assert told(outcomes) == expected


def test_accuracies_are_read_as_they_were_written_up_to_a_torn_line(tmp_path):
    path = tmp_path / "a" / "accuracies.jsonl"
    skipped = Skipped("too_long", "row-2", "long")
    Accuracies(path).add({("s", "1"): [1.0, None], ("s", "2"): skipped})
    path.write_bytes(path.read_bytes() + b'{"source": "s", "id": "3", "sco')
    accuracies = Accuracies(path)
    assert (accuracies["s", "1"], accuracies["s", "2"]) == ([1.0, None], skipped)
    assert ("s", "3") not in accuracies
    accuracies.add({("s", "3"): [0.0]})
    assert Accuracies(path)["s", "3"] == [0.0]
    path.write_text(path.read_text() + '{"id": "3"}\n')
    with pytest.raises(ValueError, match=r"accuracies.jsonl:4: expected the accuracies of a row"):
        Accuracies(path)


def test_the_accuracies_of_the_tiny_policy_are_the_same_after_an_interruption(tmp_path):
    # Two rows of one shape at a time, and one that is not asked: one compilation serves all.
    source = Digits(DigitsConfig(rows=4, kinds=("property",), images=(2, 2), skew=0.0))
    long = example(9, question="<image><image>" + " larger" * 90)
    rows = [*(source[n] for n in range(4)), bad_row(), long]
    outcomes = run_stage(filter_difficulty, rows, CONFIG, tmp_path / "a")
    assert told(outcomes)[4:] == ["missing_image", "too_long"]
    means = [row.metadata["accuracy"] for row in kept(outcomes)]
    assert set(means) <= {0.0, 0.25, 0.5, 0.75, 1.0}
    # Half of the time the policy names the first answer, which is never right here.
    assert 0 < np.mean(means) < 1
    (file,) = (tmp_path / "a" / "cache").rglob("*.jsonl")
    grades = [json.loads(line) for line in file.read_text().splitlines()]
    scores = {row["id"]: row["scores"] for row in grades if "scores" in row}
    assert [np.mean(scores[row.id]) for row in rows[:4]] == means
    # As if killed in the middle: the first two rows and half a line are there.
    lines = file.read_bytes().splitlines(keepends=True)
    torn = b"".join(lines[:2]) + lines[2][:20]
    (tmp_path / "b" / "cache" / "accuracies").mkdir(parents=True)
    (tmp_path / "b" / "cache" / "accuracies" / file.name).write_bytes(torn)
    assert run_stage(filter_difficulty, rows, CONFIG, tmp_path / "b") == outcomes


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PolicyConfig("x", dtype="float16"), "dtype: expected float32 or bfloat16"),
        (lambda: PolicyConfig(), "path: expected a model directory or a hub id; got none"),
        (lambda: RolloutsConfig(num_rollouts=0), "num_rollouts: expected at least 1"),
        (lambda: RolloutsConfig(temperature=0.0), "temperature: expected a positive number"),
    ],
)
def test_settings_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_policy_is_that_of_a_run_in_bfloat16_by_default():
    config = read_config(DifficultyConfig, {"policy": {"path": "x", "max_pixels": 9}})
    assert isinstance(config.policy, ModelConfig)
    assert (config.policy.dtype, config.policy.compute_dtype) == ("bfloat16", "bfloat16")
    assert (config.policy.max_pixels, config.policy.min_pixels) == (9, None)
