"""Published files are found recursively, read in the order of their paths, and nothing is lost."""

import json
import logging

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.files import Columns
from perl_jax.evaluation.sets import files
from perl_jax.types import Example
from tests.data.sources.parquet_files import digit_png
from tests.datasets.published_files import reasons, write_zip


def rows_of(path, read):
    return files.rows_of(path, read, Columns(other=("id",)))


def as_example(row):
    return Example(row.id("id"), "s", f"{row.number} {row.folder}", (), row.name)


def write_ids(path, *ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"id": list(ids)}), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps([{"id": id} for id in ids]))
    else:
        path.write_text("".join(json.dumps({"id": id}) + "\n" for id in ids))
    return path


@pytest.mark.parametrize("ending", [".parquet", ".json", ".jsonl"])
def test_a_folder_is_read_recursively_in_the_order_of_paths(tmp_path, ending):
    write_ids(tmp_path / "b" / f"0{ending}", "b0", "b1")
    write_ids(tmp_path / "a" / "deep" / f"1{ending}", "a1")
    write_ids(tmp_path / "a" / "deep" / f"0{ending}", "a0")
    write_ids(tmp_path / ".cache" / f"0{ending}", "hidden")
    rows = list(rows_of(tmp_path, as_example))
    assert [row.id for row in rows] == ["a0", "a1", "b0", "b1"]
    assert [row.question for row in rows] == ["0 a/deep", "1 a/deep", "2 b", "3 b"]
    assert rows[3].answer == f"b/0{ending}:1"


def test_one_file_is_read_alone_whatever_its_name_holds(tmp_path):
    path = write_ids(tmp_path / "a[1]*.parquet", "a")
    write_ids(tmp_path / "a1.parquet", "b")
    assert [row.id for row in rows_of(path, as_example)] == ["a"]


def test_json_lines_may_be_called_json(tmp_path):
    write_ids(tmp_path / "x.jsonl", "a", "b").rename(tmp_path / "dev.json")
    assert [row.id for row in rows_of(tmp_path, as_example)] == ["a", "b"]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("test-00000-of-00001", "testmini-00000-of-00001"), "test, testmini"),
        (("a/dev-0", "a/validation-0", "b/validation-0"), "dev, validation"),
        (("test-00000-of-00002", "test-00001-of-00002"), None),
        (("testmini", "all", "contest"), None),
    ],
)
def test_a_warning_names_the_splits_that_are_read_together(tmp_path, caplog, names, splits):
    for name in names:
        write_ids(tmp_path / f"{name}.parquet", name)
    for _ in range(2):  # told once
        assert len(list(rows_of(tmp_path, as_example))) == len(names)
    told = [record.getMessage() for record in caplog.records]
    expected = f"{tmp_path}: reading files of several splits: {splits}. To read one of them"
    assert [message.startswith(expected) for message in told] == [True] * (splits is not None)


def test_the_same_rows_in_several_formats_are_read_once_and_a_warning_names_the_others(
    tmp_path, caplog
):
    write_ids(tmp_path / "all.parquet", "a")
    write_ids(tmp_path / "json" / "all.json", "a")
    with caplog.at_level(logging.WARNING):
        assert [row.id for row in rows_of(tmp_path, as_example)] == ["a"]
    assert "not read: json/all.json" in caplog.text


def test_images_are_found_beside_the_file_and_in_archives(tmp_path):
    write_ids(tmp_path / "a.jsonl", "1", "2", "3")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "1.png").write_bytes(digit_png(1))
    (tmp_path / "zips").mkdir()
    write_zip(tmp_path / "zips" / "here.zip", {"2.png": 2})

    def read(row):
        return Example(row.id("id"), "s", "q", (row.image(f"./here/{row.id('id')}.png"),), "A")

    for path in (tmp_path, tmp_path / "a.jsonl"):
        rows = list(rows_of(path, read))
        assert [row.images for row in rows[:2]] == [(digit_png(1),), (digit_png(2),)]
        assert rows[2].reason == "missing_image"


def test_rows_with_one_id_are_bad_rows(tmp_path):
    write_ids(tmp_path / "a.jsonl", "1", "1", "")
    assert reasons(rows_of(tmp_path, as_example)) == [
        "1", ("a.jsonl:1", "duplicate_id"), ("a.jsonl:2", "id_null"),
    ]  # fmt: skip


def test_what_is_missing_or_of_another_format_is_an_error_that_names_the_path(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such file or folder"):
        next(rows_of(tmp_path / "nowhere", as_example))
    with pytest.raises(FileNotFoundError, match=r"expected files of \.parquet, \.jsonl, \.json"):
        next(rows_of(tmp_path, as_example))
    (tmp_path / "a.csv").write_text("id\n1\n")
    with pytest.raises(ValueError, match=r"a\.csv: expected a file of \.parquet"):
        next(rows_of(tmp_path / "a.csv", as_example))
    path = write_ids(tmp_path / "a.parquet", "1")
    with pytest.raises(ValueError, match=r"a\.parquet: it lacks question; its columns are id"):
        next(files.rows_of(path, as_example, Columns(text=("question",))))


@pytest.mark.parametrize(
    ("value", "reason"), [(None, "task_null"), ("", "task_null"), (3, "bad_task")]
)
def test_a_column_that_holds_no_text_is_a_bad_row(tmp_path, value, reason):
    (tmp_path / "a.jsonl").write_text(json.dumps({"task": value}) + "\n")
    [row] = rows_of(tmp_path, lambda row: Example(row.text("task"), "s", "q", (), "A"))
    assert isinstance(row, BadRow)
    assert row.reason == reason


def test_lists_of_texts_are_checked(tmp_path):
    rows = [{"options": ["a"]}, {}, {"options": [1]}, {"options": "a"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def read(row):
        return Example(str(row.number), "s", "q", (), "A", row.texts("options"))

    one, none, *bad = rows_of(tmp_path, read)
    assert (one.options, none.options) == (("a",), ())
    assert [row.reason for row in bad] == ["bad_options"] * 2
