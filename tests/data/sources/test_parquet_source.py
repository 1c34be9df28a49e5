"""Parquet files as a source: what becomes of columns, and faults of whole files."""

import logging
import pickle
import shutil
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perl_jax.data import ParquetSource
from perl_jax.processing import load_rgb
from perl_jax.types import prompt_text
from tests.data.sources.parquet_files import (
    VERL_TYPES,
    digit_png,
    easyr1_row,
    scans,
    verl_row,
    write_easyr1,
    write_verl,
)


def test_a_row_in_the_layout_of_verl_becomes_an_example(tmp_path):
    rows = [verl_row(0), verl_row(17, change_needed=None, question_type="ordering")]
    source = ParquetSource(write_verl(tmp_path / "train.parquet", rows))
    example = source[1]
    assert len(source) == 2
    assert (example.id, example.source) == ("digits/train/17", "digits")
    assert example.question == "<image><image> Which digit is larger?"
    assert example.images == (digit_png(34), digit_png(35))
    assert (example.answer, example.options) == ("A", ())
    expected = {"split": "train", "index": 17, "answer": "A", "level": 3}
    assert example.metadata == {**expected, "question_type": "ordering"}
    assert source[0].metadata == {**expected, "index": 0, "change_needed": True}


def test_images_arrive_as_the_scans_that_were_written(tmp_path):
    images = [{"bytes": digit_png(number, side=8), "path": None} for number in (8, 9)]
    source = ParquetSource(write_verl(tmp_path / "train.parquet", [verl_row(4, images)]))
    for number, image in zip((8, 9), source[0].images, strict=True):
        np.testing.assert_array_equal(load_rgb(image)[:, :, 1], scans()[number] * 15)


def test_a_row_in_the_layout_of_easyr1_becomes_an_example(tmp_path):
    path = write_easyr1(tmp_path / "geometry3k.parquet", [easyr1_row(0), easyr1_row(5)])
    example = ParquetSource(path)[1]
    assert (example.id, example.source) == ("geometry3k.parquet:1", "geometry3k")
    assert (example.question, example.answer) == ("<image> Which digit is it?", "5")
    assert example.images == (digit_png(5),)
    assert example.metadata == {}


@pytest.mark.parametrize("column", ["source", "data_source"])
def test_an_easyr1_file_may_say_where_its_rows_come_from(tmp_path, column):
    path = write_easyr1(tmp_path / "a.parquet", [easyr1_row(0, **{column: "MMK12"})])
    assert ParquetSource(path)[0].source == "MMK12"
    assert ParquetSource(path, source="mine")[0].source == "mine"


def test_a_source_that_is_given_replaces_that_of_verl_rows(tmp_path):
    path = write_verl(tmp_path / "a.parquet", [verl_row(0)])
    assert ParquetSource(path, source="mine")[0].source == "mine"


@pytest.mark.reliability("40")
@pytest.mark.parametrize(
    "images",
    [
        [digit_png(1), digit_png(2)],
        [{"bytes": digit_png(1), "path": "a.png"}, {"bytes": digit_png(2), "path": None}],
        ["a.png", "b.png"],
        [{"bytes": None, "path": "a.png"}, {"bytes": None, "path": "b.png"}],
        [{"bytes": digit_png(1), "path": "gone.png"}, {"bytes": None, "path": "b.png"}],
    ],
)
def test_images_are_bytes_or_paths_below_the_root_or_both(tmp_path, images):
    (tmp_path / "root").mkdir()
    for name, number in (("a.png", 1), ("b.png", 2)):
        (tmp_path / "root" / name).write_bytes(digit_png(number))
    row = easyr1_row(0, images=images, problem="<image><image>")
    source = ParquetSource(
        write_easyr1(tmp_path / "a.parquet", [row]), image_root=tmp_path / "root"
    )
    assert source[0].images == (digit_png(1), digit_png(2))


def test_one_image_need_not_stand_in_a_list(tmp_path):
    for images in (digit_png(3), {"bytes": digit_png(3), "path": None}):
        path = write_easyr1(tmp_path / "a.parquet", [easyr1_row(3, images=images)])
        assert ParquetSource(path)[0].images == (digit_png(3),)


