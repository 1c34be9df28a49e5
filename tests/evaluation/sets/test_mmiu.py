"""MMIU: its parquet and JSON, its two prompts, and what responses score."""

import json

import pyarrow as pa
import pytest

from perl_jax.data.sources.source import BadRow
from perl_jax.evaluation.benchmark import Scored
from perl_jax.evaluation.sets.mmiu import BENCHMARK
from perl_jax.permutation.layout import movable_slots
from perl_jax.permutation.refusal import CannotPermute
from perl_jax.permutation.sources import rule_for
from perl_jax.types import Example
from tests.data.sources.parquet_files import digit_png
from tests.datasets.published_files import write_parquet, write_zip
from tests.evaluation.sets.rows import Judge, bad_rows, in_all_orders, pngs, read_one

TEXT = pa.string()
SCHEMA = pa.schema(
    {
        "task": TEXT, "visual_input_component": TEXT, "source": TEXT, "options": TEXT,
        "question": TEXT, "context": TEXT, "input_image_path": pa.list_(TEXT), "output": TEXT,
    }
)  # fmt: skip
FOLDER = "High-level-obj-semantic"
OPTIONS = "A: The second image\nB: The third image\nC: The fourth image"
RETRIEVAL = (
    "Please retrieve the most similar image to the Query Image in the candidate Images.The query "
    "image is the first image."
)
CHOICES = f"Select from the following choices.\n{OPTIONS}"
BLINK = (
    "You are a judge in a photography competition, and now you are given the four images. Please "
    "examine the details and tell which one of them is most likely to be a real photograph.\n"
    "Select from the following choices.\nA: the first image\nB: the second image\nC: the third "
    "image\nD: the fourth image\n"
)
SUFFIX = "\nPlease answer the option directly like A,B,C,D..."


def row(task="sketch2image_retrieval", output="B", images=4, folder=FOLDER, **changed):
    paths = [f"./{folder}/{task}/{task}_0_{n}.png" for n in range(images)]
    return {
        "task": task, "visual_input_component": "['natural_image']", "source": "DomainNet",
        "options": OPTIONS, "question": RETRIEVAL, "context": CHOICES,
        "input_image_path": paths, "output": output, **changed,
    }  # fmt: skip


def write(folder, *rows, images=True):
    for one in rows if images else ():
        for number, path in enumerate(one["input_image_path"] or ()):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(digit_png(number))
    values = [[one[name] for name in SCHEMA.names] for one in rows]
    return write_parquet(folder / "all.parquet", SCHEMA, values)


def test_a_row_shows_its_images_then_question_then_context(tmp_path):
    write(tmp_path, row())
    example = read_one(BENCHMARK, tmp_path)
    asked = f"<image><image><image><image>{RETRIEVAL}\n{CHOICES}"
    task = "sketch2image_retrieval"
    assert example == Example(
        id="0",
        source="MMIU",
        question=asked,
        images=pngs(0, 1, 2, 3),
        answer="B",
        metadata={"task": task, "letters": "ABC"},
    )
    assert BENCHMARK.official(example) == asked + SUFFIX


def test_the_context_stands_first_in_other_tasks(tmp_path):
    changed = {"question": "Which image is real?", "context": BLINK}
    write(tmp_path, row("forensic_detection_blink", options=None, **changed))
    example = read_one(BENCHMARK, tmp_path)
    assert example.metadata["letters"] == "ABCD"
    assert BENCHMARK.official(example) == (
        "<image>" * 4 + BLINK + "\nWhich image is real?" + SUFFIX
    )


def test_the_nested_json_reads_as_the_parquet(tmp_path):
    write(tmp_path / "flat", row())
    write(tmp_path / "nested", row())
    (tmp_path / "nested" / "all.parquet").unlink()
    flat = row()
    asked = {name: flat.pop(name) for name in ("question", "context", "input_image_path")}
    nested = {**flat, "input": asked, "output": {"output_text": flat["output"]}}
    (tmp_path / "nested" / "all.json").write_text(json.dumps([nested]))
    assert read_one(BENCHMARK, tmp_path / "nested") == read_one(BENCHMARK, tmp_path / "flat")


