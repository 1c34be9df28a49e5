"""Building data sets: the same input gives the same bytes, and nothing half built looks whole."""

import dataclasses
import hashlib
import json
import signal
import subprocess
import sys

import pytest
import tensorflow_datasets as tfds

from perl_jax.data import BadRow
from perl_jax.data.sources.tfds import TfdsSource
from perl_jax.data.sources.tfds_records import DECODERS
from perl_jax.datasets import DataSet
from perl_jax.datasets.build.tfds_builder import BuildOptions, build
from perl_jax.datasets.registry import DATA_SETS
from perl_jax.files import LockError, lock
from perl_jax.types import Example
from tests.datasets.mantis_files import write_nlvr2, write_zip

QUIET = BuildOptions(show_progress=False)
# Two examples of about 400 bytes each to a shard.
SMALL = dataclasses.replace(QUIET, shard_bytes=700)


def example(number, split="train", **changed):
    fields = {
        "id": f"{split}/{number}",
        "source": "toy",
        "question": f"<image> {number}, é?",
        "images": (b"%d\0\0" % number * 50, b"") if number % 3 else (),
        "answer": "A",
        "options": ("(A) x", "(B) ü")[: 2 * (number % 2)],
        "metadata": {"n": number, "deep": {"a": [1, None, "é"]}},
    }
    return Example(**{**fields, **changed})


def rows_of(split, count, bad=()):
    return [
        BadRow("broken", f"{split}:{n}", "does not fit") if n in bad else example(n, split)
        for n in range(count)
    ]


def toy(train=None, val=None, stop_at=None):
    """A data set of given rows, whose reading is killed at a row."""

    def read(rows):
        def reader(directory):
            assert (directory / "rows.txt").is_file()
            for number, row in enumerate(rows):
                if number == stop_at:
                    raise KeyboardInterrupt
                yield row

        return reader

    train = rows_of("train", 10) if train is None else train
    splits = {"train": read(train)} | ({"val": read(val)} if val is not None else {})
    about = ("https://example.org/toy", "CC-BY-4.0", "Digits | to | read.")
    return DataSet("toy", "toy", "Toy", *about, splits, ("*.txt",))


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "rows.txt").write_text("published")
    return folder


def contents(directory):
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_what_is_read_equals_what_was_written_with_tfds_itself_and_with_the_source(
    tmp_path, source
):
    report = build(toy(val=rows_of("val", 2)), source, tmp_path, SMALL)
    assert report.directory == str(tmp_path / "toy" / "1.0.0")
    for split, count in (("train", 10), ("val", 2)):
        found = TfdsSource(report.directory, split=split)
        assert [found[n] for n in range(len(found))] == rows_of(split, count)
    builder = tfds.builder("toy", data_dir=tmp_path)
    rows = builder.as_data_source("train", decoders=DECODERS)
    assert [row["question"].decode() for row in rows] == [
        row.question for row in rows_of("train", 10)
    ]
    assert (builder.info.homepage, builder.info.redistribution_info.license) == (
        "https://example.org/toy",
        "CC-BY-4.0",
    )
    assert "tensorflow" not in sys.modules


def test_two_builds_of_the_same_files_are_the_same_to_the_last_byte(tmp_path):
    source = write_nlvr2(tmp_path / "published")
    names = ("one", "two")
    one, two = (build(DATA_SETS["mantis_nlvr2"], source, tmp_path / name, QUIET) for name in names)
    files = contents(tmp_path / "one/mantis_nlvr2/1.0.0")
    assert files == contents(tmp_path / "two/mantis_nlvr2/1.0.0")
    assert sorted(files) == [
        "LICENSE", "README.md", "build.json", "dataset_info.json", "dropped.jsonl",
        "features.json", "mantis_nlvr2-train.array_record-00000",
        "mantis_nlvr2-val.array_record-00000",
    ]  # fmt: skip
    assert one.files == two.files
    data = DATA_SETS["mantis_nlvr2"]
    for split in ("train", "val"):
        expected = list(data.splits[split](source))
        found = TfdsSource(one.directory, split=split)
        assert [found[n] for n in range(len(found))] == expected