@pytest.mark.reliability("2")
@pytest.mark.parametrize("images", [None, []])
def test_a_row_may_have_no_images(tmp_path, images):
    row = verl_row(0, question="1 + 1?")
    rows = [{**row, "images": images}, verl_row(1)]
    assert ParquetSource(write_verl(tmp_path / "a.parquet", rows))[0].images == ()


@pytest.mark.reliability("10")
@pytest.mark.parametrize(
    ("answer", "text"), [(7, "7"), (2.5, "2.5"), ([2, 1, 3], "[2, 1, 3]"), (r"\boxed{B}", "B")]
)
def test_answers_of_other_types_become_the_text_that_is_graded(tmp_path, answer, text):
    path = write_easyr1(tmp_path / "a.parquet", [easyr1_row(0, answer=answer)])
    assert ParquetSource(path)[0].answer == text


def test_a_suffix_follows_every_question_as_it_is(tmp_path):
    path = write_easyr1(tmp_path / "a.parquet", [easyr1_row(0)])
    source = ParquetSource(path, prompt_suffix=" Think first.")
    assert prompt_text(source[0]) == "<image> Which digit is it? Think first."
    # It is no part of the question, whose words the rules of permutation read.
    assert source[0].question == "<image> Which digit is it?"


def test_responses_are_kept_where_a_row_has_one(tmp_path):
    rows = [easyr1_row(0, response="It is \\boxed{0}."), easyr1_row(1, response=None)]
    source = ParquetSource(write_easyr1(tmp_path / "a.parquet", rows))
    assert source[0].metadata == {"response": "It is \\boxed{0}."}
    assert "response" not in source[1].metadata


def test_files_follow_each_other_whatever_their_row_groups(tmp_path):
    for part, numbers in (("a", range(5)), ("b", range(5, 6)), ("c", range(6, 13))):
        rows = [verl_row(n) for n in numbers]
        write_verl(tmp_path / f"train-{part}.parquet", rows, row_group_size=3)
    by_pattern = ParquetSource(str(tmp_path / "train-*.parquet"))
    listed = ParquetSource([tmp_path / f"train-{part}.parquet" for part in "cab"])
    assert [e.metadata["index"] for e in map(by_pattern.__getitem__, range(13))] == list(range(13))
    order = [*range(6, 13), *range(6)]
    assert [listed[n].metadata["index"] for n in range(13)] == order
    assert by_pattern[12].images == (digit_png(24), digit_png(25))


def test_there_is_no_row_beyond_the_last(tmp_path):
    source = ParquetSource(write_verl(tmp_path / "a.parquet", [verl_row(0)]))
    for index in (1, -1):
        with pytest.raises(IndexError, match=rf"row {index}: the rows are 0 to 0"):
            source[index]


def test_rows_without_an_index_are_called_by_their_file_and_place(tmp_path):
    nothing = {"split": "train", "index": None, "answer": None, "level": None}
    rows = [verl_row(0), verl_row(1, extra_info=nothing), verl_row(2, extra_info=None)]
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
    write_verl(tmp_path / "x" / "a.parquet", rows, row_group_size=1)
    write_verl(tmp_path / "y" / "a.parquet", rows[1:])
    source = ParquetSource([tmp_path / "x" / "a.parquet", tmp_path / "y" / "a.parquet"])
    ids = [source[n].id for n in range(5)]
    assert ids == [
        "digits/train/0",
        "x/a.parquet:1",
        "x/a.parquet:2",
        "y/a.parquet:0",
        "y/a.parquet:1",
    ]


def test_two_data_sets_may_count_their_rows_alike(tmp_path):
    rows = [verl_row(0), verl_row(0, data_source="other")]
    source = ParquetSource(write_verl(tmp_path / "a.parquet", rows))
    assert [source[n].id for n in (0, 1)] == ["digits/train/0", "other/train/0"]