@pytest.mark.parametrize("where", ["packed", "one folder", "folder of the zip"])
def test_images_are_found_however_the_zip_files_were_unpacked(tmp_path, where):
    paths = row()["input_image_path"]
    write(tmp_path, row(), images=where == "folder of the zip")
    members = {path.removeprefix(f"./{FOLDER}/"): n for n, path in enumerate(paths)}
    if where == "packed":
        write_zip(tmp_path / f"{FOLDER}.zip", members)
    if where == "one folder":
        for name, number in members.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(digit_png(number))
    assert read_one(BENCHMARK, tmp_path).images == pngs(0, 1, 2, 3)


def test_rows_are_numbered_over_all_rows_and_bad_ones_say_why(tmp_path):
    rows = [
        row(),
        row(output=None),
        row(input_image_path=[]),
        row(input_image_path=["./../x.png"]),
        row(question="", context=""),
        row(output="twelve"),
        row(task=None, input_image_path=row()["input_image_path"]),
        row(images=2, output="c"),
    ]
    write(tmp_path, *rows[:3], rows[4], rows[5], row(task="x"), rows[7])
    write(tmp_path, *rows, images=False)
    assert bad_rows(BENCHMARK, tmp_path) == [
        "0", "hidden_answer", "no_images", "unsafe_path", "empty_prompt", "bad_answer",
        "task_null", "7",
    ]  # fmt: skip


def test_a_missing_image_is_named_by_its_published_path(tmp_path):
    write(tmp_path, row(), images=False)
    error = read_one(BENCHMARK, tmp_path)
    assert isinstance(error, BadRow)
    assert error.reason == "missing_image"
    assert f"{FOLDER}/sketch2image_retrieval/sketch2image_retrieval_0_0.png" in error.message


def test_a_truth_outside_the_options_is_kept(tmp_path):
    write(tmp_path, row(output="E"))
    example = read_one(BENCHMARK, tmp_path)
    assert (example.answer, example.metadata["letters"]) == ("E", "ABC")
    assert BENCHMARK.score(example, "E") == Scored("E", 1.0)
    assert BENCHMARK.score(example, "B") == Scored("B", 0.0)


def test_candidates_take_their_letters_along_in_all_orders(tmp_path):
    write(tmp_path, row())
    orders = in_all_orders(read_one(BENCHMARK, tmp_path))
    assert len(orders) == 6
    for order, one in orders.items():
        assert order[0] == 0
        assert one.images["ABC".index(one.answer) + 1] == digit_png(2)
        assert BENCHMARK.official(one) == BENCHMARK.official(orders[0, 1, 2, 3])


@pytest.mark.parametrize("task", ["person_reid", "face_retrieval", "vehicle_retrieval"])
def test_what_is_like_the_query_is_found_among_permuted_candidates(tmp_path, task):
    question = (
        "Please retrieve the most similar person to the query in the candidate.The query image is "
        "the first image."
    )
    write(tmp_path, row(task, question=question))
    for one in in_all_orders(read_one(BENCHMARK, tmp_path)).values():
        assert one.images[0] == digit_png(0)
        assert one.images["ABC".index(one.answer) + 1] == digit_png(2)


def test_the_real_photograph_takes_its_letter_along_where_the_question_stands_last(tmp_path):
    changed = {"question": "Which image is most likely to be a real photograph?", "context": BLINK}
    write(tmp_path, row("forensic_detection_blink", **changed))
    orders = in_all_orders(read_one(BENCHMARK, tmp_path))
    assert len(orders) == 24
    assert all(one.images["ABCD".index(one.answer)] == digit_png(1) for one in orders.values())


