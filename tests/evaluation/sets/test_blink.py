"""BLINK: its published rows, its own prompt, and what responses score."""

import pyarrow as pa
import pytest

from perl_jax.evaluation.benchmark import Scored, task_of
from perl_jax.evaluation.sets.blink import BENCHMARK
from perl_jax.types import Example
from tests.data.sources.parquet_files import IMAGE
from tests.datasets.published_files import write_parquet
from tests.evaluation.sets.rows import Judge, bad_rows, in_all_orders, pictures, pngs, read_one

TEXT = pa.string()
SCHEMA = pa.schema(
    {
        "idx": TEXT, "question": TEXT, "sub_task": TEXT, "image_1": IMAGE, "image_2": IMAGE,
        "image_3": IMAGE, "image_4": IMAGE, "choices": pa.list_(TEXT), "answer": TEXT,
        "prompt": TEXT, "explanation": TEXT,
    }
)  # fmt: skip
JIGSAW = (
    "Given the first image with the lower right corner missing, can you tell which one of the "
    "second image or the third image is the missing part? Imagine which image would be more "
    "appropriate to place in the missing spot. You can also carefully observe and compare the "
    "edges of the images.\nSelect from the following choices.\n\n(A) the second image\n(B) the "
    "third image\n"
)
FORENSIC = (
    "You are a judge in a photography competition, and now you are given the four images. Please "
    "examine the details and tell which one of them is most likely to be a real photograph.\n"
    "Select from the following choices.\n(A) the first image\n(B) the second image\n(C) the third "
    "image\n(D) the fourth image\n"
)
MULTI_VIEW = (
    "The images are frames from a video. The video is shooting a static scene. The camera is "
    "either moving clockwise (left) or counter-clockwise (right) around the object. The first "
    "image is from the beginning of the video and the second image is from the end. Is the camera "
    "moving left or right when shooting the video? Select from the following options.\n(A) left\n"
    "(B) right"
)
POINTS = (
    "A point is circled on the first image, labeled with REF. We change the camera position or "
    "lighting and shoot the second image. You are given multiple red-circled points on the second "
    'image, choices of "A, B, C, D" are drawn beside each circle. Which point on the second image '
    "corresponds to the point in the first image? Select from the following options.\n(A) Point A"
    "\n(B) Point B\n(C) Point C\n(D) Point D"
)
ORDINALS = ["the first image", "the second image", "the third image", "the fourth image"]


def row(task="Jigsaw", prompt=JIGSAW, choices=ORDINALS[1:3], answer="(B)", images=3, **changed):
    columns = {
        "idx": f"val_{task}_1", "question": "Which image is the missing part in the first image?",
        "sub_task": task, "choices": choices, "answer": answer, "prompt": prompt,
        "explanation": None,
        **{f"image_{n + 1}": pictures(n)[0] if n < images else None for n in range(4)},
        **changed,
    }  # fmt: skip
    return [columns[name] for name in SCHEMA.names]


def write(folder, *rows, name="Jigsaw/val-00000-of-00001.parquet"):
    return write_parquet(folder / name, SCHEMA, rows)


def test_a_row_is_its_prompt_after_its_images(tmp_path):
    write(tmp_path, row())
    example = read_one(BENCHMARK, tmp_path)
    assert example == Example(
        id="val_Jigsaw_1",
        source="BLINK",
        question="<image><image><image>" + JIGSAW,
        images=pngs(0, 1, 2),
        answer="B",
        metadata={"task": "Jigsaw", "sub_task": "Jigsaw", "letters": "AB"},
    )
    assert BENCHMARK.official(example) == "<image><image><image>" + JIGSAW
    assert example.place == "Jigsaw/val-00000-of-00001.parquet:0"


def test_a_row_without_a_prompt_is_asked_by_its_question_and_choices(tmp_path):
    write(tmp_path, row(prompt=None, question="Which?"))
    assert read_one(BENCHMARK, tmp_path).question == (
        "<image><image><image>Which?\nSelect from the following choices.\n(A) the second image\n"
        "(B) the third image"
    )