@pytest.mark.reliability("13")
def test_an_id_that_stands_twice_is_an_error_that_names_both_rows(tmp_path):
    write_verl(tmp_path / "a.parquet", [verl_row(0), verl_row(1)])
    write_verl(tmp_path / "b.parquet", [verl_row(2), verl_row(1)])
    message = r"b\.parquet:1: .*a\.parquet:1 has 'digits/train/1' too"
    with pytest.raises(ValueError, match=message):
        ParquetSource(tmp_path / "*.parquet")


@pytest.mark.reliability("1")
def test_missing_columns_are_listed_for_both_layouts(tmp_path):
    pq.write_table(pa.table({"problem": ["?"], "answers": ["A"]}), tmp_path / "a.parquet")
    message = (
        "a.parquet: its columns are problem, answers: for the layout of verl it lacks "
        "data_source, prompt, reward_model; for the layout of EasyR1 it lacks answer, "
        "images"
    )
    with pytest.raises(ValueError, match=message):
        ParquetSource(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("prompt", "Which?", "column prompt: expected a list of messages, .*; got string"),
        (
            "reward_model",
            "A",
            "column reward_model: expected a struct with a ground_truth; got str",
        ),
        ("images", [3], "column images: expected a list of images, .*; got list<.*int64"),
        ("data_source", 3, "column data_source: expected text; got int64"),
        ("extra_info", "{}", "column extra_info: expected a struct; got string"),
    ],
)
def test_a_column_of_the_wrong_type_is_an_error(tmp_path, column, value, message):
    table = pa.Table.from_pylist([{**verl_row(0), column: value}])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=rf"a\.parquet: {message}"):
        ParquetSource(tmp_path / "a.parquet")


@pytest.mark.reliability("16")
def test_a_shard_with_other_columns_is_an_error(tmp_path):
    write_verl(tmp_path / "a.parquet", [verl_row(0)])
    schema = VERL_TYPES.remove(VERL_TYPES.get_field_index("question_type"))
    write_verl(tmp_path / "b.parquet", [verl_row(1)], schema)
    message = r"b\.parquet: expected the columns of .*a\.parquet, .*question_type; got .*"
    with pytest.raises(ValueError, match=message):
        ParquetSource(tmp_path / "*.parquet")


def test_a_shard_with_a_column_of_another_type_is_an_error(tmp_path):
    write_verl(tmp_path / "a.parquet", [verl_row(0)])
    place = VERL_TYPES.get_field_index("change_needed")
    schema = VERL_TYPES.set(place, pa.field("change_needed", pa.string()))
    write_verl(tmp_path / "b.parquet", [verl_row(1, change_needed="true")], schema)
    message = r"b\.parquet: column change_needed: expected bool, as in .*a\.parquet; got string"
    with pytest.raises(ValueError, match=message):
        ParquetSource(tmp_path / "*.parquet")


def test_shards_may_store_the_same_type_differently(tmp_path):
    write_verl(tmp_path / "a.parquet", [verl_row(0)])
    inner = pa.struct({"path": pa.null(), "bytes": pa.large_binary()})
    schema = VERL_TYPES.set(
        VERL_TYPES.get_field_index("images"), pa.field("images", pa.large_list(inner))
    )
    schema = schema.set(
        schema.get_field_index("data_source"),
        pa.field("data_source", pa.dictionary(pa.int32(), pa.large_string())),
    )
    schema = schema.set(
        schema.get_field_index("question_type"), pa.field("question_type", pa.null())
    )
    write_verl(tmp_path / "b.parquet", [verl_row(1)], schema)
    source = ParquetSource(tmp_path / "*.parquet")
    assert (source[1].source, source[1].images) == ("digits", (digit_png(2), digit_png(3)))


@pytest.mark.reliability("15")
def test_a_truncated_file_is_an_error_that_names_it(tmp_path):
    path = write_verl(tmp_path / "a.parquet", [verl_row(n) for n in range(20)])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"a\.parquet: expected a whole parquet file"):
        ParquetSource(path)


def test_a_file_that_is_damaged_where_ids_stand_is_an_error_that_names_it(tmp_path):
    path = write_verl(tmp_path / "a.parquet", [verl_row(n) for n in range(20)])
    data = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + 20] = b"\xff" * 20
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.parquet: row group 0 .*whole parquet file"):
        ParquetSource(path)


