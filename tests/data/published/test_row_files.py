"""JSON files piece by piece: the same rows as all at once, whatever the size of a piece."""

import json

import pytest

from perl_jax.data import BadRow
from perl_jax.data.published import row_files
from perl_jax.data.published.row_files import json_rows

ROWS = [{"id": 'é\\"]', "n": [1, {"x": None}]}, {}, {"text": "a, b] {c}" * 5}]


@pytest.mark.parametrize("piece", [1, 2, 7, 2**20])
@pytest.mark.parametrize("indent", [None, 1])
def test_the_elements_of_an_array_are_those_that_json_reads(tmp_path, monkeypatch, piece, indent):
    monkeypatch.setattr(row_files, "_CHARACTERS_AT_ONCE", piece)
    path = tmp_path / "train.json"
    for rows in (ROWS, []):
        path.write_text(json.dumps(rows, indent=indent, ensure_ascii=False) + "\n")
        assert [row for _, row in json_rows(path)] == rows
    path.write_text(json.dumps(ROWS))
    assert [name for name, _ in json_rows(path)] == ["train.json:0", "train.json:1", "train.json:2"]


def test_something_else_than_an_object_is_a_bad_row(tmp_path):
    path = tmp_path / "train.json"
    path.write_text('[{}, 12, "x"]')
    first, *others = [row for _, row in json_rows(path)]
    assert first == {}
    assert [other.reason for other in others] == ["bad_row", "bad_row"]
    assert all(isinstance(other, BadRow) for other in others)


@pytest.mark.parametrize(
    "text", ["", "{}", "[", '[{"a": 1}', '[{"a": 1},', '[{"a": 1} {}]', '[{"a": "x', "[{a: 1}]"]
)
def test_a_file_that_is_no_array_or_cut_off_is_an_error_that_names_it(tmp_path, text):
    path = tmp_path / "train.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"train\.json: expected"):
        list(json_rows(path))


def test_a_broken_line_is_named_by_its_number(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(ValueError, match=r"train\.jsonl: line 2: "):
        list(json_rows(path))
