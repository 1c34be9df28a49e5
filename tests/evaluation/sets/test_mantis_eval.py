"""Mantis-Eval: its published rows, its two prompts, and what responses score."""

import math

import pyarrow as pa
import pytest

from perl_jax.evaluation.benchmark import Scored
from perl_jax.evaluation.sets.mantis_eval import BENCHMARK
from perl_jax.types import Example
from tests.data.sources.parquet_files import IMAGE
from tests.datasets.published_files import write_parquet
from tests.evaluation.sets.rows import bad_rows, in_all_orders, pictures, pngs, read_one

TEXT = pa.string()
SCHEMA = pa.schema(
    {
        "id": TEXT, "question_type": TEXT, "question": TEXT, "images": pa.list_(IMAGE),
        "options": pa.list_(TEXT), "answer": TEXT, "data_source": TEXT, "category": TEXT,
    }
)  # fmt: skip
OPTIONS = ["(A) Image 1", "(B) Image 2", "(C) Both images"]


def choice(question="<image> <image> Which image has more dogs?", answer="B", **changed):
    columns = {
        "id": "mantis_eval_0", "question_type": "multi-choice", "question": question,
        "images": pictures(0, 1), "options": OPTIONS, "answer": answer,
        "data_source": "web", "category": "counting", **changed,
    }  # fmt: skip
    return [columns[name] for name in SCHEMA.names]


def short(question="How many dogs are in <image> and <image>?", answer="Four", **changed):
    return choice(question, answer, **{"question_type": "short-answer", "options": [], **changed})


def write(folder, *rows):
    return write_parquet(folder / "mantis_eval" / "test-00000-of-00001.parquet", SCHEMA, rows)


def test_a_row_of_multiple_choice_is_its_question_and_its_printed_options(tmp_path):
    write(tmp_path, choice())
    example = read_one(BENCHMARK, tmp_path)
    assert example == Example(
        id="mantis_eval_0",
        source="Mantis-Eval",
        question="<image> <image> Which image has more dogs?",
        images=pngs(0, 1),
        answer="B",
        options=tuple(OPTIONS),
        metadata={
            "task": "counting", "question_type": "multi-choice", "data_source": "web",
            "letters": "ABC", "prepended": 0,
        },
    )  # fmt: skip
    assert BENCHMARK.official(example) == (
        "<image> <image> Which image has more dogs?\n (A) Image 1\n (B) Image 2\n (C) Both images"
        "\nAnswer with the option's letter from the given choices directly."
    )


def test_a_short_answer_is_asked_for_with_its_own_words(tmp_path):
    write(tmp_path, short())
    example = read_one(BENCHMARK, tmp_path)
    assert (example.answer, example.options) == ("Four", ())
    assert BENCHMARK.official(example) == (
        "Given the images, answer the following short answer vqa question:\nQ: How many dogs are "
        "in <image> and <image>?\nYou can first give your analysis, and then give your final "
        'answer as "Final Answer:"'
    )


def test_images_that_the_question_does_not_show_come_before_the_whole_prompt(tmp_path):
    write(tmp_path, choice("Which has more dogs?"), short("How many in <image>?", id="2"))
    first, second = BENCHMARK.read(tmp_path)
    assert first.question == "<image><image>Which has more dogs?"
    assert BENCHMARK.official(first).startswith("<image><image>Which has more dogs?\n (A)")
    assert second.question == "<image>How many in <image>?"
    assert BENCHMARK.official(second).startswith("<image>Given the images, answer")
    assert BENCHMARK.official(second).count("<image>") == 2


def test_options_without_letters_get_them(tmp_path):
    write(tmp_path, choice(options=["a dog", "B. a cat", "a cow"]))
    assert read_one(BENCHMARK, tmp_path).options == ("(A) a dog", "B. a cat", "(C) a cow")


@pytest.mark.parametrize("answer", ["B", "(B)", "(B) Image 2", "B. Image 2", "Image 2"])
def test_the_answer_is_published_in_several_forms(tmp_path, answer):
    write(tmp_path, choice(answer=answer))
    assert read_one(BENCHMARK, tmp_path).answer == "B"


def test_rows_that_cannot_be_used_say_why(tmp_path):
    rows = {
        "bad_question_type": choice(question_type="essay"),
        "no_images": choice(images=[]),
        "image_count": choice("<image>" * 3),
        "question_null": choice(""),
        "bad_options": choice(options=["(A) alone"]),
        "hidden_answer": choice(answer=None),
        "bad_answer": choice(answer="neither"),
        "letter_outside_options": choice(answer="(D)"),
        "answer_null": short(answer=None),
        "id_null": choice(id=None),
    }
    write(tmp_path, *rows.values(), choice(), choice())
    assert bad_rows(BENCHMARK, tmp_path) == [*rows, "mantis_eval_0", "duplicate_id"]


