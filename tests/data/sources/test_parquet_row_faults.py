"""Rows that cannot be used: each says what is wrong with it, and the others are read."""

import errno
import os
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perl_jax.data import BadRow, ParquetSource
from tests.data.sources.parquet_files import (
    VERL_TYPES,
    digit_png,
    easyr1_row,
    verl_row,
    write_easyr1,
    write_verl,
)


def user(content):
    return [{"role": "user", "content": content}]


def refusal(tmp_path, row, **options):
    """Reads a bad row that stands between two good ones, and returns what it raises."""
    path = write_verl(tmp_path / "train.parquet", [verl_row(0), row, verl_row(2)])
    source = ParquetSource(path, **options)
    assert [source[n].metadata["index"] for n in (0, 2)] == [0, 2]
    with pytest.raises(BadRow) as caught:
        source[1]
    assert caught.value.row == "train.parquet:1"
    return caught.value


@pytest.mark.reliability("6", "9", "11")
@pytest.mark.parametrize(
    ("changed", "reason", "message"),
    [
        ({"reward_model": {"style": "rule"}}, "answer_null", "got NoneType"),
        ({"reward_model": None}, "answer_null", "got NoneType"),
        ({"reward_model": {"ground_truth": "  "}}, "bad_answer", "empty"),
        ({"reward_model": {"ground_truth": "}{"}}, "bad_answer", "fits no box"),
        ({"reward_model": {"ground_truth": "4\u200b2"}}, "bad_answer", "invisible"),
        ({"reward_model": {"ground_truth": "9" * 10**6}}, "bad_answer", "longer than 2000"),
        ({"prompt": None}, "empty_prompt", "no message"),
        ({"prompt": []}, "empty_prompt", "no message"),
        ({"prompt": user("")}, "empty_prompt", "empty"),
        ({"prompt": user(" \n")}, "empty_prompt", "empty"),
        ({"prompt": user(None)}, "empty_prompt", "empty"),
        (
            {"prompt": [*user("<image><image>?"), {"role": "system", "content": "Think."}]},
            "bad_prompt",
            "expected the system's message first, and only one; got user, system (move its text",
        ),
        (
            {"prompt": [*user("<image><image>?"), {"role": "tool", "content": "4"}]},
            "bad_prompt",
            "expected messages of system, user, assistant; got user, tool (leave out the others",
        ),
        (
            {"prompt": [*user("<image><image>?"), {"role": "assistant", "content": "A"}]},
            "bad_prompt",
            "expected the user's question as the last message; got user, assistant (leave out",
        ),
        ({"prompt": user("<video> What happens?")}, "video", "<video>"),
        ({"data_source": None}, "data_source_null", "data_source is null"),
        ({"images": [None]}, "missing_image", "neither bytes nor a path"),
        ({"images": [{"bytes": None, "path": None}]}, "missing_image", "neither bytes nor a path"),
        ({"images": [{"bytes": None, "path": ""}]}, "missing_image", "neither bytes nor a path"),
        ({"images": [{"bytes": None, "path": "a.png"}]}, "missing_image", "no image_root is given"),
    ],
)
def test_a_bad_row_says_what_is_wrong(tmp_path, changed, reason, message):
    error = refusal(tmp_path, verl_row(1, **changed), prompt_suffix=" Think.")
    assert error.reason == reason
    assert message in error.message
    id = "" if changed.get("data_source", "digits") is None else "digits/"
    assert error.row_id == f"{id}train/1"
    assert str(error).startswith(f"train.parquet:1 ({id}train/1): {reason}: ")


@pytest.mark.reliability("9")
def test_the_easyr1_layout_has_the_same_faults(tmp_path):
    rows = [
        easyr1_row(0),
        easyr1_row(1, answer=None),
        easyr1_row(2, problem=None),
        easyr1_row(3, images=[None]),
        easyr1_row(4, data_source=None),
    ]
    rows = [{"data_source": "mine", **row} for row in rows]
    source = ParquetSource(write_easyr1(tmp_path / "a.parquet", rows))
    assert source[0].answer == "0"
    reasons = []
    for n in range(1, 5):
        with pytest.raises(BadRow) as caught:
            source[n]
        reasons.append(caught.value.reason)
    assert reasons == ["answer_null", "empty_prompt", "missing_image", "data_source_null"]


@pytest.mark.reliability("10")
@pytest.mark.parametrize("answer", [float("nan"), float("inf"), ["A", "B, C"], {"text": "A"}])
def test_an_answer_that_is_no_text_and_cannot_become_one_is_refused(tmp_path, answer):
    path = write_easyr1(tmp_path / "a.parquet", [easyr1_row(0, answer=answer)])
    with pytest.raises(BadRow, match=r"a\.parquet:0: bad_answer: "):
        ParquetSource(path)[0]


def utf8_table(texts):
    """A row in the layout of EasyR1 for each text, which may be no UTF-8."""
    lengths = [0]
    for text in texts:
        lengths.append(lengths[-1] + len(text))
    buffers = [None, pa.array(lengths, pa.int32()).buffers()[1], pa.py_buffer(b"".join(texts))]
    column = pa.Array.from_buffers(pa.string(), len(texts), buffers)
    images = pa.array([[]] * len(texts), pa.list_(pa.binary()))
    return {"problem": column, "answer": column, "images": images}


