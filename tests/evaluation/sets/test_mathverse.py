"""MathVerse: what is read, what is asked, and the score of responses."""

import pyarrow as pa
import pytest

from perl_jax.evaluation.sets.mathverse import BENCHMARK as MATHVERSE
from perl_jax.types import Example
from tests.data.sources.parquet_files import IMAGE, digit_png
from tests.datasets.published_files import TEXT, image, reasons, write_parquet
from tests.evaluation.sets.asking import Judge, judged, scored

_ABOUT = pa.struct({"split": TEXT, "source": TEXT, "subject": TEXT, "subfield": TEXT})
_SCHEMA = pa.schema(
    {
        "sample_index": TEXT, "problem_index": TEXT, "problem_version": TEXT, "question": TEXT,
        "image": IMAGE, "answer": TEXT, "question_type": TEXT, "metadata": _ABOUT,
        "query_wo": TEXT, "query_cot": TEXT, "question_for_eval": TEXT,
    }
)  # fmt: skip
_ANGLE = "How large is angle CED ()\nChoices:\nA:40°\nB:60°\nC:120°\nD:140°"
_DIRECT = "Please directly answer the question.\nQuestion: "
_REASONED = "Please first conduct reasoning.\nQuestion: "


def row(index="1", version="Text Dominant", question=_ANGLE, answer="D", kind="multi-choice"):
    about = {"split": "testmini", "source": "s", "subject": "Plane Geometry", "subfield": "Angle"}
    return [
        index, "1", version, question, image(digit_png(4)), answer, kind, about,
        _DIRECT + question, _REASONED + question, _ANGLE,
    ]  # fmt: skip


def read(tmp_path, *rows):
    return list(MATHVERSE.read(write_parquet(tmp_path / "testmini.parquet", _SCHEMA, rows)))


def example(kind="multi-choice", answer="D", question=_ANGLE):
    metadata = {"question_type": kind, "query_cot": "?", "question_for_eval": question}
    return Example("1", MATHVERSE.source, "<image>?", (b"",), answer, metadata=metadata)


def free(answer="14"):
    return example("free-form", answer, "Find L.")


def test_rows_hold_their_picture_and_their_version(tmp_path):
    first, last = read(tmp_path, row(), row("5", "Vision Only", question=""))
    assert (first.id, first.answer, first.metadata["task"]) == ("1", "D", "Text Dominant")
    assert first.question == f"<image>{_ANGLE}"
    assert first.images == (digit_png(4),)
    assert last.metadata["task"] == "Vision Only"
    assert last.question == "<image>"  # its text stands in the picture
    assert last.metadata["question_for_eval"] == _ANGLE


def test_the_prompt_asks_for_reasoning_first(tmp_path):
    (found,) = read(tmp_path, row())
    assert MATHVERSE.official(found) == f"<image>{_REASONED}{_ANGLE}"


def test_bad_rows_are_named_and_rows_without_a_picture_are_no_rows(tmp_path):
    rows = [row("1", answer=""), row("2", kind="essay"), row("3"), row("3")]
    found = [one[1] if isinstance(one, tuple) else one for one in reasons(read(tmp_path, *rows))]
    assert found == ["answer_null", "bad_question_type", "3", "duplicate_id"]
    schema = pa.schema([field for field in _SCHEMA if field.name != "image"])
    values = [value for name, value in zip(_SCHEMA.names, row(), strict=True) if name != "image"]
    path = write_parquet(tmp_path / "text" / "testmini_text_only.parquet", schema, [values])
    assert reasons(MATHVERSE.read(path)) == [("testmini_text_only.parquet:0", "missing_image")]


