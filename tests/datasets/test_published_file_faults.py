"""Broken published files are errors that name the file, and broken rows are rows of their own."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perl_jax.datasets.files import Columns, read_files
from perl_jax.datasets.k12_freeform import DATA_SETS
from perl_jax.datasets.virl39k import DATA_SETS as VIRL_SETS
from perl_jax.types import Example
from tests.data.sources.parquet_files import digit_png
from tests.datasets.published_files import EASYR1, image, reasons, write_parquet

NAME = "data/train-00000-of-00001.parquet"


def read_k12(root):
    return list(DATA_SETS[0].splits["train"](root))


@pytest.fixture
def file(tmp_path):
    rows = [[[image(digit_png(n))], "<image>Find x.", "1"] for n in range(6)]
    return write_parquet(tmp_path / NAME, EASYR1, rows)


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data/train-\*\.parquet: no such file"):
        read_k12(tmp_path)


@pytest.mark.parametrize("left", [0, 100, 0.5, 0.99])
def test_a_truncated_parquet_file_is_an_error_that_names_it(tmp_path, file, left):
    data = file.read_bytes()
    file.write_bytes(data[: int(left * len(data)) if left < 1 else left])
    with pytest.raises(ValueError, match=rf"{NAME}: expected a whole parquet file"):
        read_k12(tmp_path)


def test_damage_within_a_parquet_file_is_an_error_that_names_it(tmp_path, file):
    data = bytearray(file.read_bytes())
    start = pq.ParquetFile(file).metadata.row_group(1).column(1).data_page_offset
    data[start : start + 40] = b"\xff" * 40
    file.write_bytes(data)
    with pytest.raises(ValueError, match=rf"{NAME}: expected a whole parquet file"):
        read_k12(tmp_path)


def test_a_name_of_a_column_that_is_no_text_is_an_error_of_the_file(tmp_path, file):
    file.write_bytes(file.read_bytes().replace(b"problem", b"\x80roblem"))
    with pytest.raises(ValueError, match=rf"{NAME}: expected a whole parquet file"):
        read_k12(tmp_path)


def test_a_missing_column_is_an_error_that_names_file_and_columns(tmp_path, file):
    pq.write_table(pq.read_table(file).drop_columns(["answer"]), file)
    with pytest.raises(ValueError, match=rf"{NAME}: it lacks answer; its columns are images, prob"):
        read_k12(tmp_path)


def test_a_column_of_another_type_is_an_error(tmp_path, file):
    table = pq.read_table(file)
    pq.write_table(table.set_column(1, "problem", pa.array(range(6))), file)
    with pytest.raises(ValueError, match=rf"{NAME}: column problem: expected text; got int64"):
        read_k12(tmp_path)


def test_a_text_that_is_not_utf8_is_a_fault_of_its_row(tmp_path):
    texts = [b"one", b"half \xed\xa0\x80 of a pair", b"three"]
    raw = pa.array(texts, pa.binary())
    column = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")

    def read(row, name, number):
        return Example(str(number), "s", row["text"], (), "1")

    rows = read_files(tmp_path, "*.parquet", read, Columns(text=("text",)))
    assert reasons(rows) == ["0", ("a.parquet:1", "bad_text"), "2"]


def test_rows_are_read_in_the_order_of_the_files(tmp_path):
    schema = pa.schema({"text": pa.string()})
    for shard in (1, 0):
        rows = [[f"{shard}-{n}"] for n in range(100)]
        write_parquet(tmp_path / f"a-{shard}.parquet", schema, rows)

    def read(row, name, number):
        return Example(row["text"], "s", name, (), str(number))

    rows = list(read_files(tmp_path, "a-*.parquet", read, Columns(text=("text",))))
    assert [row.id for row in rows] == [f"{shard}-{n}" for shard in (0, 1) for n in range(100)]
    assert (rows[101].question, rows[101].answer) == ("a-1.parquet:1", "101")


def example_of_line(row, name, number):
    return Example(str(row["id"]), "s", "q", (), "1")


def test_a_truncated_json_file_is_an_error_and_a_bad_line_a_bad_row(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"id": 1}\nnonsense\n[1]\n{"id": 2}\n{"id": 3}')
    rows = reasons(read_files(tmp_path, "a.jsonl", example_of_line))
    assert rows == ["1", ("a.jsonl:1", "bad_json"), ("a.jsonl:2", "bad_json"), "2", "3"]
    path.write_bytes(b'{"id": 1}\n \n{"id": "x\xff"}\n\n{"id": "\\ud800"}\n{"id": 2}\n  ')
    rows = reasons(read_files(tmp_path, "a.jsonl", example_of_line))
    assert rows == ["1", ("a.jsonl:2", "bad_json"), ("a.jsonl:4", "bad_text"), "2"]
    path.write_bytes(b'{"id": 1}\n{"id": ')
    with pytest.raises(ValueError, match=r"a\.jsonl: expected a JSON object a line; a\.jsonl:1"):
        list(read_files(tmp_path, "a.jsonl", example_of_line))


def test_a_virl39k_without_images_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected images\.zip, or the folder images"):
        next(VIRL_SETS[0].splits["train"](tmp_path))
