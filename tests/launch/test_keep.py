"""launch/keep.py: a copy of the work directory outlives the host."""

import importlib.util

import pytest

from tests.bucket import NAME, running_bucket
from tests.launch.conftest import ROOT

spec = importlib.util.spec_from_file_location("keep", ROOT / "launch" / "keep.py")
keep = importlib.util.module_from_spec(spec)
spec.loader.exec_module(keep)


@pytest.fixture
def workdir(tmp_path):
    directory = tmp_path / "run"
    for name in ("metrics.jsonl", "tensorboard/events", "export/model.safetensors",
                 "checkpoints/5/arrays", ".lock", "tensorboard/.tmp/x"):  # fmt: skip
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(name)
    return directory


def names(directory):
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_all_but_checkpoints_and_hidden_files_is_saved(workdir, tmp_path):
    assert keep.save(workdir, str(tmp_path / "bucket" / "run")) == 3
    assert names(tmp_path / "bucket" / "run") == {
        "metrics.jsonl", "tensorboard/events", "export/model.safetensors"
    }  # fmt: skip


def test_only_what_grew_is_saved_again(workdir, tmp_path):
    bucket = str(tmp_path / "bucket")
    keep.save(workdir, bucket)
    assert keep.save(workdir, bucket) == 0
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write("more")
    assert keep.save(workdir, bucket) == 1
    assert (tmp_path / "bucket" / "metrics.jsonl").read_text() == "metrics.jsonlmore"


def test_what_is_missing_is_restored_but_for_exported_models(workdir, tmp_path):
    bucket = str(tmp_path / "bucket")
    keep.save(workdir, bucket)
    new = tmp_path / "new"
    new.mkdir()
    (new / "metrics.jsonl").write_text("mine")
    assert keep.restore(new, bucket) == 1
    assert names(new) == {"metrics.jsonl", "tensorboard/events"}
    assert (new / "metrics.jsonl").read_text() == "mine"


def test_nothing_is_restored_from_a_place_that_is_not_there(tmp_path):
    assert keep.restore(tmp_path / "run", str(tmp_path / "bucket")) == 0


def test_stores_other_than_files_do(workdir, tmp_path):
    keep.save(workdir, "memory://bucket/run")
    assert keep.restore(tmp_path / "new", "memory://bucket/run") == 2
    assert names(tmp_path / "new") == {"metrics.jsonl", "tensorboard/events"}


def test_a_bucket_of_google_keeps_it_for_a_new_host(workdir, tmp_path, monkeypatch):
    with running_bucket() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        url = f"gs://{NAME}/run/workdir"
        assert keep.save(workdir, url) == 3
        assert keep.save(workdir, url) == 0
        with (workdir / "metrics.jsonl").open("a") as file:
            file.write("more")
        assert keep.save(workdir, url) == 1
        assert keep.restore(tmp_path / "new", url) == 2
    assert names(tmp_path / "new") == {"metrics.jsonl", "tensorboard/events"}
    assert (tmp_path / "new" / "metrics.jsonl").read_text() == "metrics.jsonlmore"
