"""MathVista: what is read, what is asked, and the score of responses."""

import math

import pyarrow as pa
import pytest

from perl_jax.evaluation.sets.mathvista import BENCHMARK as MATHVISTA
from perl_jax.types import Example
from tests.data.sources.parquet_files import IMAGE, digit_png
from tests.datasets.published_files import TEXT, image, reasons, write_parquet
from tests.evaluation.sets.asking import Judge, judged, scored

_ABOUT = pa.struct(
    {"category": TEXT, "task": TEXT, "skills": pa.list_(TEXT), "img_width": pa.int64()}
)
_SCHEMA = pa.schema(
    {
        "pid": TEXT, "question": TEXT, "image": TEXT, "decoded_image": IMAGE,
        "choices": pa.list_(TEXT), "unit": TEXT, "precision": pa.float64(), "answer": TEXT,
        "question_type": TEXT, "answer_type": TEXT, "metadata": _ABOUT, "query": TEXT,
    }
)  # fmt: skip
_CITIES = ("hong kong", "osaka", "shanghai", "tokyo")
_PLANE = {
    "category": "general-vqa",
    "task": "visual question answering",
    "skills": [],
    "img_width": 8,
}


def row(
    pid="1", choices=None, unit=None, precision=None, answer="14", kind="integer", about=_PLANE
):
    question_type = "multi_choice" if choices else "free_form"
    return [
        pid, "Which one?", f"images/{pid}.jpg", image(digit_png(3)), choices, unit, precision,
        answer, question_type, kind, about, f"Hint: Please answer.\nQuestion: Which one? {pid}",
    ]  # fmt: skip


def read(tmp_path, *rows):
    return list(MATHVISTA.read(write_parquet(tmp_path / "testmini.parquet", _SCHEMA, rows)))


def example(kind="integer", answer="14", choices=(), precision=None):
    metadata = {"query": "Hint\nQuestion: ?", "answer_type": kind, "choices": choices}
    if precision is not None:
        metadata["precision"] = precision
    options = tuple(f"({'ABCDE'[n]}) {text}" for n, text in enumerate(choices))
    return Example("1", MATHVISTA.source, "<image>?", (b"",), answer, options, metadata)


def choice(answer="tokyo", choices=_CITIES):
    return example("text", answer, choices)


def test_rows_hold_their_picture_their_task_and_what_scoring_needs(tmp_path):
    number, city = read(
        tmp_path,
        row("8", unit="$", precision=2.0, answer="1.45", kind="float"),
        row("12", choices=list(_CITIES), answer="tokyo", kind="text"),
    )
    assert (number.id, number.answer) == ("8", "1.45")
    assert number.question == "<image>Which one? (Unit: $)"
    assert number.images == (digit_png(3),)
    assert number.metadata["precision"] == 2
    assert number.metadata["task"] == "visual question answering"
    assert city.options == ("(A) hong kong", "(B) osaka", "(C) shanghai", "(D) tokyo")
    assert (city.id, city.answer) == ("12", "tokyo")
    assert MATHVISTA.official(city) == "<image>Hint: Please answer.\nQuestion: Which one? 12"


def test_optional_columns_may_be_missing(tmp_path):
    kept = [name for name in _SCHEMA.names if name not in ("unit", "metadata", "choices", "image")]
    schema = pa.schema([_SCHEMA.field(name) for name in kept])
    values = dict(zip(_SCHEMA.names, row(), strict=True))
    path = write_parquet(tmp_path / "a.parquet", schema, [[values[name] for name in kept]])
    (found,) = MATHVISTA.read(path)
    assert "task" not in found.metadata
    assert found.question == "<image>Which one?"


def test_the_test_split_hides_its_answers_and_other_bad_rows_are_named(tmp_path):
    rows = [
        row("1", answer=""),
        row("2", answer=None),
        row("3", kind="essay"),
        row("4", choices=[]),
        row("5"),
        row("5"),
        row("6", precision=1e300),
        row("7", precision=-1.0),
        row("8", precision=float("nan")),
    ]
    rows[3][8] = "multi_choice"
    found = [one[1] if isinstance(one, tuple) else one for one in reasons(read(tmp_path, *rows))]
    assert found == [
        "hidden_answer", "hidden_answer", "bad_answer_type", "bad_choices", "5", "duplicate_id",
        "bad_precision", "bad_precision", "8",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("response", "prediction", "score"),
    [
        ("D", "tokyo", 1),
        ("(D)", "tokyo", 1),
        ("(D) tokyo", "tokyo", 1),
        ("The correct answer is (D) tokyo.", "tokyo", 1),
        ("Tokyo", "tokyo", 1),  # the text of the choice
        ("The answer is Tokyo.", "tokyo", 1),
        ("\\boxed{D}", "tokyo", 1),
        ("\\boxed{\\text{Tokyo}}", "tokyo", 1),
        ("\\boxed{Tokio}", "tokyo", 1),  # closest by Levenshtein distance
        ("\\boxed{Osaka City}", "osaka", 0),
        ("\\boxed{B}", "osaka", 0),
        ("\\boxed{F}", "F", 0),  # the letter of no choice is closest to none
        ("A plane of Japan is seen. A, B and C are wrong, so the answer is D.", "tokyo", 1),
        ("It may be A or D.", None, None),  # two letters: the judge may know
        ("The biggest city of Japan, of course.", None, None),
        ("<think> Osaka? (B)? </think> The answer is (D)", "tokyo", 1),
        ("<think> (D)", None, 0),  # never leaves its thoughts
        ("\\boxed{D", None, 0),  # cut off
        ("", None, 0),
    ],
)
def test_a_choice_is_read_by_its_letter_its_words_or_as_the_closest(response, prediction, score):
    assert scored(MATHVISTA, choice(), response) == (prediction, score)


