"""A user's way with rows, a rule and a reward of their own: real processes, first to last."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perl_jax.data.sources.digits import Digits, DigitsConfig
from tests.compiling import QUICKLY
from tests.update.real_runs import POLICY

pytestmark = pytest.mark.story

RULE = "{'movable': 'all', 'answer': 'remap_letter'}"
FLAGS = (
    "--config=configs/demo.py",
    "--config.data.train.digits=None",
    "--config.data.train.parquet.paths=('rows/*.parquet',)",
    "--config.data.held_out=None",
    f"--config.permutation.rules.mine={RULE}",
    "--config.reward.functions.short=my_package.rewards:short",
    "--config.reward.weights={'accuracy': 0.9, 'short': 0.1}",
    "--config.rollout.groups=4",
    "--config.rollout.num_rollouts=4",
    "--config.learner.packing.micro_groups=4",
    "--config.checkpoint.every=1",
    "--config.evaluation.examples=8",
    "--config.evaluation.every=1",
    "--config.evaluation.num_orders=1",
    "--config.logging.tensorboard=False",
)
HELD_OUT = ("--config.data.held_out.digits.split=held_out", "--config.data.held_out.digits.rows=16")
MIXTURE = (
    "--config.data.train.parquet=None",
    "--config.data.train.mixture=["
    "{'source': {'parquet': {'paths': ('rows/*.parquet',)}}},"
    "{'source': {'jsonl': {'paths': ('more/rows.jsonl',), 'image_root': 'more', 'source': 'other',"
    " 'columns': {'question': 'ask', 'answer': 'truth', 'images': ('pictures',)}}}}]",
)
OTHER_RULE = f"--config.permutation.rules.other={RULE}"


def questions(count, seed):
    return list(
        map(
            Digits(DigitsConfig(rows=count, seed=seed, kinds=("property",))).__getitem__,
            range(count),
        )
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A directory with 40 rows in verl's layout, 20 of own columns, and a reward."""
    home = tmp_path_factory.mktemp("home")
    (home / "rows").mkdir()
    rows = [
        {
            "data_source": "mine",
            "prompt": [{"role": "user", "content": example.question}],
            "images": [{"bytes": image, "path": None} for image in example.images],
            "reward_model": {"style": "rule", "ground_truth": example.answer},
            "extra_info": {"split": "train", "index": index},
        }
        for index, example in enumerate(questions(40, seed=3))
    ]
    pq.write_table(pa.Table.from_pylist(rows), home / "rows" / "train-0.parquet")
    (home / "more").mkdir()
    with (home / "more" / "rows.jsonl").open("w") as file:
        for index, example in enumerate(questions(20, seed=4)):
            names = [f"{index}-{slot}.png" for slot in range(len(example.images))]
            for name, image in zip(names, example.images, strict=True):
                (home / "more" / name).write_bytes(image)
            row = {"ask": example.question, "truth": example.answer, "pictures": names}
            file.write(json.dumps(row) + "\n")
    package = home / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "rewards.py").write_text(
        "def short(responses, answers, metadata):\n"
        "    return [1.0 - min(len(text) / 200, 1.0) for text in responses]\n"
    )
    return home


def start(home, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "perl_jax", *arguments],
        cwd=home,
        env=os.environ
        | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": QUICKLY,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(home, *arguments):
    """What a command prints to both streams, and its exit code."""
    process = start(home, *arguments)
    out, err = process.communicate(timeout=600)
    return out, err, process.returncode