def test_configurations_are_folders_and_the_hidden_split_is_refused(tmp_path):
    write(tmp_path, row(answer="hidden", idx="test_Jigsaw_1"), name="Jigsaw/test-0.parquet")
    write(tmp_path, row(), name="Jigsaw/val-0.parquet")
    write(tmp_path, row(idx="val_Art_Style_1"), name="Art_Style/val-0.parquet")
    assert bad_rows(BENCHMARK, tmp_path) == ["val_Art_Style_1", "hidden_answer", "val_Jigsaw_1"]


def test_rows_that_cannot_be_used_say_why(tmp_path):
    rows = {
        "no_images": row(images=0),
        "missing_image": row(image_2=None),
        "bad_answer": row(answer="the third"),
        "letter_outside_options": row(answer="(C)"),
        "bad_choices": row(choices=["one"]),
        "sub_task_null": row(sub_task=None),
        "id_null": row(idx=None),
        "image_count": row(prompt="<image>" * 4),
    }
    write(tmp_path, *rows.values())
    assert bad_rows(BENCHMARK, tmp_path) == list(rows)


@pytest.mark.parametrize(
    ("task", "prompt", "choices", "images", "letters"),
    [
        # Image 1 stays; the option's letter follows its image.
        ("Jigsaw", JIGSAW, ORDINALS[1:3], 3, {(0, 1, 2): "B", (0, 2, 1): "A"}),
        # Points are letters in the second picture: which picture that is, the text says.
        ("Visual_Correspondence", POINTS, ["a", "b", "c", "d"], 2, {(0, 1): "B", (1, 0): "B"}),
        ("Multi-view_Reasoning", MULTI_VIEW, ["left", "right"], 2, {(0, 1): "B", (1, 0): "B"}),
    ],
)
def test_permuted_rows_have_the_right_answer(tmp_path, task, prompt, choices, images, letters):
    write(tmp_path, row(task, prompt, choices, images=images))
    orders = in_all_orders(read_one(BENCHMARK, tmp_path))
    assert {order: one.answer for order, one in orders.items()} == letters


def test_a_real_photograph_keeps_its_letter_s_picture_in_all_24_orders(tmp_path):
    write(tmp_path, row("Forensic_Detection", FORENSIC, ORDINALS, images=4))
    orders = in_all_orders(read_one(BENCHMARK, tmp_path))
    assert len(orders) == 24
    for order, one in orders.items():
        assert one.images["ABCD".index(one.answer)] == pngs(1)[0], order
        assert BENCHMARK.official(one) == "<image>" * 4 + FORENSIC


def test_the_prompt_of_a_permuted_row_says_which_image_is_now_where(tmp_path):
    write(tmp_path, row("Multi-view_Reasoning", MULTI_VIEW, ["left", "right"], images=2))
    swapped = in_all_orders(read_one(BENCHMARK, tmp_path))[1, 0]
    assert (
        "The second image is from the beginning of the video and the first image is from the end."
        in BENCHMARK.official(swapped)
    )


OPEN = object()

RESPONSES = [
    ("(B)", "B", 1, "the official form"),
    ("B", "B", 1, "officially taken for (B)"),
    ("(A)", "A", 0, "another option"),
    ("(B).", "B", 1, "officially missed for its full stop, and left to the judge"),
    ("**(B) the third image**", "B", 1, "Markdown"),
    ("The answer is (B)", "B", 1, "the one letter in brackets"),
    ("The third image (B) fits the edges better.", "B", 1, "the only letter"),
    ("(A) shows a road.\n(B) shows a sky.\n\nSo (B)", "B", 1, "the last paragraph has one letter"),
    ("It looks like the second (A).\n\n(B) the third image", "B", 1, "the last paragraph decides"),
    ("(A) is wrong, so (B)", "B", 1, "a rejected letter is not chosen"),
    ("not (A)", None, OPEN, "officially A; which one is chosen, only a judge could say"),
    ("(A) and (B)", None, OPEN, "two letters: the judge is official"),
    ("(C)", None, OPEN, "no option has this letter"),
    ("a dog", None, OPEN, "an article is no option"),
    ("the third image", "B", 1, "the words of one option alone"),
    ("The answer is the second image.", "A", 0, "the words of the other one"),
    ("The missing part is probably in the middle one.", None, OPEN, "no option is named"),
    ("Option B", "B", 1, "a letter with its noun"),
    ("<think>(A) or (B)? It is (A).</think>(B)", "B", 1, "thoughts do not count"),
    ("<think>(B) is right</think>\\boxed{A}", "A", 0, "the box counts"),
    ("<think> It must be (B)", None, 0, "cut off in its thoughts: nothing was answered"),
    ("\\boxed{\\text{(B)}}", "B", 1, "LaTeX"),
    ("\\boxed{B", None, 0, "the box was cut off"),
    ("", None, 0, "empty"),
    ("I'm sorry, I cannot help with that.", None, OPEN, "officially the judge says (Z)"),
]