@pytest.mark.parametrize(
    ("task", "context", "changed"),
    [
        (
            "visually_grounded_reasoning_nlvr2",
            "At least one of the dogs in the image on the right is wearing a Santa hat. Is it true "
            "or false? Select from the following options.\nA: true\nB: false\n",
            "At least one of the dogs in the image on the left is wearing a Santa hat.",
        ),
        (
            "visual_correspondence_blink",
            "A point is circled on the first image, labeled with REF. We change the camera "
            "position or lighting and shoot the second image. You are given multiple red-circled "
            'points on the second image, choices of "A, B, C, D" are drawn beside each circle. '
            "Which point on the second image corresponds to the point in the first image? Select "
            "from the following options.\nA: Point A\nB: Point B\nC: Point C\nD: Point D",
            "You are given multiple red-circled points on the first image",
        ),
    ],
)
def test_places_in_the_context_are_rewritten(tmp_path, task, context, changed):
    write(tmp_path, row(task, images=2, context=context, question="Which is it?", options=None))
    swapped = in_all_orders(read_one(BENCHMARK, tmp_path))[1, 0]
    assert swapped.answer == "B"
    assert changed in BENCHMARK.official(swapped)


@pytest.mark.parametrize(
    ("task", "why"), [("temporal_ordering", "temporal"), ("point_tracking", "tracking")]
)
def test_tasks_with_an_order_are_never_permuted(tmp_path, task, why):
    write(tmp_path, row(task))
    example = read_one(BENCHMARK, tmp_path)
    with pytest.raises(CannotPermute) as error:
        movable_slots(example, rule_for(example))
    assert error.value.reason == why


OPEN = object()

RESPONSES = [
    ("B", "B", 1, "the letter alone"),
    ("b", "B", 1, "officially compared in small letters"),
    ("(B).", "B", 1, "officially punctuation is stripped"),
    ("B: The third image", "B", 1, "the option as it is printed"),
    ("A", "A", 0, "another option"),
    ("N", "N", 0, "officially letters up to N are choices, though none here"),
    ("Z", None, OPEN, "no choice; the judge is official"),
    ("The answer is B.", "B", 1, "prose"),
    ("**Answer:** B", "B", 1, "Markdown"),
    ("A is wrong, so B", "B", 1, "a rejected letter"),
    ("A and B", None, OPEN, "two letters"),
    ("The third image", "B", 1, "the words of the option"),
    ("the fourth image.", "C", 0, "the words of another option"),
    ("It is the one that shows a cat.", None, OPEN, "no option is named"),
    ("a cat", None, OPEN, "an article is no option"),
    ("a", "A", 0, "a letter alone is one in any case"),
    ("A,B,C,D...", None, OPEN, "the instruction repeated"),
    ("\xa0B\xa0", "B", 1, "officially such spaces are dropped"),
    ("<think>A? C?</think>B", "B", 1, "thoughts do not count"),
    ("<think>B", None, 0, "cut off in its thoughts"),
    ("\\boxed{B}", "B", 1, "a box"),
    ("A, no: \\boxed{B. The third image}", "B", 1, "the box counts"),
    ("", None, 0, "officially an empty answer is Z, which no row has"),
    ("  \n", None, 0, "empty"),
    ("image error", None, OPEN, "words that are no choice"),
]


@pytest.mark.parametrize(("response", "prediction", "score", "reason"), RESPONSES)
def test_responses_score_as_a_careful_person_scores_them(
    tmp_path, response, prediction, score, reason
):
    write(tmp_path, row())
    wanted = Scored(prediction, None if score is OPEN else float(score))
    assert BENCHMARK.score(read_one(BENCHMARK, tmp_path), response) == wanted, reason


def test_a_judge_reads_what_the_rules_leave_open(tmp_path):
    write(tmp_path, row())
    example = read_one(BENCHMARK, tmp_path)
    said = "It is the one that shows a cat."
    for reply, wanted in (
        ("B", Scored("B", 1.0)),
        ("C", Scored("C", 0.0)),
        ("Z", Scored(None, 0.0)),
        ("E", Scored(None, None)),
        ("B is right", Scored(None, None)),
    ):
        assert BENCHMARK.judge(example, said, Judge(reply)) == wanted
    judge = Judge("B")
    assert BENCHMARK.judge(example, "C", judge) == Scored("C", 0.0)
    assert judge.asked == []


def test_the_overall_score_is_the_mean_of_the_tasks(tmp_path):
    write(tmp_path, row(), row(), row("spot_the_diff"))
    rows = [*zip(BENCHMARK.read(tmp_path), (1.0, 0.0, 1.0), strict=True)]
    assert BENCHMARK.overall(rows) == 0.75