def train(home, *arguments, workdir="runs/mine"):
    out, err, code = run(home, "train", *FLAGS, f"--workdir={workdir}", *arguments)
    assert code == 0, err
    return out, err


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_on_own_rows_is_extended_killed_continued_forked_and_asked(home):
    workdir = home / "runs" / "mine"

    train(home, "--config.steps=3")
    steps = lines(workdir / "metrics.jsonl")
    assert [row["step"] for row in steps] == [1, 2, 3]
    assert all(0 < row["reward/short"] <= 1 for row in steps)
    assert all(row["permutation/rate_realised"] == 1 for row in steps)

    train(home, "--config.steps=4", *HELD_OUT)
    assert [row["step"] for row in lines(workdir / "metrics.jsonl")] == [1, 2, 3, 4]
    # The evaluation that is added begins where the run was.
    assert lines(workdir / "metrics.jsonl")[:2] == steps[:2]
    measured = [row for row in lines(workdir / "metrics.jsonl") if "eval/accuracy" in row]
    assert 4 in [row["step"] for row in measured]

    more = ("--config.steps=7", *HELD_OUT, *MIXTURE, OTHER_RULE)
    out, err, code = run(home, "train", *FLAGS, f"--workdir={workdir}", *more)
    assert (out, code) == ("", 1)
    assert "data.train" in err
    assert "--allow_changes=" in err
    assert "Traceback" not in err

    more += ("--allow_changes=data.train,data",)
    process = start(home, "train", *FLAGS, f"--workdir={workdir}", *more)
    while lines(workdir / "metrics.jsonl")[-1]["step"] < 5:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    train(home, *more)
    rows = lines(workdir / "metrics.jsonl")
    assert len(rows) == len({row["step"] for row in rows})
    assert rows[-1]["step"] == 7
    sources = {
        group["source"] for row in lines(workdir / "rollouts.jsonl") for group in groups_of(row)
    }
    assert sources == {"mine", "other"}

    fork = ("--init_from=runs/mine@best", "--config.optimizer.learning_rate=1e-5")
    fork += ("--config.optimizer.warmup_updates=0",)
    train(home, "--config.steps=1", *HELD_OUT, *fork, workdir="runs/fork")
    best = max(
        (row for row in rows if "eval/accuracy" in row), key=lambda row: row["eval/accuracy"]
    )
    first = lines(home / "runs" / "fork" / "metrics.jsonl")[0]
    assert (first["step"], first["eval/accuracy"]) == (0, best["eval/accuracy"])

    out, err, code = run(home, "export", f"--workdir={workdir}", "--out=exported", "--step=best")
    assert code == 0, err
    assert int(re.search(r"step (\d+)", out)[1]) in [
        row["step"] for row in rows if row.get("eval/accuracy") == best["eval/accuracy"]
    ]

    ask = ("--prompt=<image><image>Which image shows the largest digit?", "--dtype=float32")
    images = ("--image=more/0-0.png", "--image=more/0-1.png")
    out, err, code = run(home, "generate", "--model=exported", *ask, *images)
    assert code == 0, err
    assert out.strip()


def groups_of(row):
    """The groups of a line of rollouts.jsonl."""
    return row.get("groups", [row])


MISTAKES = {
    "an unknown field": (
        ["--config.rollout.num_rolouts=4"],
        ["config.rollout.num_rolouts", "unknown key", "num_rollouts"],
    ),
    "a value of another type": (
        ["--config.rollout.groups=many"],
        ["config.rollout.groups", "expected", "many"],
    ),
    "a choice that there is not": (
        ["--config.optimizer.schedule=cosin"],
        ["config.optimizer.schedule", "constant, linear, cosine", "did you mean 'cosine'"],
    ),
    "a missing file": (
        ["--config.data.train.parquet.paths=('nowhere/*.parquet',)"],
        ["nowhere/*.parquet"],
    ),
    "a source without a rule": (
        ["--config.permutation.rules.mine=None", "--config.permutation.rules={}"],
        ["mine", "permutation.rules"],
    ),
    "a reward that there is not": (
        ["--config.reward.functions.short=my_package.rewards:shrt"],
        ["my_package.rewards", "shrt", "short"],
    ),
    "no model there": (["--config.model.path=nowhere/model"], ["nowhere/model"]),
    "a row of a table that is none": (
        ["--config.data.train.parquet.paths=('my_package/rewards.py',)"],
        ["my_package/rewards.py"],
    ),
    "a run to start from that is none": (["--init_from=runs/none"], ["runs/none"]),
    "a place that cannot be written": (
        ["--config.checkpoint.directory=/proc/none"],
        ["checkpoint.directory", "/proc/none"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_words_before_the_model_loads(home, mistake):
    flags, words = MISTAKES[mistake]
    out, err, code = run(
        home, "train", *FLAGS, "--config.steps=1", "--workdir=runs/mistake", *flags
    )
    assert (out, code) == ("", 1), err
    assert "Traceback" not in err
    said = err[err.index("error: ") :]
    assert [word for word in words if word not in said] == []


def test_the_policy_of_the_story_is_the_packaged_one():
    assert (POLICY / "config.json").is_file()
