"""Flags override any field of a configuration, whether its file lists it or not."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from perl_jax.config import TrainConfig
from perl_jax.mesh import MeshConfig
from perl_jax.objectives import PRESETS, ObjectiveConfig
from perl_jax.overrides import (
    find_config,
    load_config,
    open_config,
    shipped_configs,
    split_overrides,
    written,
)

ROOT = Path(__file__).parent.parent
CONFIGS = ROOT / "configs"
FILE = """
from ml_collections import ConfigDict

def get_config(steps="10"):
    config = ConfigDict({"model": {"path": "somewhere"}, "data": {"train": {"digits": {}}}})
    config.steps = int(steps)
    config.mesh = None
    config.evaluation = {"every": config.get_ref("steps")}
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
    return open_config(TrainConfig, file, overrides)


def test_overrides_are_taken_out_of_a_command_line():
    overrides, others = split_overrides(
        ["train", "--config=a.py", "--config.x.y=1=2", "--workdir", "w", "--config.z", "3",
         "-config.short=4", "--config.on", "--noconfig.off", "--config.x.y=5", "--", "--config.n=6"]
    )  # fmt: skip
    assert overrides == {"x.y": "5", "z": "3", "short": "4", "on": "true", "off": "false"}
    assert others == ["train", "--config=a.py", "--workdir", "w", "--", "--config.n=6"]


def test_the_last_of_several_overrides_of_a_field_counts_where_it_stands(file):
    assert read(file, "--config.mesh.fsdp=2", "--config.mesh=None").mesh is None
    flags = ("--config.mesh=None", "--config.mesh.fsdp=2", "--config.mesh=None")
    assert read(file, *flags).mesh is None
    assert read(file, *flags, "--config.mesh.tensor=3").mesh == MeshConfig(tensor=3)


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
        ("seed=-1", "seed", -1),
        ("steps=1e6", "steps", 1_000_000),
        ("steps=1_000", "steps", 1000),
        ("objective.clip_high=inf", "objective.clip_high", float("inf")),
        ("objective.dual_clip=None", "objective.dual_clip", None),
        ("checkpoint.directory=", "checkpoint.directory", ""),
        ("checkpoint.directory='None'", "checkpoint.directory", "None"),
        ('checkpoint.directory="a\'b"', "checkpoint.directory", "a'b"),
        ("data.train.digits={'rows': 3}", "data.train.digits.rows", 3),
        ("learner.frozen=()", "learner.frozen", ()),
        ("learner.frozen=['a', 'b']", "learner.frozen", ("a", "b")),
        ("permutation.rules.my-set={'movable': (0, 1)}", "permutation.rules",
         {"my-set": {"movable": (0, 1)}}),
        ("permutation.rules['my.set'].movable=all", "permutation.rules",
         {"my.set": {"movable": "all"}}),
        ("permutation.rules={'my.set': {'why': 'x'}}", "permutation.rules",
         {"my.set": {"why": "x"}}),
        ("reward.weights.accuracy=0.5", "reward.weights", {"accuracy": 0.5, "format": 0.1}),
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
        ("mesh=", "config.mesh: expected fields of MeshConfig; got ''"),
        ("steps=", "config.steps: expected int; got str ''"),
        ("steps=1.5", "config.steps: expected int; got float 1.5"),
        ("export=yes", "config.export: expected true or false; got 'yes'"),
        ("learner.frozen[0]=a", "config.learner.frozen[0]: expected one of 0 items"),
        ("learner.frozen.x=a", "config.learner.frozen.x: expected a field of a section; "
         "config.learner.frozen is ()"),
        ("=1", "config.: unknown key"),
        (".seed=1", "config..seed: expected names with a dot between them"),
        ("seed]=1", "config.seed]: expected names with a dot between them"),
    ],
)  # fmt: skip
def test_a_wrong_flag_names_the_field_and_what_was_expected(file, flag, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        read(file, f"--config.{flag}")


def test_an_opened_section_keeps_the_defaults_of_its_other_fields(file):
    assert read(file).objective == ObjectiveConfig()
    opened = read(file, "--config.objective.clip_high=0.3").objective
    assert opened == ObjectiveConfig(clip_high=0.3)


def test_a_flag_and_a_file_override_fields_of_the_preset(file, tmp_path):
    """Not of the default preset, whichever of them is given first."""
    for flags in (("preset=dapo", "kl=k1"), ("kl=k1", "preset=dapo")):
        opened = read(file, *(f"--config.objective.{flag}" for flag in flags)).objective
        assert opened == ObjectiveConfig(**{**vars(PRESETS["dapo"]), "kl": "k1", "preset": "dapo"})
    other, objective = (
        tmp_path / "other.py",
        '    config.objective = {"preset": "dapo", "clip_high": 0.3}',
    )
    other.write_text(FILE.replace("    return", f"{objective}\n    return"), encoding="utf-8")
    opened = read(str(other), "--config.objective.clip_low=0.1").objective
    assert (opened.clip_low, opened.clip_high, opened.dual_clip) == (0.1, 0.3, None)
    # Printed and read again, each value is the same.
    printed = tmp_path / "printed.py"
    printed.write_text(written(read(str(other))), encoding="utf-8")
    assert read(str(printed)) == read(str(other))


def test_a_value_with_a_dash_may_stand_apart(file):
    assert read(file, "--config.seed", "-5", "--config.export", "false").seed == -5


def test_an_item_of_a_list_is_set_by_its_place(tmp_path):
    path = tmp_path / "mixed.py"
    parts = "({'source': {'digits': {}}}, {'source': {'digits': {}}, 'weight': 3})"
    path.write_text(FILE.replace('{"digits": {}}', f'{{"mixture": {parts}}}'))
    config = read(
        str(path),
        "--config.data.train.mixture[1].source.digits.rows=9",
        "--config.data.train.mixture[0].weight=2",
    )
    first, second = config.data.train.mixture
    assert (first.weight, second.weight) == (2, 3)
    assert (first.source.digits.rows, second.source.digits.rows) == (4096, 9)
    message = r"config\.data\.train\.mixture\[2\]: expected one of 2 items, from"
    with pytest.raises(ValueError, match=message):
        read(str(path), "--config.data.train.mixture[2].weight=2")


def test_a_configuration_is_written_as_a_file_that_is_read_as_an_equal_one(file, tmp_path):
    config = read(
        file,
        "--config.objective.clip_high=inf",
        "--config.permutation.rules['my.set']={'movable': (0, 1), 'nouns': ['\"photo\"']}",
        "--config.data.train={'mixture': ({'source': {'digits': {}}, 'name': 'it\\'s'},)}",
    )
    copy = tmp_path / "copy.py"
    copy.write_text(written(config))
    assert read(str(copy)) == config
    assert written(read(str(copy))) == copy.read_text()


def test_fields_that_refer_to_others_follow_them(file):
    assert read(file, "--config.steps=3").evaluation.every == 3
    assert read(file, "--config.steps=1e3").evaluation.every == 1000


def test_text_behind_the_name_of_the_file_goes_to_get_config(file):
    assert read(f"{file}:25").steps == 25


def test_a_file_that_is_none_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.py: no such configuration file"):
        load_config(str(tmp_path / "none.py"), {})
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match=r"empty\.py: expected a file that defines get_config"):
        load_config(str(tmp_path / "empty.py"), {})