def test_a_name_of_a_column_that_is_no_text_is_an_error_of_the_file(tmp_path):
    path = write_verl(tmp_path / "a.parquet", [verl_row(n) for n in range(20)])
    path.write_bytes(path.read_bytes().replace(b"question_type", b"\x80uestion_type"))
    with pytest.raises(ValueError, match=r"a\.parquet: .*whole parquet file"):
        ParquetSource(path)


def test_damage_elsewhere_is_an_error_of_the_storage_not_of_a_row(tmp_path):
    path = write_verl(tmp_path / "a.parquet", [verl_row(n) for n in range(20)])
    source = ParquetSource(path)
    data = bytearray(path.read_bytes())
    columns = pq.ParquetFile(path).metadata.row_group(0)
    names = [columns.column(i).path_in_schema for i in range(columns.num_columns)]
    column = columns.column(names.index("prompt.list.element.content"))
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + 20] = b"\xff" * 20
    path.write_bytes(data)
    with pytest.raises(OSError, match=r"a\.parquet: row group 0"):
        pickle.loads(pickle.dumps(source))[0]


def test_a_file_of_another_kind_is_an_error(tmp_path):
    (tmp_path / "a.parquet").write_text("problem,answer\n")
    with pytest.raises(ValueError, match=r"a\.parquet: expected a whole parquet file"):
        ParquetSource(tmp_path / "a.parquet")


@pytest.mark.reliability("17")
def test_no_rows_are_an_error(tmp_path):
    write_verl(tmp_path / "a.parquet", [])
    with pytest.raises(ValueError, match=r"a\.parquet: expected rows; got none"):
        ParquetSource(tmp_path / "a.parquet")


def test_an_empty_shard_among_others_is_read_over(tmp_path):
    write_verl(tmp_path / "a.parquet", [])
    write_verl(tmp_path / "b.parquet", [verl_row(3)])
    assert ParquetSource(tmp_path / "*.parquet")[0].id == "digits/train/3"


@pytest.mark.parametrize("path", ["gone.parquet", "gone-*.parquet", "https://x/a.parquet"])
def test_a_path_to_nothing_is_an_error(path):
    with pytest.raises(FileNotFoundError, match=r"no such file, and no pattern that matches"):
        ParquetSource(path)


def test_a_file_given_twice_and_no_file_at_all_are_errors(tmp_path):
    path = write_verl(tmp_path / "a.parquet", [verl_row(0)])
    for twice in ([path, path], [path, tmp_path / "x" / ".." / "a.parquet"]):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=r"a\.parquet: expected every file once; got it twice"):
            ParquetSource(twice)
    with pytest.raises(ValueError, match="expected at least one file"):
        ParquetSource([])


def test_a_missing_image_root_is_an_error(tmp_path):
    path = write_verl(tmp_path / "a.parquet", [verl_row(0)])
    with pytest.raises(FileNotFoundError, match=r"image_root: .*gone is not a directory"):
        ParquetSource(path, image_root=tmp_path / "gone")


def test_the_fingerprint_stays_when_a_file_moves_and_changes_with_what_is_read(tmp_path):
    def fingerprint(rows, **options):
        return ParquetSource(write_verl(tmp_path / "a.parquet", rows), **options).fingerprint()

    rows = [verl_row(n) for n in range(40)]
    original = fingerprint(rows)
    int(original, 16)
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(tmp_path / "a.parquet", tmp_path / "elsewhere" / "a.parquet")
    assert ParquetSource(tmp_path / "elsewhere" / "a.parquet").fingerprint() == original
    one_answer = [*rows[:20], verl_row(20, reward_model={"ground_truth": "B"}), *rows[21:]]
    one_image = [*rows[:20], {**verl_row(21), "extra_info": rows[20]["extra_info"]}, *rows[21:]]
    variants = [
        fingerprint(one_answer),
        fingerprint(one_image),
        fingerprint(rows[:-1]),
        fingerprint(rows[::-1]),
        fingerprint(rows, prompt_suffix="?"),
        fingerprint(rows, source="mine"),
    ]
    assert len({original, *variants}) == 7


