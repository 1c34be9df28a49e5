"""MathVision: what is read, what is asked, and the score of responses."""

import pyarrow as pa
import pytest

from perl_jax.evaluation.sets.mathvision import BENCHMARK as MATHVISION
from perl_jax.permutation import rule_for
from perl_jax.types import Example
from tests.data.sources.parquet_files import IMAGE, digit_png
from tests.datasets.published_files import TEXT, image, reasons, write_parquet
from tests.evaluation.sets.asking import scored

_SCHEMA = pa.schema(
    {
        "id": TEXT, "question": TEXT, "options": pa.list_(TEXT), "image": TEXT,
        "decoded_image": IMAGE, "answer": TEXT, "solution": TEXT, "level": pa.int64(),
        "subject": TEXT,
    }
)  # fmt: skip
_FIVE = ("10", "12", "$\\frac{1}{2}$", "20", "it cannot be found")


def row(id="1", question="How many?\n<image1>", options=(), answer="7", picture=1):
    shown = None if picture is None else image(digit_png(picture))
    return [id, question, list(options), f"images/{id}.jpg", shown, answer, None, 3, "counting"]


def read(tmp_path, *rows):
    return list(MATHVISION.read(write_parquet(tmp_path / "test.parquet", _SCHEMA, rows)))


def free(answer):
    return Example("1", MATHVISION.source, "<image>How many?", (b"",), answer)


def choice(answer="B", options=_FIVE):
    labelled = tuple(f"({letter}) {text}" for letter, text in zip("ABCDE", options, strict=False))
    return Example("1", MATHVISION.source, "<image>How many?", (b"",), answer, labelled)


def test_rows_hold_their_merged_picture_their_subject_and_their_options(tmp_path):
    plain, chosen = read(tmp_path, row("7"), row("9", options=_FIVE, answer="B"))
    assert (plain.id, plain.answer, plain.options) == ("7", "7", ())
    assert plain.question == "<image>How many?"
    assert plain.images == (digit_png(1),)
    assert plain.metadata == {"task": "counting", "level": 3}
    assert chosen.options[:2] == ("(A) 10", "(B) 12")
    assert rule_for(plain).movable == "none"  # one picture


def test_several_tags_stand_for_the_one_picture(tmp_path):
    asked = "Is <image1> like <image2>?\n<image3>"
    options = ("<image4>", "<image5>", "<image6>", "<image7>", "none")
    (found,) = read(tmp_path, row(question=asked, options=options, answer="E"))
    assert found.question == "<image>Is  like ?"
    assert found.options == ("(A) A", "(B) B", "(C) C", "(D) D", "(E) none")
    assert len(found.images) == 1


def test_bad_rows_are_named(tmp_path):
    rows = [
        row("1", picture=None),
        row("2", answer=""),
        row("3", options=_FIVE, answer="F"),
        row("4", options=_FIVE, answer="12"),
        row("5", question=""),
        row("", answer="1"),
        row("7"),
        row("7"),
    ]
    found = [one[1] if isinstance(one, tuple) else one for one in reasons(read(tmp_path, *rows))]
    assert found == [
        "missing_image", "answer_null", "letter_outside_options", "bad_answer", "question_null",
        "id_null", "7", "duplicate_id",
    ]  # fmt: skip


def test_the_prompt_is_that_of_lmms_eval():
    start = 'Please solve the problem step by step and put your answer in one "\\boxed{}".How many?'
    assert MATHVISION.official(free("7")) == f"<image>{start}"
    listed = "A. 10\nB. 12\nC. $\\frac{1}{2}$\nD. 20\nE. it cannot be found"
    assert MATHVISION.official(choice()) == f"<image>{start}\nChoices: {listed}"


@pytest.mark.parametrize(
    ("response", "prediction", "score"),
    [
        ("B", "B", 1),
        ("\\boxed{B}", "B", 1),
        ("\\boxed{x = 12}", "B", 1),  # what an equation gives
        ("\\boxed{\\text{(B)}}", "B", 1),
        ("\\boxed{b}", "B", 1),  # the script compares small letters
        ("\\boxed{12}", "B", 1),  # the text of the option
        ("\\boxed{12.001}", "B", 1),  # its value at 2 decimals
        ("\\boxed{0.5}", "C", 0),  # the value of another option
        ("\\boxed{(B) 12}", "B", 1),  # the script glues them to "b12"
        ("\\boxed{13}", None, 0),  # no option
        ("\\boxed{A}", "A", 0),
        ("The answer is (B).", "B", 1),
        ("The correct answer is B. 12", "B", 1),
        ("A dog is in A, so the answer should be B.", "B", 1),
        ("We count them.\nSo it must be (B).", "B", 1),  # a letter at the end
        ("A is wrong and C is wrong, so B", "B", 1),
        ("It is A or B.", None, 0),  # two letters
        ("The answer is 12", "B", 1),
        ("The answer is that it cannot be found.", None, 0),  # more than the option says
        ("<think> A? D? </think> \\boxed{B}", "B", 1),  # thoughts name other options
        ("<think> B", None, 0),
        ("\\boxed{A} no, \\boxed{B}", "B", 1),
        ("\\boxed{A} no, \\boxed{B", None, 0),  # cut off in the last box
        ("", None, 0),
        ("I do not know.", None, 0),
    ],
)
def test_a_choice_is_read_by_its_letter_or_its_words(response, prediction, score):
    assert scored(MATHVISION, choice(), response) == (prediction, score)


