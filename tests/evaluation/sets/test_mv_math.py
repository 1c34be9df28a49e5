"""MV-MATH: what is read, what is asked, and the score of responses."""

import json

import pyarrow as pa
import pytest

from perl_jax.evaluation.sets.mv_math import BENCHMARK as MV_MATH
from perl_jax.evaluation.sets.mv_math import steps_of
from perl_jax.permutation import CannotPermute, movable_slots, permute, rule_for
from perl_jax.processing import read_conversation
from perl_jax.types import Example
from tests.data.sources.parquet_files import digit_png
from tests.datasets.published_files import TEXT, reasons, write_parquet, write_zip
from tests.evaluation.sets.asking import Judge, judged, scored

_PICTURES = (
    "Which figure is the net of the cube?\nA.\n\n<image_1>\nB.\n\n<image_2>\nC.\n\n<image_3>"
)
_SHOWN = "Which is the net of this one?\n\n<image_1>\nA.\n\n<image_2>\nB.\n\n<image_3>\n\n##"
_WORDS = (
    "How many? ( )\n\n<image_1>\n\nFigure 1\n\n<image_2>\n\nFigure 2\n"
    "A. 9,14\nB. $\\sqrt{2}$\nC. 8\nD. 10"
)
_STEPS = "(1) $B(3,0)$\n\n（2）(1) $(0,3)$ or $(2,3)$; (2) 5 ##\n"


def row(id=1, question=_PICTURES, count=3, answer="B", kind="choice", **changed):
    return {
        "problem_id": id, "question": question,
        "input_image": [f"batch1-{n}.jpg" for n in range(count)], "is_multi_img": count > 1,
        "answer": answer, "answer_type": kind, "difficulty": "Low", "grade": "Junior",
        "subject": "Solid Geometry", "image_relavance": "1", "analysis": "<image_9>", **changed,
    }  # fmt: skip


def write(folder, *rows, images="images", name="MV-MATH.json"):
    (folder / images).mkdir(parents=True, exist_ok=True)
    for n in range(4):
        (folder / images / f"batch1-{n}.jpg").write_bytes(digit_png(n))
    (folder / name).write_text(json.dumps(list(rows)))
    return folder


def example(kind="choice", answer="B", question=_WORDS, count=2):
    images = tuple(bytes([n]) for n in range(count))
    metadata = {"answer_type": kind}
    return Example("1", MV_MATH.source, question, images, answer, metadata=metadata)


@pytest.mark.parametrize("images", ["images", "."])
def test_json_rows_find_their_pictures_beside_them_or_in_the_folder_of_pictures(tmp_path, images):
    folder = write(tmp_path, row(), row(7, _SHOWN, answer="A\n"), images=images)
    first, shown = MV_MATH.read(folder)
    assert (first.id, first.answer, first.metadata["task"]) == ("1", "B", "Solid Geometry")
    assert first.metadata["answer_type"] == "choice"
    assert first.metadata["image_relavance"] == "1"
    assert first.images == tuple(digit_png(n) for n in range(3))
    assert first.question == _PICTURES
    assert (shown.id, shown.answer) == ("7", "A")
    assert shown.question.endswith("B.\n\n<image_3>")  # without the separator of the rows


def test_the_published_repository_is_read_from_its_folder_of_data(tmp_path):
    data = tmp_path / "data"
    write(data, row(), images="../images")
    (found,) = MV_MATH.read(tmp_path)
    assert found.images[0] == digit_png(0)


def test_parquet_rows_find_their_pictures_in_an_archive(tmp_path):
    texts = ("question", "answer", "answer_type", "subject")
    schema = pa.schema(
        {"problem_id": pa.int64(), "input_image": pa.list_(TEXT), **dict.fromkeys(texts, TEXT)}
    )
    values = [row()[name] for name in schema.names]
    path = write_parquet(tmp_path / "data" / "test.parquet", schema, [values])
    write_zip(tmp_path / "images.zip", {f"images/batch1-{n}.jpg": n for n in range(3)})
    (found,) = MV_MATH.read(path.parent.parent)
    assert found.images == tuple(digit_png(n) for n in range(3))
    assert found.metadata == {"task": "Solid Geometry", "answer_type": "choice"}


def test_bad_rows_are_named(tmp_path):
    rows = [
        row(1, kind="essay"), row(2, count=2), row(3, input_image=None), row(4, answer=""),
        row(5, input_image=["a.jpg"], question="<image_1>"), row(None), row(7), row(7),
    ]  # fmt: skip
    found = reasons(MV_MATH.read(write(tmp_path, *rows)))
    assert [one[1] if isinstance(one, tuple) else one for one in found] == [
        "bad_answer_type", "image_count", "missing_image", "answer_null", "missing_image",
        "id_null", "7", "duplicate_id",
    ]  # fmt: skip


def test_pictures_without_a_tag_come_first(tmp_path):
    (found,) = MV_MATH.read(write(tmp_path, row(question="Is <image_2> one?")))
    assert found.question == "<image_1>\n<image_3>\nIs <image_2> one?"
    assert read_conversation(found.question, [*"abc"]).shown == (0, 2, 1)


