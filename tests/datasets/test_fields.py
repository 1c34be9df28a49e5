"""From the fields of a published row to an example."""

import pytest

from perl_jax.data import BadRow
from perl_jax.datasets.fields import read_example
from perl_jax.datasets.image_store import ImageStore


def read(root, **changed):
    fields = {"id": "a", "source": "s", "question": "<image>?", "images": b"1", "answer": "4"}
    return read_example("row", ImageStore(root), **{**fields, **changed})


def test_one_image_a_list_or_none_are_images(tmp_path):
    assert read(tmp_path).images == (b"1",)
    two = read(tmp_path, question="<image><image>?", images=[b"1", b"2"])
    assert two.images == (b"1", b"2")
    assert read(tmp_path, question="1 + 1?", images=None).images == ()


def test_images_are_shown_by_the_question_and_by_the_options(tmp_path):
    options = ("A. <image>", "B. <image>")
    example = read(tmp_path, question="Which?", images=[b"1", b"2"], options=options, answer="B")
    assert (example.question, example.options, example.answer) == ("Which?", options, "B")
    with pytest.raises(BadRow, match="row: image_count: 2 image placeholders for 3 images"):
        read(tmp_path, question="Which?", images=[b"1", b"2", b"3"], options=options)


def test_answers_are_as_they_are_graded_and_metadata_is_kept(tmp_path):
    example = read(tmp_path, answer="\\boxed{7}", metadata={"subject": "x"})
    assert (example.answer, example.metadata) == ("7", {"subject": "x"})
    with pytest.raises(BadRow, match="row: answer_null"):
        read(tmp_path, answer=None)