@pytest.mark.parametrize(("response", "prediction", "score", "reason"), RESPONSES)
def test_responses_score_as_a_careful_person_scores_them(
    tmp_path, response, prediction, score, reason
):
    write(tmp_path, row())
    wanted = Scored(prediction, None if score is OPEN else float(score))
    assert BENCHMARK.score(read_one(BENCHMARK, tmp_path), response) == wanted, reason


@pytest.mark.parametrize(
    ("choices", "response", "prediction"),
    [
        (["Point A", "Point B"], "Point B, where the child sits, is closer.", "B"),
        (
            ["Point A", "Point B"],
            "It is not point A but point B.",
            "B",
        ),
        (["Point A", "Point B"], "It lies between point A and point B.", None),
        (["A is closer", "B is closer"], "The point B is nearer to the camera.", "B"),
        (["A is darker", "B is darker"], "A is darker", "A"),
        (["Box B", "Box A"], "The tighter one is box A.", "B"),
        (["left", "right"], "Point B is closer.", None),
    ],
)
def test_a_point_that_an_option_is_called_by_chooses_it(tmp_path, choices, response, prediction):
    listed = "\n".join(f"({letter}) {text}" for letter, text in zip("AB", choices, strict=True))
    write(tmp_path, row("Relative_Depth", f"Which?\n{listed}", choices, images=1))
    assert BENCHMARK.score(read_one(BENCHMARK, tmp_path), response).prediction == prediction


@pytest.mark.parametrize(
    ("reply", "prediction", "score"),
    [
        ("B", "B", 1.0),
        ("(b).", "B", 1.0),
        ("A", "A", 0.0),
        ("none", None, 0.0),
        ("(Z)", None, 0.0),
        ("C", None, None),  # no option
        ("The answer is B, or rather A", None, None),
        ("__import__('os').exit()", None, None),
        ("", None, None),
    ],
)
def test_a_judge_s_reply_is_the_letter_of_an_option_or_none(tmp_path, reply, prediction, score):
    write(tmp_path, row())
    example, judge = read_one(BENCHMARK, tmp_path), Judge(reply)
    assert BENCHMARK.judge(example, "The left part fits.", judge) == Scored(prediction, score)
    [asked] = judge.asked
    assert "The left part fits." in asked
    assert "(B) the third image" in asked
    assert "<image>" not in asked


def test_a_judge_is_not_asked_where_the_rules_say(tmp_path):
    write(tmp_path, row())
    example, judge = read_one(BENCHMARK, tmp_path), Judge("B")
    assert BENCHMARK.judge(example, "(A)", judge) == Scored("A", 0.0)
    assert BENCHMARK.judge(example, "", judge) == Scored(None, 0.0)
    assert judge.asked == []


def test_the_total_is_the_mean_of_the_tasks(tmp_path):
    write(tmp_path, row(), row(idx="2"), row(idx="3"), row("Art_Style"))
    rows = [*zip(BENCHMARK.read(tmp_path), (1.0, 0.0, 0.5, 1.0), strict=True)]
    assert [task_of(example) for example, _ in rows] == ["Jigsaw"] * 3 + ["Art_Style"]
    assert BENCHMARK.overall(rows) == (0.5 + 1.0) / 2
