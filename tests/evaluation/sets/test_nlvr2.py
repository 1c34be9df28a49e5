"""NLVR2: JSON lines with images beside them, the question of the training rows, and scores."""

import json

import pyarrow as pa
import pytest

from perl_jax.evaluation.benchmark import Scored, task_of
from perl_jax.evaluation.sets.nlvr2 import BENCHMARK
from perl_jax.types import Example
from tests.data.sources.parquet_files import IMAGE, digit_png
from tests.datasets.published_files import image, write_parquet
from tests.evaluation.sets.rows import bad_rows, in_all_orders, pngs, read_one

SENTENCE = "The left image contains exactly two dogs."
ASKED = (
    "Answer the following multiple-choice question:\nGiven these 2 images, <image> and <image>. "
    "Here is a statement describing them: {} Is it true or false?\nOptions:\n(A) True\n(B) False"
)


def row(identifier="test1-0-1-0", label="True", sentence=SENTENCE, **changed):
    return {
        "sentence": sentence, "left_url": "http://a", "right_url": "http://b", "label": label,
        "identifier": identifier, "writer": "1", "validation": {"2": "True"}, **changed,
    }  # fmt: skip


def write(folder, *rows, name="test1.json", images="", pairs=("test1-0-1",)):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(one) + "\n" for one in rows))
    (folder / images).mkdir(parents=True, exist_ok=True)
    for pair in pairs:
        for side in (0, 1):
            (folder / images / f"{pair}-img{side}.png").write_bytes(digit_png(side + 3))
    return folder


def test_a_row_is_the_question_of_the_training_rows(tmp_path):
    write(tmp_path, row())
    example = read_one(BENCHMARK, tmp_path)
    assert example == Example(
        id="test1-0-1-0",
        source="NLVR2",
        question=ASKED.format(SENTENCE).removesuffix("\n(A) True\n(B) False"),
        images=pngs(3, 4),
        answer="A",
        options=("(A) True", "(B) False"),
        metadata={"letters": "AB"},
    )
    assert BENCHMARK.official(example) == ASKED.format(SENTENCE)
    assert task_of(example) is None


@pytest.mark.parametrize("name", ["test1.json", "test1.jsonl", "data/test1.json"])
@pytest.mark.parametrize("images", ["", "test1"])
def test_images_are_beside_the_file_or_in_a_folder_of_the_split(tmp_path, name, images):
    (tmp_path / "data").mkdir()
    beside = tmp_path / "data" if name.startswith("data/") else tmp_path
    write(beside, row(), name=name.removeprefix("data/"), images=images)
    assert read_one(BENCHMARK, tmp_path).images == pngs(3, 4)


def test_the_images_of_nested_files_may_stand_at_the_top(tmp_path):
    write(tmp_path, images="test1")
    (tmp_path / "test1.json").unlink()
    write(tmp_path / "data", row(), pairs=())
    assert read_one(BENCHMARK, tmp_path).images == pngs(3, 4)


def test_parquet_files_hold_the_images(tmp_path):
    text = pa.string()
    schema = pa.schema({"identifier": text, "sentence": text, "label": text,
                        "left_image": IMAGE, "right_image": IMAGE})  # fmt: skip
    pictures = [image(png) for png in pngs(3, 4)]
    write_parquet(tmp_path / "a.parquet", schema, [["test1-0-1-0", SENTENCE, "True", *pictures]])
    write(tmp_path / "lines", row())
    assert read_one(BENCHMARK, tmp_path / "a.parquet") == read_one(BENCHMARK, tmp_path / "lines")


def test_rows_that_cannot_be_used_say_why(tmp_path):
    rows = {
        "hidden_answer": row(label=None),
        "bad_answer": row(label="Maybe"),
        "missing_image": row("test1-9-9-0"),
        "bad_identifier": row("test1"),
        "unsafe_path": row("../-0-1-0"),
        "sentence_null": row(sentence=""),
        "image_count": row(sentence="<image> is red"),
        "id_null": row(identifier=None),
    }
    write(tmp_path, *rows.values(), row(), row())
    with open(tmp_path / "test1.json", "a") as file:
        file.write("{no json}\n")
    assert bad_rows(BENCHMARK, tmp_path) == [*rows, "test1-0-1-0", "duplicate_id", "bad_json"]


