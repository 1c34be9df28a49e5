"""launch/keep.py: a copy of the work directory outlives the host."""

import importlib.util
import signal
import subprocess
import sys
import time

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


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "a//outside", "./outside"])
def test_an_object_whose_name_leads_out_of_the_directory_is_refused(tmp_path, monkeypatch, name):
    bucket = tmp_path / "bucket"
    (bucket / "a").mkdir(parents=True)
    (tmp_path / "outside").write_text("x")
    (bucket / "outside").write_text("x")
    monkeypatch.setattr(keep, "_sizes", lambda store, place: {name: 1})
    new = tmp_path / "place" / "new"
    new.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"expected names of files below it; got '.*outside'"):
        keep.restore(new, str(bucket))
    assert names(tmp_path / "place") == set()


def test_what_is_missing_is_restored_but_for_exported_models(workdir, tmp_path):
    bucket = str(tmp_path / "bucket")
    keep.save(workdir, bucket)
    new = tmp_path / "new"
    new.mkdir()
    (new / "metrics.jsonl").write_text("mine")
    assert keep.restore(new, bucket) == 1
    assert names(new) == {"metrics.jsonl", "tensorboard/events"}
    assert (new / "metrics.jsonl").read_text() == "mine"


def wait_for(file, text):
    deadline = time.monotonic() + 60
    while not file.exists() or file.read_text() != text:
        assert time.monotonic() < deadline, file
        time.sleep(0.02)


def test_every_logged_step_is_saved_and_the_end_too(workdir, tmp_path):
    bucket = tmp_path / "bucket"
    command = [sys.executable, ROOT / "launch" / "keep.py", "follow", workdir, bucket, "0.05"]
    with subprocess.Popen(command) as process:
        try:
            for text in ("step 1", "step 1, step 2"):
                (workdir / "metrics.jsonl").write_text(text)
                wait_for(bucket / "metrics.jsonl", text)
            (workdir / "log.txt").write_text("the end")
            time.sleep(0.2)
            assert not (bucket / "log.txt").exists()
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
    assert (bucket / "log.txt").read_text() == "the end"


def test_a_store_that_fails_is_told_and_asked_again(workdir, tmp_path, monkeypatch, capfd):
    asked = []

    def fail(directory, url):
        asked.append(url)
        (workdir / "metrics.jsonl").write_text("x" * len(asked))
        raise OSError("no route")

    comes = iter([None, None, signal.SIGTERM])
    monkeypatch.setattr(keep, "save", fail)
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *_: None)
    monkeypatch.setattr(signal, "sigtimedwait", lambda *_: next(comes))
    keep.follow(workdir, "gs://b", 0.0)
    assert len(asked) == 3
    assert capfd.readouterr().err.count("going on: no route") == 3


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
