"""Flags override any field of a configuration, whether its file lists it or not."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from perl_jax.config import TrainConfig
from perl_jax.overrides import load_config, split_overrides
from perl_jax.settings import read_config

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"
FILE = """
from ml_collections import ConfigDict

def get_config(steps="10"):
    config = ConfigDict({"model": {"path": "somewhere"}, "data": {"train": {"digits": {}}}})
    config.steps = int(steps)
    config.mesh = None
    config.seed = config.get_ref("steps")
    return config
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return str(path)


def read(file, *arguments):
    overrides, others = split_overrides(arguments)
    assert not others
    return read_config(TrainConfig, load_config(file, overrides))


def test_overrides_are_taken_out_of_a_command_line():
    overrides, others = split_overrides(
        ["train", "--config=a.py", "--config.x.y=1=2", "--workdir", "w", "--config.z", "3",
         "-config.short=4", "--config.on", "--noconfig.off", "--config.x.y=5", "--", "--config.n=6"]
    )  # fmt: skip
    assert overrides == {"x.y": "5", "z": "3", "short": "4", "on": "true", "off": "false"}
    assert others == ["train", "--config=a.py", "--workdir", "w", "--", "--config.n=6"]


@pytest.mark.parametrize(
    ("flag", "field", "value"),
    [
        ("checkpoint.directory=gs://bucket/run/checkpoints", "checkpoint.directory",
         "gs://bucket/run/checkpoints"),
        ("checkpoint.directory=2024", "checkpoint.directory", "2024"),
        ("checkpoint.directory=None", "checkpoint.directory", None),
        ("checkpoint={'every': 7}", "checkpoint.every", 7),
        ("mesh.fsdp=16", "mesh.fsdp", 16),
        ("rollout.mesh.tensor=2", "rollout.mesh.tensor", 2),
        ("rollout.temperature=1", "rollout.temperature", 1.0),
        ("optimizer.learning_rate=1e-5", "optimizer.learning_rate", 1e-5),
        ("learner.frozen=('vision.*',)", "learner.frozen", ("vision.*",)),
        ("permutation.schedule.kind=linear", "permutation.schedule.kind", "linear"),
        ("permutation.rules.mine.movable=all", "permutation.rules", {"mine": {"movable": "all"}}),
        ("data.held_out.digits.rows=4", "data.held_out.digits.rows", 4),
        ("export=false", "export", False),
        ("seed=1", "seed", 1),
    ],
)  # fmt: skip
def test_a_field_that_the_file_does_not_list_is_set_by_its_flag(file, flag, field, value):
    config = read(file, f"--config.{flag}")
    for name in field.split("."):
        config = getattr(config, name)
    assert config == value


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("checkpont.directory=x", "config.checkpont: unknown key (did you mean 'checkpoint'?)"),
        ("checkpoint.dir=x", "config.checkpoint.dir: unknown key"),
        ("seed=many", "config.seed: expected int; got str 'many'"),
        ("rollout.groups=many", "config.rollout.groups: expected int; got str 'many'"),
        ("learner.frozen=vision", "config.learner.frozen: expected a list; got 'vision'"),
        ("optimizer.name=adam", "config.optimizer.name: expected one of adamw"),
        ("steps.more=1", "config.steps.more: expected a field of a section; config.steps is 10"),
        ("rollout.temperature=1e999", "config.rollout.temperature: expected a positive number"),
        ("optimizer.learning_rate=nan",
         "config.optimizer.learning_rate: expected a positive number; got 'nan'"),
        ("optimizer.b1=inf", "config.optimizer.b1: expected a number from 0 to below 1; got 'inf'"),
        ("mesh=16", "config.mesh: expected fields of MeshConfig; got 16"),
    ],
)  # fmt: skip
def test_a_wrong_flag_names_the_field_and_what_was_expected(file, flag, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        read(file, f"--config.{flag}")


def test_fields_that_refer_to_others_follow_them(file):
    assert read(file, "--config.steps=3").seed == 3


def test_text_behind_the_name_of_the_file_goes_to_get_config(file):
    assert read(f"{file}:25").steps == 25


def test_a_file_that_is_none_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.py: no such configuration file"):
        load_config(str(tmp_path / "none.py"), {})
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match=r"empty\.py: expected a file that defines get_config"):
        load_config(str(tmp_path / "empty.py"), {})


@pytest.mark.parametrize("name", ["qwen2_5_vl_3b_v5e16", "qwen2_5_vl_7b_perl", "demo"])
def test_shipped_configurations_take_what_the_launchers_pass(name):
    config = read(str(CONFIGS / f"{name}.py"), "--config.checkpoint.directory=gs://b/run/c")
    assert config.checkpoint.directory == "gs://b/run/c"


def test_the_command_line_takes_any_field_and_names_a_wrong_one_in_one_line(tmp_path):
    command = [
        sys.executable, "-m", "perl_jax.train", "--config=configs/qwen2_5_vl_3b_v5e16.py",
        f"--workdir={tmp_path}", "--config.checkpoint.directory=gs://bucket/run",
        "--config.checkpoint.evry=3",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: config.checkpoint.evry: unknown key (did you mean 'every")
    assert done.stderr.count("\n") == 1