def test_a_letter_goes_before_a_choice_whose_text_is_a_letter():
    """The authors take the letter."""
    angles = choice(answer="C", choices=("C", "A", "B"))
    assert scored(MATHVISTA, angles, "A") == ("C", 1.0)
    assert scored(MATHVISTA, angles, "\\boxed{C}") == ("B", 0.0)


@pytest.mark.parametrize(
    ("kind", "answer", "precision", "response", "prediction", "score"),
    [
        ("integer", "14", None, "14", "14", 1),
        ("integer", "14", None, "14.0", "14", 1),  # int(float())
        ("integer", "14", None, "14.9", "14", 1),  # cut, not rounded
        ("integer", "14", None, "15", "15", 0),
        ("integer", "14", None, "\\boxed{14 \\text{ apples}}", "14", 1),
        ("integer", "14", None, "The answer is 14.", "14", 1),
        ("integer", "14", None, "The number that is missing is 14.", None, None),  # the judge
        ("integer", "-3", None, "\\boxed{-3}", "-3", 1),  # a negative label
        ("integer", "1600", None, "\\boxed{1,600}", "1600", 1),
        ("integer", "45", None, "\\boxed{45\\%}", "45", 1),  # a percent sign
        ("integer", "14", None, "\\boxed{none}", None, None),
        ("integer", "14", None, "<think> It is 15 or 16. </think> 14", "14", 1),
        ("integer", "14", None, "", None, 0),
        ("integer", "14", None, "<think> 14", None, 0),
        ("float", "1.2", 1, "1.23", "1.2", 1),  # rounded to the precision
        ("float", "1.2", 1, "1.26", "1.3", 0),
        ("float", "1.45", 2, "$1.45", "1.45", 1),  # a currency
        ("float", "1.45", 2, "\\boxed{1.4}", "1.4", 0),
        ("float", "0.5", 1, "\\boxed{\\frac{1}{2}}", "0.5", 1),
        ("float", "0.7", 1, "\\boxed{\\frac{\\sqrt{2}}{2}}", "0.7", 1),
        ("float", "5.0", 1, "5", "5.0", 1),
        ("float", "1.20", 2, "1.2", "1.2", 1),  # true numbers take the form of answers
        ("float", "1.20", None, "1.204", "1.2", 1),  # without a precision, as the truth
        ("float", "1.2", 1, "\\boxed{1.2 \\mathrm{~m}}", "1.2", 1),
        ("float", "1.2", 1, "\\boxed{1.2, 1.3}", None, None),  # two numbers
        ("list", "[2007, 2008]", None, "[2007, 2008]", "[2007, 2008]", 1),
        ("list", "[2007, 2008]", None, "The answer is [2007,2008].", "[2007, 2008]", 1),
        ("list", "[2007, 2008]", None, "\\boxed{[2008, 2007]}", "[2008, 2007]", 0),
        ("list", "[2007, 2008]", None, "between 2007 and 2008", None, None),
        ("list", "[2007, 2008]", None, "[]", None, None),
        ("text", "north", None, "\\boxed{North}", "North", 1),
        ("text", "north", None, "to the left", None, None),
    ],
)  # fmt: skip
def test_numbers_and_lists_are_compared_as_strings_in_one_form(
    kind, answer, precision, response, prediction, score
):
    row = example(kind, answer, precision=precision)
    assert scored(MATHVISTA, row, response) == (prediction, score)


@pytest.mark.parametrize(
    ("reply", "prediction", "score"),
    [
        ("14", "14", 1),
        ("Final answer: 14", "14", 1),
        ("'14'", "14", 1),
        ("15", "15", 0),
        ("NONE", None, 0),
        ("None.", None, 0),
        ("I would say 14", None, None),  # no number alone: not trusted
        ("7 * 2 + __import__('os').getpid()", None, None),  # never evaluated
        ("14\nbecause 7 + 7 = 14", None, None),
        ("", None, None),
    ],
)
def test_the_judge_extracts_a_number_that_is_read_strictly(reply, prediction, score):
    row = example()
    assert judged(MATHVISTA, row, "Seven and seven {of them}", reply) == (prediction, score)


@pytest.mark.parametrize(
    ("reply", "prediction", "score"),
    [
        ("D", "tokyo", 1),
        ("(D) tokyo", "tokyo", 1),
        ("Tokyo", "tokyo", 1),
        ("Tokio", "tokyo", 1),  # the closest choice
        ("E", "E", 0),
        ("NONE", None, 0),
        ("x" * 300, None, None),
    ],
)
def test_the_judge_extracts_a_choice(reply, prediction, score):
    assert judged(MATHVISTA, choice(), "The biggest one.", reply) == (prediction, score)


def test_none_may_be_a_choice():
    row = choice("None", ("2", "None"))
    assert judged(MATHVISTA, row, "There are none at all", "None") == ("None", 1.0)


def test_the_judge_reads_the_query_and_the_response_without_its_thoughts():
    judge = Judge("D")
    MATHVISTA.judge(choice(), "<think> Osaka </think> That {big} one.", judge)
    (asked,) = judge.asked
    assert "Question: ?" in asked
    assert "That {big} one." in asked
    assert "Osaka" not in asked


def test_the_overall_score_is_the_mean_of_rows():
    assert MATHVISTA.overall([(example(), 1.0), (example(), 0.0)]) == 0.5
    assert math.isnan(MATHVISTA.overall([]))