@pytest.mark.parametrize("stop_at", [0, 1, 5, 9])
def test_a_build_that_was_stopped_goes_on_and_ends_in_the_same_bytes(tmp_path, source, stop_at):
    rows = rows_of("train", 10, bad=(2, 3, 9))
    options = dataclasses.replace(SMALL, max_bad_fraction=0.5)
    build(toy(rows, rows_of("val", 3)), source, tmp_path / "whole", options)
    with pytest.raises(KeyboardInterrupt):
        build(toy(rows, stop_at=stop_at), source, tmp_path / "resumed", options)
    with pytest.raises(KeyboardInterrupt):
        build(toy(rows, rows_of("val", 3), stop_at), source, tmp_path / "resumed", options)
    assert not (tmp_path / "resumed/toy/1.0.0").exists()
    report = build(toy(rows, rows_of("val", 3)), source, tmp_path / "resumed", options)
    assert contents(tmp_path / "resumed/toy/1.0.0") == contents(tmp_path / "whole/toy/1.0.0")
    assert len(report.shards) > 3
    assert {path.name for path in (tmp_path / "resumed/toy").iterdir()} == {"1.0.0", ".lock"}


def test_finished_shards_are_not_written_again(tmp_path, source):
    with pytest.raises(KeyboardInterrupt):
        build(toy(stop_at=7), source, tmp_path, SMALL)
    work = tmp_path / "toy/1.0.0.incomplete"
    shards = json.loads((work / "progress.json").read_text())["shards"]["train"]
    assert shards
    before = {shard["file"]: (work / shard["file"]).stat().st_mtime_ns for shard in shards}
    build(toy(), source, tmp_path, SMALL)
    after = {name: (tmp_path / "toy/1.0.0" / name).stat().st_mtime_ns for name in before}
    assert after == before


@pytest.mark.parametrize("change", ["file", "options", "shard"])
def test_shards_of_other_files_or_options_and_damaged_ones_do_not_count(tmp_path, source, change):
    with pytest.raises(KeyboardInterrupt):
        build(toy(stop_at=7), source, tmp_path / "resumed", SMALL)
    options = SMALL
    if change == "file":
        (source / "rows.txt").write_text("other")
    elif change == "options":
        options = dataclasses.replace(SMALL, limit=8)
    else:
        (shard,) = (tmp_path / "resumed/toy/1.0.0.incomplete").glob("*-00000")
        shard.write_bytes(b"")
    others = [example(n, answer="B") for n in range(10)]
    build(toy(others), source, tmp_path / "resumed", options)
    build(toy(others), source, tmp_path / "whole", options)
    assert contents(tmp_path / "resumed/toy/1.0.0") == contents(tmp_path / "whole/toy/1.0.0")


def test_too_many_bad_rows_are_an_error_with_their_reasons_and_leave_no_data_set(tmp_path, source):
    rows = rows_of("train", 100, bad=(4, 50))
    with pytest.raises(ValueError, match=r"2 of 100 rows .* max_bad_fraction = 0.01") as caught:
        build(toy(rows), source, tmp_path, QUIET)
    assert "broken" in str(caught.value)
    assert "train:4: does not fit" in str(caught.value)
    assert not (tmp_path / "toy/1.0.0").exists()
    with pytest.raises(FileNotFoundError, match=r"dataset_info\.json: no such file"):
        TfdsSource(tmp_path / "toy/1.0.0.incomplete")
    allowed = dataclasses.replace(QUIET, max_bad_fraction=0.02)
    report = build(toy(rows), source, tmp_path, allowed)
    assert report.tallies["train"].kept == 98
    log = (tmp_path / "toy/1.0.0/dropped.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in log] == [
        {"split": "train", "reason": "broken", "row": f"train:{n}", "message": "does not fit"}
        for n in (4, 50)
    ]


def test_the_card_and_the_table_say_what_was_kept_and_dropped_and_from_which_files(
    tmp_path, source
):
    rows = rows_of("train", 3, bad=(1,))
    rows[2] = example(2, metadata={"left_out_pairs": 4})
    report = build(toy(rows), source, tmp_path, BuildOptions(None, None, 0.5, show_progress=False))
    tally = report.tallies["train"]
    assert (tally.rows, tally.kept, tally.images, tally.left_out_pairs) == (3, 2, 2, 4)
    assert "broken" in report.table()
    directory = tmp_path / "toy/1.0.0"
    card = (directory / "README.md").read_text()
    shard = directory / "toy-train.array_record-00000"
    for path in (source / "rows.txt", shard):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert f"| {path.name} | {path.stat().st_size} | {digest} |" in card
    assert "| train | 3 | 2 | 1 | 2 | 4 |" in card
    assert "| train | broken | 1 | train:1: does not fit |" in card
    assert "CC-BY-4.0" in card
    assert "https://example.org/toy" in card


def test_a_finished_build_is_kept_and_another_one_is_not_put_in_its_place(tmp_path, source):
    first = build(toy(), source, tmp_path, QUIET)
    assert build(toy(rows_of("train", 3)), source, tmp_path, QUIET) == first
    with pytest.raises(ValueError, match="remove it to build it again"):
        build(toy(), source, tmp_path, dataclasses.replace(QUIET, limit=4))
    (source / "rows.txt").write_text("longer than before")
    with pytest.raises(ValueError, match="other files"):
        build(toy(), source, tmp_path, QUIET)


