"""A built data set as a source: for workers, for configurations, and with files that are broken."""

import json
import pickle
import shutil
import sys

import pytest

from perl_jax.data.config import SourceConfig, open_source
from perl_jax.data.sources.tfds import TfdsSource
from perl_jax.datasets.build.tfds_builder import BuildOptions, build
from perl_jax.datasets.registry import DATA_SETS
from perl_jax.permutation import permute, rule_for
from perl_jax.settings import read_config
from perl_jax.types import prompt_text
from tests.datasets.mantis_files import write_nlvr2


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tmp_path_factory.mktemp("built")
    options = BuildOptions(shard_bytes=2000, show_progress=False)
    return build(
        DATA_SETS["mantis_nlvr2"], write_nlvr2(root / "published", 7), root, options
    ).directory


@pytest.fixture
def copy(built, tmp_path):
    return shutil.copytree(built, tmp_path / "mantis_nlvr2" / "1.0.0")


def rows(source):
    return [source[n] for n in range(len(source))]


def test_a_configuration_opens_it(built):
    config = read_config(SourceConfig, {"tfds": {"directory": built, "split": "val"}})
    source = open_source(config)
    assert [row.id for row in rows(source)] == ["val/0", "val/1"]
    with pytest.raises(IndexError, match="the rows are 0 to 1"):
        source[2]
    with pytest.raises(ValueError, match=r"exactly one of .*tfds"):
        SourceConfig()


def test_a_suffix_ends_the_prompt_after_the_options_and_no_rule_reads_it(built):
    suffix = "\nThe first image ... in \\boxed{}."
    plain = TfdsSource(built)[0]
    example = TfdsSource(built, prompt_suffix=suffix)[0]
    assert prompt_text(example) == prompt_text(plain) + suffix
    assert prompt_text(plain).endswith("\n(A) True\n(B) False")
    swapped = permute(example, (1, 0), rule_for(example))
    assert prompt_text(swapped).endswith("(B) False" + suffix)


def test_a_copy_in_another_process_reads_the_same(built):
    source = TfdsSource(built)
    expected = rows(source)
    copy = pickle.loads(pickle.dumps(source))
    assert rows(copy) == expected
    assert copy.fingerprint() == source.fingerprint()
    assert len(pickle.dumps(source)) < 10_000


def test_the_fingerprint_is_that_of_the_content(built, copy):
    whole = TfdsSource(built)
    assert TfdsSource(copy).fingerprint() == whole.fingerprint()
    assert TfdsSource(built, split="val").fingerprint() != whole.fingerprint()
    assert TfdsSource(built, prompt_suffix="x").fingerprint() != whole.fingerprint()
    info = copy / "dataset_info.json"
    info.write_text(info.read_text().replace("true of two", "true of 2"))
    assert TfdsSource(copy).fingerprint() != whole.fingerprint()


@pytest.mark.reliability("19")
@pytest.mark.parametrize("end", [0, 100, 40_000, -1])
def test_a_shard_that_is_cut_off_is_named(copy, end):
    shard = sorted(copy.glob("*-train.*"))[1]
    shard.write_bytes(shard.read_bytes()[:end])
    with pytest.raises(ValueError, match=rf"{shard.name}: expected a whole ArrayRecord file"):
        TfdsSource(copy)
    assert len(TfdsSource(copy, split="val")) == 2


def test_a_shard_that_is_missing_or_another_one_is_named(copy):
    first, *_, last = sorted(copy.glob("*-train.*"))
    shutil.copy(last, first)
    with pytest.raises(ValueError, match=f"{first.name}: expected 2 records; got 1"):
        TfdsSource(copy)
    first.unlink()
    with pytest.raises(ValueError, match=f"{first.name}: no such file"):
        TfdsSource(copy)


def test_a_damaged_record_names_its_file_and_the_others_are_read(copy):
    shard = sorted(copy.glob("*-train.*"))[0]
    data = bytearray(shard.read_bytes())
    picture = data.index(b"PNG") if b"PNG" in data else 200
    data[picture : picture + 40] = bytes(40)
    shard.write_bytes(data)
    source = TfdsSource(copy)
    with pytest.raises(OSError, match=rf"{shard.name}: the record of row \d+ cannot be read"):
        rows(source)
    assert source[len(source) - 1].id == "train/6"


def test_a_directory_that_is_no_data_set_of_ours_is_said(copy, tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the directory of a version"):
        TfdsSource(tmp_path)
    with pytest.raises(ValueError, match="no split 'test'; it has train, val"):
        TfdsSource(copy, split="test")
    features = copy / "features.json"
    features.write_text(features.read_text().replace('"answer"', '"reply"'))
    with pytest.raises(ValueError, match="expected the features id, source"):
        TfdsSource(copy)
    features.write_text("{")
    with pytest.raises(ValueError, match="expected the metadata of TFDS"):
        TfdsSource(copy)


def test_what_tfds_says_of_damaged_metadata_is_one_line(copy):
    (copy / "dataset_info.json").write_text('{"a\\nb": 1}')
    with pytest.raises(ValueError, match="expected the metadata of TFDS") as refused:
        TfdsSource(copy)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", ["type", "pythonClassName", "python_class_name"])
def test_a_data_set_cannot_have_a_module_imported(copy, tmp_path, monkeypatch, key):
    (tmp_path / "module_of_a_data_set.py").write_text("class Feature: pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    named = {key: "module_of_a_data_set.Feature"}
    features = copy / "features.json"
    written = json.loads(features.read_text())
    for content in (
        {**named, "content": {}},
        {**written, **named},
        {"featuresDict": {"features": {**written["featuresDict"]["features"], "id": named}}},
    ):
        features.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=r"features\.json: expected the features id, source"):
            TfdsSource(copy)
    assert "module_of_a_data_set" not in sys.modules


def test_a_data_set_that_changed_after_it_was_opened_has_no_module_imported(copy):
    source = TfdsSource(copy)
    (copy / "features.json").write_text('{"type": "this.Feature", "content": {}}')
    with pytest.raises(OSError, match=r"features\.json: expected the features id, source"):
        source[0]