def test_a_category_is_not_needed(tmp_path):
    path = tmp_path / "a.parquet"
    names = [name for name in SCHEMA.names if name not in ("category", "data_source")]
    schema = pa.schema([SCHEMA.field(name) for name in names])
    values = dict(zip(SCHEMA.names, choice(), strict=True))
    write_parquet(path, schema, [[values[name] for name in names]])
    assert read_one(BENCHMARK, path).metadata["task"] is None


def test_a_permuted_row_is_asked_with_its_references_rewritten(tmp_path):
    write(tmp_path, choice("<image> <image> Is the dog in the first image bigger?",
                           options=["(A) Yes", "(B) No"]))  # fmt: skip
    swapped = in_all_orders(read_one(BENCHMARK, tmp_path))[1, 0]
    assert (swapped.answer, swapped.images) == ("B", pngs(1, 0))
    assert BENCHMARK.official(swapped) == (
        "<image> <image> Is the dog in the second image bigger?\n (A) Yes\n (B) No\nAnswer with "
        "the option's letter from the given choices directly."
    )


def test_a_permuted_row_with_images_before_it_keeps_its_prompt(tmp_path):
    write(tmp_path, short("What is on the table in the second image?", answer="a cup"))
    swapped = in_all_orders(read_one(BENCHMARK, tmp_path))[1, 0]
    assert BENCHMARK.official(swapped).startswith(
        "<image><image>Given the images, answer the following short answer vqa question:\nQ: What "
        "is on the table in the first image?\nYou can"
    )


CHOICES = [
    ("B", "B", 1, "the letter"),
    ("b", "B", 1, "officially in any case"),
    ("(B) Image 2", "B", 1, "the option as it is printed"),
    ("A", "A", 0, "another option"),
    ("The answer is B", "B", 1, "officially T, the first letter of all"),
    ("Final Answer: B", "B", 1, "the official form"),
    ("A or C? Final answer: (B)", "B", 1, "only what follows counts"),
    ("Final Answer: A. No. Final Answer: B", "B", 1, "the last one counts"),
    ("Image 2", "B", 1, "the words of the option"),
    ("Both images", "C", 0, "officially B, the first letter of Both"),
    ("a dog", None, 0, "officially A"),
    ("A and B", None, 0, "two letters; officially A"),
    ("A is wrong, so B", "B", 1, "a rejected letter; officially A"),
    ("I think B", "B", 1, "officially I"),
    ("**B**", "B", 1, "Markdown"),
    ("D", None, 0, "no option"),
    ("Neither", None, 0, "no option is named"),
    ("<think>It is A or C</think>B", "B", 1, "thoughts do not count"),
    ("<think>B", None, 0, "cut off in its thoughts"),
    ("\\boxed{B}", "B", 1, "a box"),
    ("Final Answer:", None, 0, "cut off"),
    ("", None, 0, "empty"),
]
SHORTS = [
    ("Final Answer: Four", "four", 1, "the official form"),
    ("four", "four", 1, "no form: all of it"),
    ("There are two and two. Final Answer: four", "four", 1, "what follows counts"),
    ("Final Answer: Four.", "four", 1, "a full stop; officially wrong"),
    ('**Final Answer:** "Four"', "four", 1, "Markdown and quotes; officially wrong"),
    ("The answer is four", "four", 1, "another form"),
    ("4", "4", 0, "officially no other way of writing it"),
    ("Final Answer: four dogs", "four dogs", 0, "officially exact"),
    ("fourteen", "fourteen", 0, "another word"),
    ("Final Answer: three. Final Answer: four", "four", 1, "the last one counts"),
    ("\\boxed{\\text{Four}}", "four", 1, "a box"),
    ("<think>four</think> Final Answer: three", "three", 0, "thoughts do not count"),
    ("<think>Final Answer: four", None, 0, "cut off in its thoughts"),
    ("Final Answer:", None, 0, "cut off"),
    ("", None, 0, "empty"),
]


@pytest.mark.parametrize(
    ("row", "response", "prediction", "score", "reason"),
    [(choice, *one) for one in CHOICES] + [(short, *one) for one in SHORTS],
)
def test_responses_score_as_a_careful_person_scores_them(
    tmp_path, row, response, prediction, score, reason
):
    write(tmp_path, row())
    example = read_one(BENCHMARK, tmp_path)
    assert BENCHMARK.score(example, response) == Scored(prediction, float(score)), reason


def test_brackets_around_a_short_truth_do_not_count(tmp_path):
    write(tmp_path, short(answer="(four)"))
    assert BENCHMARK.score(read_one(BENCHMARK, tmp_path), "four").score == 1.0


def test_the_overall_score_is_the_mean_of_the_rows(tmp_path):
    write(tmp_path, choice(), short(id="2"), short(id="3"))
    rows = [*zip(BENCHMARK.read(tmp_path), (1.0, 0.0, 1.0), strict=True)]
    assert math.isclose(BENCHMARK.overall(rows), 2 / 3)
    assert math.isnan(BENCHMARK.overall([]))