def test_the_prompt_shows_the_pictures_first_and_names_them_in_the_text():
    asked = MV_MATH.official(example(question=_SHOWN, count=3))
    assert asked.startswith("<image><image><image>\nYou solve problems of mathematics.")
    assert asked.count("<image>") == 3
    assert "<image_" not in asked
    assert "Which is the net of this one?\n\n[image 1]\nA.\n\n[image 2]\nB.\n\n[image 3]" in asked
    assert asked.endswith("\nAnswer:")
    assert read_conversation(asked, [*"abc"]).shown == (0, 1, 2)


@pytest.mark.parametrize(
    ("kind", "form", "shot"),
    [
        ("choice", "Answer: {X}, where X is its letter", "Answer: {B}"),
        ("single-step", "Answer: {X}, where X is the result", "Answer: {28}"),
        ("multi-step", "Answer: {(1) X (2) Y ...}", "Answer: {(1) 7 (2) 28}"),
    ],
)
def test_every_kind_is_asked_with_two_examples_of_its_own(kind, form, shot):
    asked = MV_MATH.official(example(kind))
    assert form in asked
    assert shot in asked
    assert asked.count("Question: ") == 3


def test_tags_out_of_order_name_the_right_picture():
    asked = MV_MATH.official(example(question="<image_2> is right of <image_1>.", count=2))
    assert "[image 2] is right of [image 1]." in asked


def test_pictures_as_options_move_and_the_letter_follows():
    asked = example(question=_PICTURES, count=3)
    moved = permute(asked, (1, 2, 0), rule_for(asked))
    assert (moved.answer, moved.images[0]) == ("A", asked.images[1])
    assert MV_MATH.official(moved) == MV_MATH.official(asked)
    assert scored(MV_MATH, moved, "Answer: {A}") == ("A", 1.0)
    assert scored(MV_MATH, moved, "Answer: {B}") == ("B", 0.0)


def test_the_picture_of_the_question_stays_where_pictures_are_options():
    asked = example(question=_SHOWN.strip("# \n"), count=3, answer="A")
    assert movable_slots(asked, rule_for(asked)) == (1, 2)
    assert permute(asked, (0, 2, 1), rule_for(asked)).answer == "B"


def test_pictures_with_captions_stay():
    with pytest.raises(CannotPermute, match="no_option_images"):
        movable_slots(example(), rule_for(example()))


@pytest.mark.parametrize(
    ("response", "prediction", "score"),
    [
        ("Step 1 (sum): A = C.\nAnswer: {B}", "B", 1),
        ("Answer: {A}", "A", 0),  # another letter is wrong without a judge
        ("Answer: B", "B", 1),
        ("**Answer:** {B}", "B", 1),
        ("\\boxed{B}", "B", 1),
        ("\\boxed{\\text{B}}", "B", 1),
        ("B. $\\sqrt{2}$", "B", 1),
        ("The answer is $\\sqrt{2}$.", "B", 1),  # the words of the choice
        ("\\boxed{8}", "C", 0),
        ("\\boxed{\\frac{2}{\\sqrt{2}}}", None, None),  # not its words: the judge decides
        ("So A or B.", None, None),
        ("\\boxed{A, B}", "AB", 0),  # two letters are not the one
        ("A is too small, and C is too large, so B is correct.", "B", 1),
        ("<think> Answer: {C} </think> Answer: {B}", "B", 1),
        ("<think> Answer: {B}", None, 0),
        ("\\boxed{B", None, 0),
        ("", None, 0),
    ],
)
def test_a_choice_is_right_or_wrong_by_rules_or_left_to_the_judge(response, prediction, score):
    assert scored(MV_MATH, example(), response) == (prediction, score)


def test_several_letters_are_right_together_in_any_order():
    both = example(answer="BD")
    assert scored(MV_MATH, both, "Answer: {D, B}") == ("BD", 1.0)
    assert scored(MV_MATH, both, "\\boxed{B}") == ("B", 0.0)


