"""JSON arrays piece by piece: the same rows as all at once, whatever the size of a piece."""

import json

import pytest

from perl_jax.datasets import json_array
from perl_jax.datasets.files import read_files
from perl_jax.types import Example
from tests.datasets.published_files import reasons

ROWS = [{"id": 'é\\"]', "n": [1, {"x": None}]}, {}, {"text": "a, b] {c}" * 5}]


@pytest.mark.parametrize("piece", [1, 2, 7, 2**20])
@pytest.mark.parametrize("indent", [None, 1])
def test_the_elements_of_an_array_are_those_that_json_reads(tmp_path, monkeypatch, piece, indent):
    monkeypatch.setattr(json_array, "_CHARACTERS_AT_ONCE", piece)
    path = tmp_path / "train.json"
    for rows in (ROWS, []):
        path.write_text(json.dumps(rows, indent=indent, ensure_ascii=False) + "\n")
        assert list(json_array.json_array(path)) == rows


def example(row, name, number):
    return Example(name, "s", str(row["id"]), (), str(number))


def test_rows_of_an_array_are_named_by_their_place_and_bad_ones_are_theirs_alone(tmp_path):
    path = tmp_path / "sub" / "train.json"
    path.parent.mkdir()
    path.write_text('[{"id": 1}, 12, "x", {"id": "\\ud800"}, {"id": 2}]')
    rows = list(read_files(tmp_path, "sub/train.json", example))
    assert reasons(rows) == [
        "sub/train.json:0",
        ("sub/train.json:1", "bad_json"),
        ("sub/train.json:2", "bad_json"),
        ("sub/train.json:3", "bad_text"),
        "sub/train.json:4",
    ]
    assert [(rows[n].question, rows[n].answer) for n in (0, 4)] == [("1", "0"), ("2", "4")]


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{}", b"[", b'[{"a": 1}', b'[{"a": 1},', b'[{"a": 1} {}]', b'[{"a": "x', b"[{a: 1}]",
        b'["\xff"]',
    ],
)  # fmt: skip
def test_a_file_that_is_no_array_or_cut_off_is_an_error_that_names_it(tmp_path, text):
    path = tmp_path / "train.json"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=r"train\.json: expected"):
        list(json_array.json_array(path))


@pytest.mark.parametrize("text", ["[" * 10**5, f"[{'1' * 10**4}]"])
def test_a_file_that_is_too_much_for_the_parser_is_an_error_that_names_it(tmp_path, text):
    path = tmp_path / "train.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"train\.json: "):
        list(json_array.json_array(path))