@pytest.mark.parametrize(
    ("response", "prediction", "score"),
    [
        ("D", "D", 1),
        ("(D)", "D", 1),
        ("D:140°", "D", 1),
        ("\\boxed{D}", "D", 1),
        ("140°", "D", 1),  # the words of a choice
        ("\\boxed{140^\\circ}", "D", 1),  # its words in LaTeX
        ("\\boxed{140}", None, None),  # not its words: the judge decides
        ("The answer is 60°.", "B", 0),
        ("C", "C", 0),  # another letter is wrong without a judge
        ("\\boxed{\\text{B}}", "B", 0),
        ("Angle A is 80, angle B is 60, so angle C is 40. The answer is D.", "D", 1),
        ("By A - B = C we get the answer: (D)", "D", 1),
        ("C is not right, so D is.", "D", 1),
        ("It is C or D.", None, None),
        ("In triangle ABC, A = 80 and B = 60, so CED is 140.", None, None),  # labels of points
        ("The angle is 140 degrees.", None, None),
        ("<think> So C. \\boxed{C} </think> \\boxed{D}", "D", 1),
        ("<think> So D.", None, 0),  # never leaves its thoughts
        ("\\boxed{D", None, 0),
        ("", None, 0),
    ],
)
def test_a_choice_is_right_or_wrong_by_rules_or_left_to_the_judge(response, prediction, score):
    assert scored(MATHVERSE, example(), response) == (prediction, score)


def test_the_choices_in_a_picture_have_letters_too():
    row = example(answer="F", question="Which one?")
    assert scored(MATHVERSE, row, "The answer is F") == ("F", 1.0)
    assert scored(MATHVERSE, row, "E") == ("E", 0.0)


@pytest.mark.parametrize(
    ("answer", "response", "prediction", "score"),
    [
        ("14", "14", "14", 1),
        ("14", "\\boxed{14}", "14", 1),
        ("14", "L is long.\nFinal answer: 14", "14", 1),
        ("14", "\\boxed{14 cm}", "14 cm", None),  # no text of the truth: the judge decides
        ("14", "\\boxed{14.0}", "14.0", None),
        ("14", "\\boxed{15}", "15", None),
        ("14", "So L is 14 cm, I think.", "So L is 14 cm, I think.", None),
        ("(-2, 1]", "\\boxed{\\left(-2,1\\right]}", "(-2, 1]", 1),  # spaces and LaTeX's dress
        ("(-2, 1]", "\\boxed{(-2, 1)}", "(-2, 1)", None),
        ("\\frac{1}{2}", "$\\dfrac{1}{2}$", "\\frac{1}{2}", 1),
        ("f(x) = x^2", "\\boxed{f(x)=x^2}", "f(x) = x^2", 1),
        ("14", "<think> 14", None, 0),
        ("14", "", None, 0),
    ],
)
def test_a_free_answer_is_right_as_text_or_left_to_the_judge(answer, response, prediction, score):
    assert scored(MATHVERSE, free(answer), response) == (prediction, score)


@pytest.mark.parametrize(
    ("response", "replies", "prediction", "score"),
    [
        ("So L is 14 cm.", ["14 cm", "1"], "14 cm", 1),
        ("So L is 15 cm.", ["15 cm", "0"], "15 cm", 0),
        ("So L is fourteen.", ["14"], "14", 1),  # the truth: nothing more is asked
        ("\\boxed{14 cm}", ["1"], "14 cm", 1),  # a box is extracted already
        ("\\boxed{14 cm}", ["Judgement: 1"], "14 cm", 1),
        ("\\boxed{14 cm}", ["yes"], "14 cm", None),  # read strictly
        ("\\boxed{14 cm}", ["1 or 0"], "14 cm", None),
        ("\\boxed{14 cm}", ["int('1')"], "14 cm", None),
        ("It cannot be known.", ["NONE"], None, 0),
        ("So L is 14 cm.", [""], None, None),
        ("So L is 14 cm.", ["a\nb"], None, None),
    ],
)
def test_the_judge_extracts_and_then_compares(response, replies, prediction, score):
    assert judged(MATHVERSE, free(), response, *replies) == (prediction, score)


@pytest.mark.parametrize(
    ("replies", "prediction", "score"),
    [
        (["D"], "D", 1),
        (["(B) 60°"], "B", 0),  # another choice: nothing more is asked
        (["140 degrees", "1"], "140 degrees", 1),
    ],
)
def test_an_extracted_choice_needs_no_comparison(replies, prediction, score):
    assert judged(MATHVERSE, example(), "as large as can be", *replies) == (prediction, score)


def test_the_judge_compares_with_the_whole_question():
    judge = Judge("1")
    MATHVERSE.judge(free(), "<think> 99 </think> \\boxed{14 {cm}}", judge)
    (asked,) = judge.asked
    assert "Find L." in asked
    assert "True answer: 14" in asked
    assert "14 {cm}" in asked
    assert "99" not in asked