def test_a_limit_reads_so_many_rows_of_each_split(tmp_path, source):
    options = dataclasses.replace(QUIET, limit=4, max_bad_fraction=0.25)
    data = toy(rows_of("train", 10, bad=(1,)), rows_of("val", 2), stop_at=5)
    report = build(data, source, tmp_path, options)
    assert [tally.rows for tally in report.tallies.values()] == [4, 2]
    assert len(TfdsSource(report.directory)) == 3
    assert "Only the first 4 rows" in (tmp_path / "toy/1.0.0/README.md").read_text()


def test_rows_that_cannot_be_stored_or_repeat_an_id_are_told_apart(tmp_path, source):
    rows = [example(0), example(1, question="\ud800")]
    report = build(toy(rows), source, tmp_path, BuildOptions(None, None, 0.5, show_progress=False))
    assert report.tallies["train"].dropped == {"bad_text": 1}
    with pytest.raises(ValueError, match="'train/0' stands twice"):
        build(toy([example(0), example(0)]), source, tmp_path / "twice", QUIET)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (toy([]), QUIET, "toy, train: expected rows; got none"),
        (toy(), BuildOptions(splits=("test",)), "no split 'test'; it has train"),
    ],
)
def test_what_cannot_be_built_is_said(tmp_path, source, data, options, message):
    with pytest.raises(ValueError, match=message):
        build(data, source, tmp_path, options)


def test_published_files_that_are_missing_are_said(tmp_path, source):
    with pytest.raises(FileNotFoundError, match="expected the directory of the published files"):
        build(toy(), source / "none", tmp_path, QUIET)
    (source / "rows.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected some of \*\.txt"):
        build(toy(), source, tmp_path, QUIET)


@pytest.mark.parametrize("value", [{"limit": 0}, {"max_bad_fraction": 1.5}])
def test_options_out_of_range_are_errors(value):
    with pytest.raises(ValueError, match=f"{next(iter(value))}: expected"):
        BuildOptions(**value)


def test_a_build_that_is_killed_leaves_nothing_that_looks_whole_and_can_be_run_again(tmp_path):
    source = write_nlvr2(tmp_path / "published", 40)
    killed = tmp_path / "killed"
    program = f"""
import os, signal
from pathlib import Path
from perl_jax.datasets.build import record_shards, tfds_builder
from perl_jax.datasets.registry import DATA_SETS
add = record_shards.FinishedShards.add
def stop(self, split, shard):
    add(self, split, shard)
    if shard.rows > 10:
        os.kill(os.getpid(), signal.SIGKILL)
record_shards.FinishedShards.add = stop
options = tfds_builder.BuildOptions(shard_bytes=5000, show_progress=False)
tfds_builder.build(DATA_SETS["mantis_nlvr2"], Path({str(source)!r}), Path({str(killed)!r}), options)
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=300)
    assert ended.returncode == -signal.SIGKILL
    assert not (killed / "mantis_nlvr2/1.0.0").exists()
    options = dataclasses.replace(QUIET, shard_bytes=5000)
    for name in ("killed", "whole"):
        build(DATA_SETS["mantis_nlvr2"], source, tmp_path / name, options)
    assert contents(killed / "mantis_nlvr2/1.0.0") == contents(
        tmp_path / "whole/mantis_nlvr2/1.0.0"
    )


def test_a_missing_zip_file_is_a_bad_row_each_and_stops_the_build(tmp_path):
    source = write_nlvr2(tmp_path / "published")
    (source / "nlvr2/val_images.zip").unlink()
    with pytest.raises(ValueError, match=r"mantis_nlvr2, val: 2 of 2 rows .*\n  missing_image"):
        build(DATA_SETS["mantis_nlvr2"], source, tmp_path, QUIET)
    write_zip(
        source,
        "nlvr2",
        {f"val-{n}-img{k}.png": n for n in (0, 1) for k in (0, 1)},
        "val_images_part0.zip",
    )
    assert build(DATA_SETS["mantis_nlvr2"], source, tmp_path, QUIET).tallies["val"].kept == 2


def test_one_process_builds_a_data_set_at_a_time(tmp_path, source):
    with (
        lock(tmp_path / "toy", "data set"),
        pytest.raises(LockError, match=f"data set {tmp_path}/toy: in use by this process"),
    ):
        build(toy(), source, tmp_path, SMALL)
    build(toy(), source, tmp_path, SMALL)
