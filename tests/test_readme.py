"""What the README shows runs as it stands, on a tiny model in the place of the published one."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from perl_jax.config import TrainConfig
from perl_jax.data import Preparer
from perl_jax.data.config import open_source
from perl_jax.overrides import load_config, split_overrides
from perl_jax.permutation import lint, rules_from_config
from perl_jax.rewards import load_reward
from perl_jax.settings import read_config
from tests import pages
from tests.pages import ROOT

pytestmark = pytest.mark.usefixtures("compiled_quickly")


@pytest.mark.story
def test_every_python_example_of_the_readme_runs(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Qwen2.5-VL-7B-Instruct").symlink_to(checkpoint)
    for name in ("a.png", "b.png", "before.png", "after.png"):
        Image.fromarray(np.full((56, 84, 3), 200, np.uint8)).save(tmp_path / name)
    assert len(pages.blocks("README.md")) == 6
    pages.run("README.md")
    printed = capsys.readouterr().out
    assert "<image> <image> The right image shows two dogs." in printed
    assert "images=('b.jpg', 'a.jpg')" in printed
    assert "[False  True False]" in printed
    assert "'unscored': 1" in printed
    assert (tmp_path / "exported" / "model.safetensors").is_file()


def paste(folder, perl_jax):
    """Runs the section's script in a folder, with a script in the place of ``perl-jax``."""
    (script,) = pages.blocks("README.md", "bash")
    commands = folder / "bin"
    commands.mkdir()
    python = f'exec {sys.executable} "$@"'
    for name, content in (("perl-jax", perl_jax), ("python", python)):
        (commands / name).write_text(f"#!/bin/sh\n{content}\n")
        (commands / name).chmod(0o755)
    for name in ("configs", "perl_jax"):
        (folder / name).symlink_to(ROOT / name)
    ended = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]


def test_own_rows_rule_and_reward_are_read_as_pasted(tmp_path, processor, monkeypatch):
    paste(tmp_path, 'printf "%s\\0" "$PYTHONPATH" "$@" > command')
    path, command, *arguments = (tmp_path / "command").read_text().split("\0")[:-1]
    assert (path, command) == ("mine", "train")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / path)
    # Another test may have imported a module of that name.
    monkeypatch.delitem(sys.modules, "my_rewards", raising=False)
    overrides, (file, workdir) = split_overrides(arguments)
    assert workdir == "--workdir=runs/mine"
    config = read_config(TrainConfig, load_config(file.removeprefix("--config="), overrides))
    source = open_source(config.data.train)
    prepare = Preparer(processor, max_prompt_tokens=config.data.max_prompt_tokens)
    examples = [prepare(source[index]) for index in range(len(source))]
    assert (len(examples), {one.source for one in examples}) == (60, {"mine"})
    assert lint(examples, rules=rules_from_config(config.permutation.rules)).fraction == 1
    brevity = load_reward(config.reward.functions["brevity"])
    assert list(brevity(["", "x" * 4000], ["A", "B"], [{}, {}])) == [1, 0]


@pytest.mark.story
def test_own_rows_rule_and_reward_train_as_pasted(tmp_path):
    run = 'command=$1; shift; exec python -m perl_jax.$command "$@" --config.steps=2'
    paste(tmp_path, run)
    lines = (tmp_path / "runs" / "mine" / "metrics.jsonl").read_text().splitlines()
    metrics = [json.loads(line) for line in lines]
    assert {"reward/brevity", "permutation/orders"} <= metrics[-1].keys()
    assert max(line.get("permutation/orders", 0) for line in metrics) > 1  # the rule applies
    assert not (tmp_path / "runs" / "mine" / "skipped_rows.jsonl").exists()
    assert (tmp_path / "runs" / "mine" / "export" / "model.safetensors").is_file()