def test_a_shipped_configuration_is_found_where_the_working_directory_has_none(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert "demo" in shipped_configs()
    for name in ("demo", "demo.py", "configs/demo.py"):
        assert find_config(name).samefile(CONFIGS / "demo.py")
    assert load_config("qwen2_5_vl_3b_v5e16", {})["mesh"]["fsdp"] == 16
    (tmp_path / "demo.py").write_text(FILE)
    assert find_config("demo.py") == Path("demo.py")
    assert find_config("demo").samefile(CONFIGS / "demo.py")
    for name in ("other/demo.py", "demo.txt"):
        with pytest.raises(FileNotFoundError, match=f"{name}: no such configuration file"):
            find_config(name)


def test_a_configuration_that_is_nowhere_is_told_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        find_config("demmo.py")
    told = str(caught.value)
    assert told.startswith(f"demmo.py: no such configuration file; looked for {tmp_path}/demmo.py")
    assert "one of the shipped configurations: demo, demo_qwen3, digits_filtering, " in told
    assert told.endswith("(did you mean 'demo'?)")


def test_a_configuration_may_import_from_the_folder_above_its_own(tmp_path, monkeypatch):
    path, before = tmp_path / "mine" / "settings", list(sys.path)
    path.mkdir(parents=True)
    (path / "base.py").write_text(FILE)
    (path / "more.py").write_text("from settings.base import get_config")
    assert read(str(path / "more.py")).steps == 10
    assert sys.path == before


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
