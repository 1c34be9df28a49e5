"""MuirBench: its published rows, its prompt, and what responses score."""

import pyarrow as pa
import pytest

from perl_jax.evaluation.benchmark import Scored
from perl_jax.evaluation.sets.muirbench import BENCHMARK
from perl_jax.permutation.layout import movable_slots
from perl_jax.permutation.refusal import CannotPermute
from perl_jax.permutation.sources import rule_for
from perl_jax.types import Example
from tests.data.sources.parquet_files import IMAGE
from tests.datasets.published_files import write_parquet
from tests.evaluation.sets.rows import bad_rows, in_all_orders, pictures, pngs, read_one

TEXT = pa.string()
SCHEMA = pa.schema(
    {
        "idx": TEXT, "task": TEXT, "image_relation": TEXT, "image_type": TEXT, "question": TEXT,
        "options": pa.list_(TEXT), "answer": TEXT, "image_list": pa.list_(IMAGE),
        "counterpart_idx": TEXT,
    }
)  # fmt: skip
QUESTION = "<image> Which picture shows the same digit?"
SHOWN = ["<image>", "<image>", "<image>", "None of the choices provided"]
TEXTS = ["a brown dog", "a cat", "a vitamin C pill", "None of the choices provided"]


def row(question=QUESTION, options=SHOWN, answer="B", images=4, **changed):
    columns = {
        "idx": "7", "task": "Image-Text Matching", "image_relation": "Independent",
        "image_type": "Photography", "question": question, "options": options, "answer": answer,
        "image_list": pictures(*range(images)), "counterpart_idx": "8", **changed,
    }  # fmt: skip
    return [columns[name] for name in SCHEMA.names]


def write(folder, *rows):
    return write_parquet(folder / "data" / "test-00000-of-00002.parquet", SCHEMA, rows)


def test_a_row_is_its_question_and_options_with_images_in_reading_order(tmp_path):
    write(tmp_path, row())
    example = read_one(BENCHMARK, tmp_path)
    assert example == Example(
        id="7",
        source="MuirBench",
        question=QUESTION,
        images=pngs(0, 1, 2, 3),
        answer="B",
        options=(
            "(A) <image>", "(B) <image>", "(C) <image>", "(D) None of the choices provided",
        ),
        metadata={
            "task": "Image-Text Matching", "letters": "ABCD", "image_relation": "Independent",
            "image_type": "Photography", "counterpart_idx": "8",
        },
    )  # fmt: skip
    assert BENCHMARK.official(example) == (
        "Question: <image> Which picture shows the same digit?\nChoices:\n(A) <image>\n(B) <image>"
        "\n(C) <image>\n(D) None of the choices provided\nHint: Please provide the correct option "
        "letter, such as A, B, C, D, directly.\nAnswer:"
    )


def test_rows_that_cannot_be_used_say_why(tmp_path):
    rows = {
        "image_count": row(images=3),
        "no_images": row(image_list=[]),
        "bad_options": row(options=["one"]),
        "letter_outside_options": row(answer="E"),
        "bad_answer": row(answer="BB"),
        "hidden_answer": row(answer=None),
        "task_null": row(task=None),
        "question_null": row(question=None),
        "missing_image": row(image_list=[*pictures(0, 1, 2), {"bytes": None, "path": None}]),
    }
    write(tmp_path, *rows.values(), row())
    assert bad_rows(BENCHMARK, tmp_path) == [*rows, "7"]


def test_the_letter_follows_its_image_and_none_of_them_stays(tmp_path):
    write(tmp_path, row(), row(idx="8", answer="D"))
    shown, unanswerable = BENCHMARK.read(tmp_path)
    orders = in_all_orders(shown)
    assert len(orders) == 6
    for one in orders.values():
        assert one.images[1 + "ABC".index(one.answer)] == pngs(2)[0]
        assert BENCHMARK.official(one) == BENCHMARK.official(shown)
        assert BENCHMARK.score(one, one.answer).score == 1.0
    assert {one.answer for one in in_all_orders(unanswerable).values()} == {"D"}


@pytest.mark.parametrize("task", ["Ordering", "Action Understanding", "Cartoon Understanding"])
def test_tasks_with_an_order_are_never_permuted(tmp_path, task):
    write(tmp_path, row(task=task))
    example = read_one(BENCHMARK, tmp_path)
    with pytest.raises(CannotPermute) as error:
        movable_slots(example, rule_for(example))
    assert error.value.reason == "temporal"


RESPONSES = [
    ("B", "B", 1, "the letter"),
    ("b", "B", 1, "officially drawn at random"),
    ("(B)", "B", 1, "in brackets"),
    ("B.", "B", 1, "officially stripped"),
    ("A", "A", 0, "another option"),
    ("The answer is B, because of its fur", "B", 1, "officially drawn, for its comma"),
    ("(A) is too big and (B) is not", "A", 0, "the other one is rejected; officially B"),
    ("(A) is brown. (B) is black.", "B", 1, "officially the last letter in brackets"),
    ("A is brown. Here B is black", "B", 1, "officially the last letter between spaces"),
    ("It is (B) but option C is near", "B", 1, "brackets count before bare letters"),
    ("A and B", None, 0, "two letters at once; officially B"),
    ("A dog", None, 0, "an article; officially A"),
    ("a dog", None, 0, "an article"),
    ("A is wrong, so B", "B", 1, "a rejected letter"),
    ("The answer is B. (A) is brown.", "B", 1, "its answer goes before what it mentions"),
    ("a cat", "B", 1, "the words of an option alone; officially drawn"),
    ("I can see that it shows a cat on a mat", "B", 1, "words in more than five words"),
    ("There is a catalogue on the big table", None, 0, "no whole words; officially B"),
    ("it is a cat and then a brown dog", "A", 0, "officially the words that stand last"),
    ("it shows a vitamin C pill on a plate", "C", 0, "the letter is part of a name"),
    ("None of the choices provided", "D", 0, "the words of the last option"),
    ("E", None, 0, "no option"),
    ("I cannot tell from these pictures at all", None, 0, "officially drawn"),
    ("<think>(A) or (D)</think>B", "B", 1, "thoughts do not count"),
    ("<think>B", None, 0, "cut off in its thoughts"),
    ("\\boxed{B}", "B", 1, "a box"),
    ("\\boxed{", None, 0, "cut off in its box"),
    ("", None, 0, "empty; officially drawn"),
]


@pytest.mark.parametrize(("response", "prediction", "score", "reason"), RESPONSES)
def test_responses_score_as_a_careful_person_scores_them(
    tmp_path, response, prediction, score, reason
):
    write(tmp_path, row("<image> What is here?", TEXTS, images=1))
    example = read_one(BENCHMARK, tmp_path)
    assert BENCHMARK.score(example, response) == Scored(prediction, float(score)), reason


def test_the_overall_score_is_the_mean_of_the_rows(tmp_path):
    write(tmp_path, row(), row(idx="8", task="Ordering"), row(idx="9", task="Ordering"))
    rows = [*zip(BENCHMARK.read(tmp_path), (1.0, 0.0, 1.0), strict=True)]
    assert BENCHMARK.overall(rows) == 2 / 3