@pytest.mark.parametrize("label", ["False", "false", False])
def test_the_label_may_be_a_text_or_a_truth_value(tmp_path, label):
    write(tmp_path, row(label=label))
    assert read_one(BENCHMARK, tmp_path).answer == "B"


def test_sides_follow_their_images(tmp_path):
    write(tmp_path, row())
    swapped = in_all_orders(read_one(BENCHMARK, tmp_path))[1, 0]
    assert (swapped.images, swapped.answer) == (pngs(4, 3), "A")
    assert BENCHMARK.official(swapped) == ASKED.format("The right image contains exactly two dogs.")


RESPONSES = [
    ("A", "A", 1, "the letter"),
    ("B", "B", 0, "the other letter"),
    ("(A) True", "A", 1, "the option as it is printed"),
    ("True", "A", 1, "the words of the option"),
    ("true.", "A", 1, "in small letters"),
    ("False", "B", 0, "the other option"),
    ("The statement is true.", "A", 1, "the only truth value that is said"),
    ("It is not true.", "B", 0, "officially right, as the word stands there"),
    ("This is not false.", "A", 1, "officially wrong"),
    ("The statement isn't true", "B", 0, "a denial"),
    ("It is true or false", None, 0, "both"),
    ("True for one image, false for the other", None, 0, "both"),
    ("The answer is A", "A", 1, "prose"),
    ("Option A", "A", 1, "with its noun"),
    ("A dog is in the left image", None, 0, "an article"),
    ("A and B", None, 0, "both letters"),
    ("B is wrong, so A", "A", 1, "a rejected letter"),
    ("untrue", None, 0, "another word; no option"),
    ("yes", None, 0, "of two statements, it does not say which"),
    ("<think>false? (B)?</think> (A)", "A", 1, "thoughts do not count"),
    ("<think>true", None, 0, "cut off in its thoughts"),
    ("\\boxed{\\text{True}}", "A", 1, "a box"),
    ("The answer is", None, 0, "cut off"),
    ("", None, 0, "empty"),
]


@pytest.mark.parametrize(("response", "prediction", "score", "reason"), RESPONSES)
def test_responses_score_as_a_careful_person_scores_them(
    tmp_path, response, prediction, score, reason
):
    write(tmp_path, row())
    example = read_one(BENCHMARK, tmp_path)
    assert BENCHMARK.score(example, response) == Scored(prediction, float(score)), reason


def test_consistency_asks_for_all_pairs_of_a_sentence_and_for_all_sentences_of_a_pair(tmp_path):
    ids = ["test1-0-0-0", "test1-0-1-0", "test1-0-0-1", "test1-0-1-1", "test1-7-0-0"]
    write(tmp_path, *(row(id) for id in ids), pairs=[id.rpartition("-")[0] for id in ids])
    # Set 0, rows by pair and sentence: pair 0 is right on both; sentence 0 on pair 0 only.
    rows = [*zip(BENCHMARK.read(tmp_path), (1.0, 0.0, 1.0, 1.0, 0.0), strict=True)]
    assert BENCHMARK.overall(rows) == 0.6
    # Sentences: set 0 sentence 0 is not, sentence 1 is; set 7 is not. Pairs: 0 is, 1 and 7 not.
    assert BENCHMARK.more(rows) == {"consistency": 1 / 3, "pair_consistency": 1 / 3}
    rows[1] = (rows[1][0], 1.0)
    rows[0] = (rows[0][0], 0.0)
    rows[2] = (rows[2][0], 0.0)
    # Both sentences fail on pair 0, and pair 1 is right on both.
    assert BENCHMARK.more(rows) == {"consistency": 0.0, "pair_consistency": 1 / 3}