@pytest.mark.parametrize(
    ("answer", "response", "prediction", "score"),
    [
        ("15.6", "Answer: {15.6}", "15.6", 1),
        ("15.6", "The answer is 15.6.", "15.6", 1),
        ("15.6", "\\boxed{15.60}", "15.60", None),  # not the text of the truth
        ("17 m", "\\boxed{17 \\mathrm{~m}}", "17 m", 1),  # LaTeX's dress
        ("17 m", "\\boxed{17}", "17", None),  # without the unit
        ("$1,2,3$", "\\boxed{1, 2, 3}", "$1,2,3$", 1),
        ("$1,2,3$", "\\boxed{3, 2, 1}", "3, 2, 1", None),
        ("$\\frac{3}{2}$ or $\\frac{15}{2}$.", "Answer: {$\\dfrac{3}{2}$ or $\\dfrac{15}{2}$}",
         "$\\frac{3}{2}$ or $\\frac{15}{2}$.", 1),
        ("$=$", "\\boxed{=}", "$=$", 1),
        ("$=$", "\\boxed{>}", ">", None),
        ("45%", "\\boxed{45\\%}", "45%", 1),
        ("-2", "\\boxed{2}", "2", None),  # another sign
        ("-2", "\\boxed{-2}", "-2", 1),
        ("Two points make a line", "Answer: two points make a line.",
         "Two points make a line", 1),
        ("10", "<think> 10 </think> I am not sure.", "I am not sure.", None),
        ("10", "", None, 0),
    ],
)  # fmt: skip
def test_a_free_answer_is_right_as_text_or_left_to_the_judge(answer, response, prediction, score):
    assert scored(MV_MATH, example("single-step", answer), response) == (prediction, score)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("(1) B (3, 5); (2) (3, 4);（3）7.5.", ["B (3, 5)", "(3, 4)", "7.5"]),
        ("(1)21\n\n(2) As in (1), yes, (3) 8", ["21", "As in (1), yes", "8"]),
        (_STEPS, ["$B(3,0)$", "(1) $(0,3)$ or $(2,3)$; (2) 5"]),  # steps within a step
        ("(1) f(2) = 3 (2) 5", ["f(2) = 3", "5"]),  # f(2) begins no step
        ("3 ## 5 ##", ["3", "5"]),
        ("3", ["3"]),
    ],
)  # fmt: skip
def test_steps_are_split_by_their_numbers(text, steps):
    assert steps_of(text) == steps


@pytest.mark.parametrize(
    ("response", "prediction", "score"),
    [
        ("\\boxed{(1) 60^{\\circ} (2) 3.8}", "2/2", 1),
        ("（1）60°；（2）3.8", "2/2", 1),
        ("(1) Step 1: a\n(2) Step 1: b\nAnswer: {(1) 60^{\\circ} (2) 3.8}", "2/2", 1),
        ("(1) Step 1: ... The answer is $60^\\circ$.\n(2) ... The answer is 3.8.", "2/2", 1),
        ("(1) 60° (2) 3.9", None, None),  # one differs: the judge may read it otherwise
        ("(1) 60°", None, None),
        ("60°, 3.8", None, None),
        ("(1) 60° (2) 3.8 (3) 7", None, None),
        ("<think> (1) 60° (2) 3.8", None, 0),
        ("", None, 0),
    ],
)  # fmt: skip
def test_steps_are_right_if_each_is_the_text_of_the_truth(response, prediction, score):
    asked = example("multi-step", "(1) $60^{\\circ}$\n\n(2)3.8\n")
    assert scored(MV_MATH, asked, response) == (prediction, score)


@pytest.mark.parametrize(
    ("kind", "reply", "prediction", "score"),
    [
        ("single-step", "true", "about {4}", 1),
        ("single-step", "False.", "about {4}", 0),
        ("single-step", "Verdict: TRUE", "about {4}", 1),
        ("single-step", "true, I think", "about {4}", None),  # read strictly
        ("single-step", "1 == 1", "about {4}", None),
        ("single-step", "", "about {4}", None),
        ("choice", "true", None, 1),
        ("multi-step", "1/2", "1/2", 0.5),
        ("multi-step", "2 / 2", "2/2", 1),
        ("multi-step", "0/2", "0/2", 0),
        ("multi-step", "1/3", None, None),  # there are two
        ("multi-step", "3/2", None, None),
        ("multi-step", "half", None, None),
        ("multi-step", "1/2\nbecause", None, None),
    ],
)
def test_the_reply_of_the_judge_is_read_strictly(kind, reply, prediction, score):
    answer = {"choice": "B", "single-step": "5", "multi-step": "(1) 5 (2) 6"}[kind]
    asked = example(kind, answer)
    assert judged(MV_MATH, asked, "about {4}", reply) == (prediction, score)


def test_the_judge_reads_question_truth_and_response_without_its_thoughts():
    judge = Judge("1/2")
    MV_MATH.judge(example("multi-step", "(1) 5 (2) 6"), "<think> 9 </think> five, then {7}", judge)
    (asked,) = judge.asked
    for part in ("How many?", "(1) 5 (2) 6", "five, then {7}", "0/2"):
        assert part in asked
    assert "9 " not in asked.partition("Response:")[2]


def test_a_question_with_steps_counts_if_all_of_them_are_right():
    steps = [example("multi-step", "(1) 5 (2) 6"), example("multi-step", "(1) 5 (2) 6 (3) 7 (4) 8")]
    rows = [
        (example(), 1.0), (example(), 0.0), (example("single-step", "5"), 1.0),
        (steps[0], 1.0), (steps[1], 0.25),
    ]  # fmt: skip
    assert MV_MATH.overall(rows) == pytest.approx(3 / 5)
    assert MV_MATH.more(rows) == pytest.approx(
        {"choice": 0.5, "free_form": 1.0, "SAR": 3 / 6, "QCR": 0.5}
    )
    assert MV_MATH.more(rows[:2]) == {"choice": 0.5}