@pytest.mark.reliability("14")
def test_a_lone_surrogate_in_the_file_is_a_fault_of_its_row(tmp_path):
    texts = [b"one", b"half \xed\xa0\x80 of a pair", b"three"]
    pq.write_table(pa.table(utf8_table(texts)), tmp_path / "a.parquet")
    source = ParquetSource(tmp_path / "a.parquet")
    assert (source[0].question, source[2].question) == ("one", "three")
    with pytest.raises(BadRow, match=r"a\.parquet:1: bad_text: a text is not UTF-8"):
        source[1]


@pytest.fixture
def root(tmp_path):
    """A directory of images, with a secret beside it."""
    root = tmp_path / "data" / "images"
    (root / "deep").mkdir(parents=True)
    (root / "a.png").write_bytes(digit_png(1))
    (root / "deep" / "b.png").write_bytes(digit_png(2))
    (tmp_path / "data" / "secret.png").write_bytes(digit_png(3))
    (tmp_path / "data" / "images2").mkdir()
    (tmp_path / "data" / "images2" / "c.png").write_bytes(digit_png(4))
    (root / "out.png").symlink_to(tmp_path / "data" / "secret.png")
    (root / "within.png").symlink_to(root / "deep" / "b.png")
    (root / "up").symlink_to(tmp_path / "data")
    (root / "loop.png").symlink_to(root / "loop.png")
    (root / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(root / "pipe.png")
    return root


def by_path(path):
    return verl_row(1, images=[{"bytes": None, "path": path}])


@pytest.mark.reliability("42", "43", "44")
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../secret.png", "not a path below image_root"),
        ("deep/../../secret.png", "not a path below image_root"),
        ("deep/../a.png", "not a path below image_root"),
        ("/etc/passwd", "is an absolute path; paths start at image_root: write it relative to"),
        ("http://localhost/a.png", "is a URL, which is not fetched: download the file"),
        ("file:///etc/passwd", "is an absolute path; paths start at image_root"),
        ("a\0.png", "not a path below image_root"),
        ("out.png", "leads out of image_root"),
        ("up/secret.png", "leads out of image_root"),
        ("up/images2/c.png", "leads out of image_root"),
        ("zero.png", "leads out of image_root"),
        ("pipe.png", "is not a regular file"),
        ("deep", "is not a regular file"),
        (".", "is not a regular file"),
    ],
)
def test_no_path_leads_out_of_the_root_or_to_anything_but_a_file(tmp_path, root, path, message):
    error = refusal(tmp_path, by_path(path), image_root=root)
    assert error.reason == "unsafe_path"
    assert message in error.message


@pytest.mark.reliability("42")
def test_an_absolute_path_below_the_root_is_refused_with_its_relative_form(tmp_path, root):
    error = refusal(tmp_path, by_path(f"{root}/deep/b.png"), image_root=root)
    assert error.reason == "unsafe_path"
    assert error.message.endswith(
        "is an absolute path; paths start at image_root: write 'deep/b.png'"
    )


@pytest.mark.reliability("41")
@pytest.mark.parametrize("path", ["gone.png", "a.png/b.png", "x" * 5000, "loop.png"])
def test_a_path_to_nothing_is_a_missing_image(tmp_path, root, path):
    assert refusal(tmp_path, by_path(path), image_root=root).reason == "missing_image"


@pytest.mark.parametrize(
    ("path", "number"), [("a.png", 1), ("deep/b.png", 2), ("./deep/b.png", 2), ("within.png", 2)]
)
def test_paths_and_links_below_the_root_are_read(tmp_path, root, path, number):
    source = ParquetSource(write_verl(tmp_path / "a.parquet", [by_path(path)]), image_root=root)
    assert source[0].images == (digit_png(number),)


def test_the_root_itself_may_be_a_link_or_relative(tmp_path, root, monkeypatch):
    (tmp_path / "link").symlink_to(root)
    path = write_verl(tmp_path / "a.parquet", [by_path("a.png")])
    assert ParquetSource(path, image_root=tmp_path / "link")[0].images == (digit_png(1),)
    monkeypatch.chdir(tmp_path)
    assert ParquetSource(path, image_root="data/images")[0].images == (digit_png(1),)


def test_a_storage_that_fails_is_not_a_fault_of_the_row(tmp_path, root, monkeypatch):
    """Rows dropped while a disk does not answer would make every run another one."""

    def failing(path, strict):
        raise OSError(errno.EIO, "Input/output error")

    source = ParquetSource(write_verl(tmp_path / "a.parquet", [by_path("a.png")]), image_root=root)
    monkeypatch.setattr(os.path, "realpath", failing)
    with pytest.raises(OSError, match="Input/output error"):
        source[0]


def test_relative_paths_are_those_of_the_process_that_made_the_source(tmp_path, root, monkeypatch):
    write_verl(tmp_path / "a.parquet", [by_path("a.png")])
    monkeypatch.chdir(tmp_path)
    source = ParquetSource("a.parquet", image_root="data/images")
    monkeypatch.chdir("/")
    assert pickle.loads(pickle.dumps(source))[0].images == (digit_png(1),)


def test_a_bad_row_survives_pickling():
    error = pickle.loads(pickle.dumps(BadRow("missing_image", "a.parquet:3", "no such file")))
    assert (error.reason, error.row, error.message) == (
        "missing_image",
        "a.parquet:3",
        "no such file",
    )
    assert str(error) == "a.parquet:3: missing_image: no such file"


def test_columns_that_are_not_read_may_hold_anything(tmp_path):
    schema = VERL_TYPES.append(pa.field("notes", pa.binary()))
    rows = [{**verl_row(0), "notes": b"\xff\xfe"}]
    assert ParquetSource(write_verl(tmp_path / "a.parquet", rows, schema))[0].answer == "A"
