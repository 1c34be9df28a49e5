"""Directories that ``save_to_disk`` writes: read without the library, and damage."""

import json
import pickle

import pyarrow as pa
import pytest

from perl_jax.data import BadRow, ColumnsConfig, DatasetDirectorySource
from tests.data.sources.row_files import write_directory, write_stream

COLUMNS = ColumnsConfig(question="q", answer="a")


def table(count=10, start=0):
    return pa.table({"q": [f"{n}?" for n in range(start, start + count)], "a": range(count)})


def test_what_the_library_wrote_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    features = datasets.Features(
        {
            "problem": datasets.Value("string"),
            "answer": datasets.Value("string"),
            "images": datasets.List(datasets.Image()),
            "image_1": datasets.Image(),
            "kind": datasets.ClassLabel(names=["count", "compare"]),
        }
    )
    (tmp_path / "0.png").write_bytes(b"from a file")
    rows = [
        {
            "problem": f"<image>{n}?",
            "answer": str(n),
            "images": [{"bytes": b"image %d" % n, "path": None}],
            "image_1": str(tmp_path / "0.png") if n == 0 else None,
            "kind": n % 2,
        }
        for n in range(12)
    ]
    train = datasets.Dataset.from_list(rows, features=features)
    splits = datasets.DatasetDict(train=train, test=train.shuffle(seed=1).select(range(4)))
    splits.save_to_disk(tmp_path / "saved", num_shards={"train": 5, "test": 1})
    source = DatasetDirectorySource(tmp_path / "saved", split="train")
    assert [source[n].answer for n in range(len(source))] == [str(n) for n in range(12)]
    assert source[7].images == (b"image 7",)
    assert (source[7].question, source[7].source) == ("<image>7?", "saved")
    assert source[3].id == "data-00001-of-00005.arrow:0"
    # A selection is written as the rows that it selects.
    test = DatasetDirectorySource(tmp_path / "saved", split="test")
    assert [test[n].answer for n in range(4)] == splits["test"]["answer"][:]
    columns = ColumnsConfig(
        question="problem", answer="answer", images=("image_1", "images"), metadata=("kind",)
    )
    mapped = DatasetDirectorySource(tmp_path / "saved", split="train", columns=columns)
    assert mapped[0].images == (b"from a file", b"image 0")
    assert (mapped[1].images, mapped[1].metadata) == ((b"image 1",), {"kind": 1})
    train.save_to_disk(tmp_path / "alone")
    assert DatasetDirectorySource(tmp_path / "alone")[11].question == "<image>11?"


def test_rows_follow_each_other_over_batches_and_shards(tmp_path):
    path = write_directory(tmp_path / "set", table(23), shards=3, batch_rows=3)
    source = DatasetDirectorySource(path, columns=COLUMNS)
    assert [source[n].question for n in range(len(source))] == [f"{n}?" for n in range(23)]
    assert source[15].id == "data-00001-of-00003.arrow:7"


def test_a_split_must_be_named_where_there_are_splits_and_only_there(tmp_path):
    for split in ("train", "test"):
        write_directory(tmp_path / "splits" / split, table())
    (tmp_path / "splits" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    write_directory(tmp_path / "alone", table())
    for split in (None, "val", ".."):
        with pytest.raises(ValueError, match=r"splits: split: expected one of train, test; got"):
            DatasetDirectorySource(tmp_path / "splits", split=split, columns=COLUMNS)
    with pytest.raises(ValueError, match="expected one of none, as it has no splits; got train"):
        DatasetDirectorySource(tmp_path / "alone", split="train", columns=COLUMNS)
    assert len(DatasetDirectorySource(tmp_path / "splits", split="test", columns=COLUMNS)) == 10


@pytest.mark.parametrize("batches_kept", [1, 2])
def test_a_file_that_is_cut_off_is_an_error_even_between_two_batches(tmp_path, batches_kept):
    path = write_directory(tmp_path / "set", table(30), batch_rows=10)
    file = path / "data-00000-of-00001.arrow"
    with pa.OSFile(str(file)) as opened:
        reader, ends = pa.ipc.open_stream(opened), []
        for _ in range(3):
            reader.read_next_batch()
            ends.append(opened.tell())
    whole = file.read_bytes()
    for end in (ends[batches_kept - 1], ends[batches_kept] - 9, len(whole) - 1):
        file.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=r"of-00001\.arrow: expected a whole Arrow stream"):
            DatasetDirectorySource(path, columns=COLUMNS)


