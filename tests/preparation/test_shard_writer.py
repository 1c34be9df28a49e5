"""Shards of examples: what is read is what was written, and a directory is whole or not there."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from perl_jax.data import BadRow, ParquetSource
from perl_jax.preparation.shard_writer import ShardWriter
from perl_jax.types import Example, Turn
from tests.data.sources.parquet_files import digit_png, verl_row, write_verl
from tests.preparation.preparing import write_examples


def example(index=0, **changed):
    row = Example(
        id=f"row-{index}",
        source="digits",
        question="<image> or <image>?",
        images=(digit_png(2 * index), digit_png(2 * index + 1)),
        answer="A",
    )
    return replace(row, **changed)


def read_back(directory):
    source = ParquetSource(str(directory / "part-*.parquet"))
    return [source[n] for n in range(len(source))]


def test_what_is_read_is_what_was_written(tmp_path):
    metadata = {
        "question_type": "ordering",
        "response": "<think> 1 </think>\\boxed{A}",
        "change_needed": False,
        "level": 3,
        "tags": ["a", {"b": None}],
        "share": 0.1,
        "split": "train",
    }
    rows = [
        example(0, options=("(A) the first", "(B) 日本\nline"), metadata=metadata),
        example(1, images=(), question="1 + 1?", answer="2→1→3"),
        example(2, metadata={"change_needed": True}),
        example(3, metadata={"change_needed": "yes", "question_type": 7, "index": 5}),
    ]
    write_examples(rows, tmp_path / "set")
    assert read_back(tmp_path / "set") == rows


def test_image_bytes_are_kept_whatever_they_hold(tmp_path):
    rows = [example(images=(b"\x00\xff not an image", digit_png(5)))]
    write_examples(rows, tmp_path / "set")
    assert read_back(tmp_path / "set")[0].images == rows[0].images


def test_files_end_at_the_limits_and_keep_the_order(tmp_path):
    rows = [example(n, images=(digit_png(n),), question="<image>?") for n in range(150)]
    write_examples(rows, tmp_path / "rows", rows_per_file=70)
    lengths = [
        pq.read_metadata(path).num_rows for path in sorted((tmp_path / "rows").glob("part-*"))
    ]
    assert lengths == [70, 70, 10]
    write_examples(rows, tmp_path / "bytes", bytes_per_file=1)
    files = [pq.read_metadata(path) for path in sorted((tmp_path / "bytes").glob("part-*"))]
    assert [file.num_rows for file in files] == [64, 64, 22]
    assert read_back(tmp_path / "rows") == read_back(tmp_path / "bytes") == rows


def test_row_groups_are_small_enough_for_random_access(tmp_path):
    rows = [example(n, images=()) for n in range(130)]
    write_examples(rows, tmp_path / "set")
    file = pq.read_metadata(tmp_path / "set" / "part-00000.parquet")
    assert [file.row_group(n).num_rows for n in range(file.num_row_groups)] == [64, 64, 2]
    large = [example(n, images=(bytes(2**26),)) for n in range(4)]
    write_examples(large, tmp_path / "large")
    file = pq.read_metadata(tmp_path / "large" / "part-00000.parquet")
    assert [file.row_group(n).num_rows for n in range(file.num_row_groups)] == [2, 2]


def test_the_same_examples_give_the_same_bytes(tmp_path):
    for name in "ab":
        write_examples([example(n) for n in range(3)], tmp_path / name)
    assert len({(tmp_path / name / "part-00000.parquet").read_bytes() for name in "ab"}) == 1


def test_writing_that_fails_leaves_what_was_there(tmp_path):
    def failing():
        yield from (example(n) for n in range(70))
        raise RuntimeError("the source fails")

    with pytest.raises(RuntimeError, match="the source fails"):
        write_examples(failing(), tmp_path / "set")
    assert not list(tmp_path.iterdir())
    write_examples([example(7)], tmp_path / "set")
    with pytest.raises(RuntimeError, match="the source fails"):
        write_examples(failing(), tmp_path / "set")
    assert read_back(tmp_path / "set") == [example(7)]


@pytest.mark.parametrize("limit", ["rows_per_file", "bytes_per_file"])
def test_a_limit_below_one_is_refused(tmp_path, limit):
    with pytest.raises(ValueError, match=f"{limit}: expected at least 1; got 0"):
        ShardWriter(tmp_path, **{limit: 0})


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"question": "half \ud800"}, BadRow, "bad_text"),
        ({"metadata": {"note": "half \ud800"}}, BadRow, "bad_text"),
        ({"images": ("a.png",)}, TypeError, "image 1: expected encoded bytes; got str"),
        ({"metadata": {"a": object()}}, TypeError, "what JSON can hold"),
        ({"metadata": {"a": float("nan")}}, TypeError, "what JSON can hold"),
    ],
)
def test_what_cannot_be_written_is_named(tmp_path, changed, error, message):
    with ShardWriter(tmp_path) as writer:
        with pytest.raises(error, match=message) as caught:
            writer.add(example(**changed))
        assert "row-0" in str(caught.value)
        writer.add(example(1))
    assert [row.id for row in read_back(tmp_path)] == ["row-1"]


def test_an_id_stands_once_in_its_source(tmp_path):
    rows = [example(), example(source="others")]
    write_examples(rows, tmp_path / "two")
    assert read_back(tmp_path / "two") == rows
    with pytest.raises(ValueError, match="digits: expected every id once; 'row-0' stands twice"):
        write_examples([example(), example()], tmp_path / "one")


def test_a_verl_file_may_have_columns_of_its_own_with_names_like_fields(tmp_path):
    row = verl_row(4)
    path = write_verl(tmp_path / "a.parquet", [row])
    table = pq.read_table(path)
    for name in ("id", "options", "metadata"):
        table = table.append_column(name, [[17]])
    pq.write_table(table, path)
    read = ParquetSource(path)[0]
    assert (read.id, read.options) == ("digits/train/4", ())


def test_a_killed_writer_leaves_no_directory(tmp_path):
    program = (
        "import sys, time\n"
        "import pathlib\n"
        "from tests.preparation.preparing import write_examples\n"
        "from perl_jax.types import Example\n"
        "def rows():\n"
        "    for n in range(1000):\n"
        "        yield Example(str(n), 's', 'q', (), 'A')\n"
        "        if n == 200: print('writing', flush=True); time.sleep(3600)\n"
        f"write_examples(rows(), pathlib.Path({str(tmp_path / 'set')!r}))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        assert process.stdout.readline() == b"writing\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "set").exists()
    write_examples([example()], tmp_path / "set")
    assert read_back(tmp_path / "set") == [example()]


def test_a_conversation_is_read_as_it_was_written(tmp_path):
    turns = (Turn("system", "Be brief."), Turn("user", "<image>?"), Turn("assistant", "A dog."))
    written = example(question="<image> And?", turns=turns)
    with ShardWriter(tmp_path) as writer:
        writer.add(written)
    assert ParquetSource(tmp_path / "*.parquet")[0] == written
