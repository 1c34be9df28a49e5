"""JSONL files: lines that cannot be used, and an index that is small."""

import json
import pickle
import tracemalloc

import pytest

from perl_jax.data import BadRow, ColumnsConfig, JsonlSource
from tests.data.sources.row_files import write_jsonl

COLUMNS = ColumnsConfig(question="q", answer="a")


def row(number=0, **changed):
    return {"q": f"{number}?", "a": str(number), **changed}


def line(number=0, **changed):
    return json.dumps(row(number, **changed)).encode()


def open_lines(tmp_path, *lines, columns=COLUMNS):
    (tmp_path / "train.jsonl").write_bytes(b"\n".join(lines))
    return JsonlSource(tmp_path / "train.jsonl", columns=columns)


@pytest.mark.parametrize(
    ("bad", "reason", "message"),
    [
        (line(1)[:-5], "bad_json", "expected a JSON object"),
        (b"[1, 2]", "bad_json", "got a list"),
        (b"null", "bad_json", "got a NoneType"),
        (b"{'q': 1}", "bad_json", "expected a JSON object"),
        (b"[" * 100_000, "bad_json", "expected a JSON object"),
        (b'{"a": ' + b"9" * 5000 + b"}", "bad_json", "expected a JSON object"),
        (b'{"q": "\xff"}', "bad_text", "not UTF-8"),
        (b'{"q": "\xed\xa0\x80"}', "bad_text", "not UTF-8"),
        (b'{"q": "half \\ud83d", "a": "A"}', "bad_text", "not UTF-8"),
        (b'{"q": "\\uD83D\\uD83D", "a": "A"}', "bad_text", "not UTF-8"),
        (b'{"a": "A"}', "empty_prompt", "no text"),
    ],
)
def test_a_line_that_cannot_be_used_is_a_fault_of_its_row(tmp_path, bad, reason, message):
    source = open_lines(tmp_path, line(0), bad, line(2))
    assert (len(source), source[0].question, source[2].question) == (3, "0?", "2?")
    with pytest.raises(BadRow) as caught:
        source[1]
    assert (caught.value.reason, caught.value.row) == (reason, "train.jsonl:2")
    assert message in caught.value.message


def test_a_file_that_ends_within_a_line_loses_that_row_alone(tmp_path):
    source = open_lines(tmp_path, line(0), line(1)[:9])
    assert source[0].answer == "0"
    with pytest.raises(BadRow, match=r"train\.jsonl:2: bad_json"):
        source[1]


def test_lines_that_are_too_long_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("perl_jax.data.sources.jsonl._MAX_LINE_BYTES", 1000)
    source = open_lines(tmp_path, line(0), line(1, q="x" * 5000), line(2, q="y" * 900), line(3))
    assert [source[n].question[0] for n in (0, 2, 3)] == ["0", "y", "3"]
    with pytest.raises(BadRow, match=r"train\.jsonl:2: too_long: .* at most 1000"):
        source[1]


def test_whole_pairs_of_surrogates_are_text(tmp_path):
    assert open_lines(tmp_path, b'{"q": "\\ud83d\\ude00?", "a": "A"}')[0].question == "\U0001f600?"


def test_rows_are_named_by_the_line_that_an_editor_shows(tmp_path):
    source = open_lines(tmp_path, b"", line(0), b" \t", b"\r", line(1), line(2), b"", line(3), b"")
    assert [source[n].id for n in range(len(source))] == [
        "train.jsonl:2",
        "train.jsonl:5",
        "train.jsonl:6",
        "train.jsonl:8",
    ]
    assert [source[n].answer for n in range(4)] == ["0", "1", "2", "3"]


def test_windows_line_ends_and_a_byte_order_mark_do_not_matter(tmp_path):
    source = open_lines(tmp_path, b"\xef\xbb\xbf" + line(0) + b"\r", line(1) + b"\r")
    assert [source[n].question for n in (0, 1)] == ["0?", "1?"]


def test_files_follow_each_other(tmp_path):
    write_jsonl(tmp_path / "b.jsonl", [row(n) for n in range(3)])
    write_jsonl(tmp_path / "a.jsonl", [row(n) for n in range(3, 5)])
    (tmp_path / "c.jsonl").write_bytes(b"\n")
    source = JsonlSource(tmp_path / "*.jsonl", columns=COLUMNS)
    assert [source[n].answer for n in range(5)] == ["3", "4", "0", "1", "2"]
    assert (source[1].id, source[2].id) == ("a.jsonl:2", "b.jsonl:1")


@pytest.mark.parametrize("content", [b'[\n{"q": "?"},\n', b"q,a\n1,2\n", b"PAR1\n\xff"])
def test_a_file_without_any_object_is_broken_as_a_whole(tmp_path, content):
    write_jsonl(tmp_path / "a.jsonl", [row(0)])
    (tmp_path / "b.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=r"/b\.jsonl: expected a JSON object on each line; b\.js"):
        JsonlSource(tmp_path / "*.jsonl", columns=COLUMNS)


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_no_rows_are_an_error(tmp_path, content):
    with pytest.raises(ValueError, match=r"train\.jsonl: expected rows; got none"):
        open_lines(tmp_path, content)


def test_a_column_may_come_late_but_not_never(tmp_path):
    columns = ColumnsConfig(question="q", answer="a", metadata=("level",))
    source = open_lines(tmp_path, line(0), line(1), line(2, level=3), columns=columns)
    assert [source[n].metadata for n in range(3)] == [{}, {}, {"level": 3}]
    with pytest.raises(ValueError, match=r"train\.jsonl: columns: .*got 'level'"):
        open_lines(tmp_path, line(0), line(1), columns=columns)


def test_the_index_takes_eight_bytes_a_row(tmp_path):
    count = 100_000
    with open(tmp_path / "train.jsonl", "wb") as file:
        file.writelines(line(n, q="x" * 150) + b"\n" for n in range(count))
    assert (tmp_path / "train.jsonl").stat().st_size > 17e6
    tracemalloc.start()
    source = JsonlSource(tmp_path / "train.jsonl", columns=COLUMNS)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3e6
    assert len(pickle.dumps(source)) < 8.1 * count
    assert (len(source), source[99_999].answer, source[12_345].answer) == (count, "99999", "12345")


def test_the_whole_content_enters_the_fingerprint(tmp_path):
    lines = [line(n, unread="x" * 1000) for n in range(2000)]
    before = open_lines(tmp_path, *lines).fingerprint()
    lines[777] = line(777, unread="x" * 500 + "y" + "x" * 499)
    assert open_lines(tmp_path, *lines).fingerprint() != before


def test_a_file_that_became_shorter_is_an_error_of_the_storage(tmp_path):
    source = open_lines(tmp_path, line(0), line(1))
    (tmp_path / "train.jsonl").write_bytes(line(0) + b"\n")
    with pytest.raises(OSError, match=r"train\.jsonl: expected"):
        source[1]