def test_a_flipped_answer_in_a_long_file_changes_the_fingerprint(tmp_path):
    """The sample of bytes sees only a part of a file of 8 MB."""
    noise = pa.array([bytes(200_000) for _ in range(40)])

    def fingerprint(answers):
        table = pa.table({"problem": ["?"] * 40, "answer": answers, "images": noise})
        path = tmp_path / "a.parquet"
        pq.write_table(
            table, path, compression="none", use_dictionary=False, write_statistics=False
        )
        return path.stat().st_size, ParquetSource(path).fingerprint()

    size, before = fingerprint(["A"] * 40)
    same_size, after = fingerprint(["A"] * 20 + ["B"] + ["A"] * 19)
    assert size == same_size
    assert size > 7_000_000
    assert before != after


def test_a_pickled_source_reads_the_same_rows_without_its_cache(tmp_path):
    rows = [verl_row(n) for n in range(30)]
    source = ParquetSource(write_verl(tmp_path / "a.parquet", rows, row_group_size=4))
    before = [source[n] for n in range(30)]
    pickled = pickle.dumps(source)
    assert len(pickled) < 5000
    copy = pickle.loads(pickled)
    assert [copy[n] for n in range(30)] == before
    assert copy.fingerprint() == source.fingerprint()


def bytes_read():
    """What this process has read of files so far."""
    with open("/proc/self/io") as file:
        return int(next(line for line in file if line.startswith("rchar")).split()[1])


def test_rows_are_read_by_row_group_and_kept_within_the_limit(tmp_path):
    blob = bytes(range(256)) * 400  # 102,400 bytes
    rows = [easyr1_row(0, images=[blob + bytes([n])]) for n in range(40)]
    path = write_easyr1(
        tmp_path / "a.parquet", rows, row_group_size=4, compression="none", use_dictionary=False
    )
    source = ParquetSource(path, cache_bytes=1_000_000)  # two row groups

    def cost(index):
        before = bytes_read()
        assert source[index].images == (blob + bytes([index]),)
        return bytes_read() - before

    assert 400_000 < cost(0) < 700_000
    assert cost(3) < 50_000
    assert cost(4) > 400_000
    assert cost(0) < 50_000
    assert cost(8) > 400_000  # pushes rows 4 to 7 out, which were used longest ago
    assert cost(1) < 50_000
    assert cost(4) > 400_000


def test_many_threads_may_read_at_once(tmp_path):
    paths = [
        write_verl(tmp_path / f"{part}.parquet", [verl_row(10 * part + n) for n in range(10)])
        for part in range(20)
    ]
    source = ParquetSource(paths, cache_bytes=1)
    wrong = []

    def read(start):
        rows = [n % 200 for n in range(start, start + 400, 7)]
        wrong.extend(n for n in rows if source[n].metadata["index"] != n)

    threads = [threading.Thread(target=read, args=(start,)) for start in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_large_row_group_is_warned_of(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("perl_jax.data.sources.parquet.LARGE_ROW_GROUP", 2**21)
    rows = [easyr1_row(0, images=[bytes(2**18)]) for _ in range(12)]
    path = write_easyr1(tmp_path / "a.parquet", rows, use_dictionary=False)
    with caplog.at_level(logging.WARNING):
        ParquetSource(path)
        assert "a.parquet: a row group holds 3 MiB" in caplog.text
        caplog.clear()
        ParquetSource(write_easyr1(path, rows, use_dictionary=False, row_group_size=4))
        assert caplog.text == ""


def test_a_row_group_that_arrow_cannot_read_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("perl_jax.data.sources.parquet._MAX_COLUMN_BYTES", 2**20)
    rows = [easyr1_row(0, images=[bytes(2**18)]) for _ in range(5)]
    path = write_easyr1(tmp_path / "a.parquet", rows, use_dictionary=False)
    message = r"a\.parquet: row group 0: expected at most 2 GiB in a column; .* smaller row groups"
    with pytest.raises(ValueError, match=message):
        ParquetSource(path)
