"""The responses of another system, from a file."""

import pytest

from perl_jax.evaluation.answerer import GivenAnswers, read_responses
from perl_jax.evaluation.predictions import Answers
from perl_jax.evaluation.rows import read_rows
from tests.evaluation.scripted import SCRIPTED, row, write_rows


def test_given_responses_are_found_by_id(tmp_path):
    rows = read_rows(SCRIPTED, write_rows(tmp_path, [row("one"), row("two")]), None)
    path = tmp_path / "given.jsonl"
    path.write_text('{"id": "one", "response": "A\\u2028B", "x": 1}\n\n{"id": 7, "response": ""}\n')
    given = read_responses(path)
    assert given == {"one": "A\u2028B", "7": ""}
    assert GivenAnswers(given)(list(rows)) == [Answers((("A\u2028B",),)), Answers(((None,),))]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "given.jsonl:2: expected JSON"),
        ("[1]", "given.jsonl:2: expected an object with id and response; got"),
        ('{"id": "b"}', "given.jsonl:2: expected an object with id and response; got"),
        ('{"id": "b", "response": 3}', "given.jsonl:2: expected an object with id and response"),
        ('{"id": null, "response": ""}', "given.jsonl:2: id: expected a text or a whole number"),
        ('{"id": true, "response": ""}', "given.jsonl:2: id: expected a text or a whole number"),
        ('{"id": "a", "response": ""}', "given.jsonl:2: id 'a' is that of line 1 too"),
    ],
)
def test_a_bad_line_of_responses_is_an_error_that_names_it(tmp_path, line, message):
    path = tmp_path / "given.jsonl"
    path.write_text('{"id": "a", "response": "x"}\n' + line + "\n")
    with pytest.raises(ValueError, match=message):
        read_responses(path)


def test_a_byte_order_mark_is_no_part_of_the_responses(tmp_path):
    path = tmp_path / "given.jsonl"
    path.write_text('{"id": "a", "response": "x"}\n', encoding="utf-8-sig")
    assert read_responses(path) == {"a": "x"}


def test_responses_that_are_no_text_are_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "given.jsonl"
    path.write_bytes(b"PAR1\xd8\x00")
    with pytest.raises(ValueError, match=r"given\.jsonl: expected lines of JSON in UTF-8"):
        read_responses(path)