def test_a_name_of_a_column_that_is_no_text_is_an_error_of_the_file(tmp_path):
    path = write_directory(tmp_path / "set", table())
    file = path / "data-00000-of-00001.arrow"
    file.write_bytes(
        file.read_bytes().replace(COLUMNS.question.encode(), b"\x80" * len(COLUMNS.question))
    )
    with pytest.raises(ValueError, match=r"of-00001\.arrow: expected a whole Arrow stream"):
        DatasetDirectorySource(path, columns=COLUMNS)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"\0" * 100, b"\xff" * 100])
def test_a_file_of_another_kind_is_an_error(tmp_path, content):
    path = write_directory(tmp_path / "set", table())
    (path / "data-00000-of-00001.arrow").write_bytes(content)
    with pytest.raises(ValueError, match=r"of-00001\.arrow: expected a whole Arrow stream"):
        DatasetDirectorySource(path, columns=COLUMNS)


def test_a_shard_with_other_columns_is_an_error(tmp_path):
    path = write_directory(tmp_path / "set", table(), shards=2)
    file = path / "data-00001-of-00002.arrow"
    write_stream(file, table().drop_columns("a"))
    with pytest.raises(ValueError, match=r"00001-of-.*: expected the columns of .*00000-of.*q, a"):
        DatasetDirectorySource(path, columns=COLUMNS)
    write_stream(file, pa.table({"q": ["?"], "a": ["text"]}))
    with pytest.raises(ValueError, match=r"00001-of-.*: column a: expected int64, as in .*string"):
        DatasetDirectorySource(path, columns=COLUMNS)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"question": "a"}, "column a: expected text, or a list of messages, .*; got int64"),
        ({"images": ("a",)}, "column a: expected a list of images, .*; got int64"),
        ({"options": "a"}, "column a: expected text, or a list of texts; got int64"),
        ({"source": "a"}, "column a: expected text; got int64"),
    ],
)
def test_a_column_of_the_wrong_type_is_an_error(tmp_path, columns, message):
    columns = ColumnsConfig(**{"question": "q", "answer": "a", **columns})
    with pytest.raises(ValueError, match=rf"of-00001\.arrow: {message}"):
        DatasetDirectorySource(write_directory(tmp_path / "set", table()), columns=columns)


def test_what_is_no_such_directory_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone: .* it has no state\.json"):
        DatasetDirectorySource(tmp_path / "gone", columns=COLUMNS)
    path = write_directory(tmp_path / "set", table(), shards=2)
    (path / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(FileNotFoundError, match=r"set: data-00001-of-00002\.arrow is missing"):
        DatasetDirectorySource(path, columns=COLUMNS)
    (path / "state.json").write_text("{")
    with pytest.raises(ValueError, match=r"state\.json: expected a JSON object"):
        DatasetDirectorySource(path, columns=COLUMNS)


def test_names_of_files_do_not_lead_out_of_the_directory(tmp_path):
    write_stream(tmp_path / "secret.arrow", table())
    path = write_directory(tmp_path / "set", table())
    state = {"_data_files": [{"filename": "../secret.arrow"}]}
    (path / "state.json").write_text(json.dumps(state))
    with pytest.raises(FileNotFoundError, match=r"secret\.arrow is missing"):
        DatasetDirectorySource(path, columns=COLUMNS)


def test_no_rows_are_an_error(tmp_path):
    path = write_directory(tmp_path / "set", table(0).cast(table().schema))
    with pytest.raises(ValueError, match="set: expected rows; got none"):
        DatasetDirectorySource(path, columns=COLUMNS)


def test_a_text_that_is_not_utf8_is_a_fault_of_its_row(tmp_path):
    offsets = pa.array([0, 3, 6, 11], pa.int32()).buffers()[1]
    texts = pa.Array.from_buffers(
        pa.string(), 3, [None, offsets, pa.py_buffer(b"one\xed\xa0\x80three")]
    )
    path = write_directory(tmp_path / "set", pa.table({"q": texts, "a": texts}))
    source = DatasetDirectorySource(path, columns=COLUMNS)
    assert [source[n].question for n in (0, 2)] == ["one", "three"]
    with pytest.raises(BadRow, match=r"of-00001\.arrow:1: bad_text"):
        source[1]


def test_what_is_pickled_are_paths(tmp_path):
    path = write_directory(tmp_path / "set", table(20_000))
    source = DatasetDirectorySource(path, columns=COLUMNS)
    assert len(pickle.dumps(source)) < 2000