@pytest.mark.parametrize(
    ("answer", "response", "prediction", "score"),
    [
        ("7", "\\boxed{7}", "7", 1),
        ("7", "\\boxed{7.00}", "7.00", 1),  # the same value
        ("7", "\\boxed{7.004}", "7.004", 1),  # at 2 decimals
        ("7", "\\boxed{7.01}", "7.01", 0),
        ("7", "\\boxed{-7}", "-7", 0),
        ("7", "The answer is 7 cm.", "7 cm", 1),  # a unit
        ("7", "The final answer is: **7**", "7", 1),
        ("7", "So the length is 7.", "7", 1),  # the number after the last "is"
        ("7", "Then $x = 3 + 4 = 7$.", "7$", 1),  # what stands after the last equals sign
        ("7", "\\boxed{x = 7}", "7", 1),
        ("7", "\\boxed{x \\approx 7}", "7", 1),
        ("7", "There are 7 of them", "There are 7 of them", 0),  # no statement of an answer
        ("45", "\\boxed{45^\\circ}", "45^\\circ", 1),  # degrees
        ("45", "\\boxed{45\\%}", "45\\%", 1),  # a percent sign
        ("1200", "\\boxed{1,200}", "1,200", 1),  # thousands
        ("\\frac{1}{2}", "\\boxed{0.5}", "0.5", 1),
        ("\\frac{1}{2}", "\\boxed{\\dfrac{2}{4}}", "\\dfrac{2}{4}", 1),
        ("$5\\sqrt{2}$", "\\boxed{\\sqrt{50}}", "\\sqrt{50}", 1),
        ("5\\sqrt{2}", "\\boxed{7.07}", "7.07", 1),
        ("5\\sqrt{2}", "\\boxed{7.1}", "7.1", 0),
        ("2\\pi", "\\boxed{2π}", "2π", 1),
        ("2^{10}", "\\boxed{1024}", "1024", 1),
        ("(3,4)", "\\boxed{\\left(3, 4\\right)}", "\\left(3, 4\\right)", 1),  # a tuple
        ("(0.5,4)", "\\boxed{(\\frac{1}{2}, 4.0)}", "(\\frac{1}{2}, 4.0)", 1),  # item by item
        ("(3,4)", "\\boxed{(4,3)}", "(4,3)", 0),  # in order
        ("(3,4)", "\\boxed{[3,4]}", "[3,4]", 0),  # with its brackets
        ("(3,4)", "\\boxed{(3,4,5)}", "(3,4,5)", 0),
        ("3:4", "\\boxed{3 : 4}", "3 : 4", 1),  # the same text
        ("x+1", "\\boxed{x + 1}", "x + 1", 1),
        ("x+1", "\\boxed{1+x}", "1+x", 0),  # not the same text, and no number
        ("Tuesday", "\\boxed{\\text{tuesday}}", "\\text{tuesday}", 1),
        ("Tuesday", "\\boxed{Monday}", "Monday", 0),
        ("7", "\\boxed{9^{9^{9^{9}}}}", "9^{9^{9^{9}}}", 0),  # nothing is evaluated at length
        ("7", "\\boxed{__import__('os')}", "__import__('os')", 0),
        ("7", "<think> 8 </think> \\boxed{7}", "7", 1),
        ("7", "<think> \\boxed{7}", None, 0),
        ("7", "\\boxed{}", None, 0),
        ("7", "", None, 0),
        ("7", "We go on and on. " * 50, None, 0),  # cut off
    ],
)  # fmt: skip
def test_a_free_answer_is_compared_as_text_as_a_tuple_or_by_value(
    answer, response, prediction, score
):
    assert scored(MATHVISION, free(answer), response) == (prediction, score)


def test_no_judge_is_official():
    assert MATHVISION.judge is None
