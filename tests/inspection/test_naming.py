import pytest

from perl_jax.data.config import SourceConfig
from perl_jax.data.sources.dataset_directory import DatasetDirectoryConfig
from perl_jax.data.sources.digits import DigitsConfig
from perl_jax.data.sources.jsonl import JsonlConfig
from perl_jax.data.sources.parquet import ParquetConfig
from perl_jax.inspection.naming import find_source, load_rules
from perl_jax.permutation import Rule

CONFIG = """
from ml_collections import ConfigDict

def get_config():
    return ConfigDict({
        "seed": 7,
        "model": {"path": "somewhere"},
        "data": {"train": {"digits": {"rows": 9, "skew": 0.5}}},
        "permutation": {"rules": {"mine": {"movable": "all_but_first"}}},
        "steps": 3,
    })
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(CONFIG)
    return str(path)


def test_digits_are_the_demo():
    assert find_source("digits").source == SourceConfig(digits=DigitsConfig())


def test_a_parquet_file_or_pattern_is_named_by_its_ending():
    for name in ("a.parquet", "data/train-*.parquet"):
        named = find_source(name, image_root="pictures")
        assert named.source == SourceConfig(
            parquet=ParquetConfig(paths=(name,), image_root="pictures")
        )


def test_a_jsonl_file_is_named_by_its_ending():
    named = find_source("rows.jsonl")
    assert named.source == SourceConfig(jsonl=JsonlConfig(paths=("rows.jsonl",)))


def test_a_saved_data_set_is_named_by_its_directory_or_that_of_a_split(tmp_path):
    for path in (tmp_path / "one", tmp_path / "several" / "train"):
        path.mkdir(parents=True)
        (path / "state.json").write_text("{}")
    (tmp_path / "several" / "dataset_dict.json").write_text("{}")
    for name, directory, split in (("one", "one", None), ("several/train", "several", "train")):
        config = DatasetDirectoryConfig(path=str(tmp_path / directory), split=split)
        found = find_source(str(tmp_path / name)).source
        assert found == SourceConfig(dataset_directory=config)


def test_a_configuration_gives_its_training_rows_rules_and_seed(config):
    named = find_source(config, overrides={"data.train.digits.rows": "5"})
    assert named.source == SourceConfig(digits=DigitsConfig(rows=5, skew=0.5))
    assert named.rules == {"mine": Rule(movable="all_but_first")}
    assert named.seed == 7


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.train.digits.rows=0", "config.data.train.digits.rows: expected at least 1; got 0"),
        ("data.trane=0", r"config.data.trane: unknown key \(did you mean 'train'\?\)"),
        ("rollout.grops=0", r"config.rollout.grops: unknown key \(did you mean 'groups'\?\)"),
        ("permutation.rules.mine.movable=al", "config.permutation.rules.mine.movable: expected"),
        ("fresh.shards=0", "config.fresh.shards: expected at least 1; got 0"),
    ],
)
def test_a_wrong_override_is_named(config, override, message):
    with pytest.raises(ValueError, match=message):
        find_source(config, overrides=dict([override.split("=")]))


def test_a_name_of_no_kind_is_told_the_kinds():
    with pytest.raises(ValueError, match=r"what: expected one of these: digits, .*CONFIG\.py"):
        find_source("what")


def test_fields_of_a_configuration_go_with_a_configuration_only():
    with pytest.raises(ValueError, match=r"--config\.seed=1: only fields of a configuration"):
        find_source("digits", overrides={"seed": "1"})


def test_image_root_goes_with_files_only():
    with pytest.raises(ValueError, match="image_root: expected with files"):
        find_source("digits", image_root="pictures")


def test_files_that_are_not_configurations_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.py: no such configuration file"):
        find_source(str(tmp_path / "gone.py"))
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(ValueError, match=r"empty\.py: expected a file that defines get_config"):
        find_source(str(tmp_path / "empty.py"))
    (tmp_path / "short.py").write_text(CONFIG.replace('"data"', '"date"'))
    with pytest.raises(ValueError, match=r"short\.py: expected config\.data\.train; got"):
        find_source(str(tmp_path / "short.py"))


def test_rules_come_from_json_or_a_configuration(config, tmp_path):
    path = tmp_path / "rules.json"
    path.write_text('{"mine": {"movable": "all_but_first"}}')
    assert load_rules(str(path)) == load_rules(config) == {"mine": Rule(movable="all_but_first")}
    path.write_text('{"mine": {"movabel": "all"}}')
    with pytest.raises(ValueError, match=r"rules\.json\.mine\.movabel: unknown key"):
        load_rules(str(path))
    path.write_text("{")
    with pytest.raises(ValueError, match=r"rules\.json: expected JSON"):
        load_rules(str(path))
    with pytest.raises(ValueError, match=r"expected a \.json file or a configuration file"):
        load_rules("rules.yaml")
