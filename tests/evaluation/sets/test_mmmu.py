"""MMMU: its published rows, its two prompts, and what responses score."""

import json

import pyarrow as pa
import pytest

from perl_jax.evaluation.benchmark import Scored
from perl_jax.evaluation.sets.mmmu import BENCHMARK
from perl_jax.types import Example
from tests.data.sources.parquet_files import IMAGE, digit_png
from tests.datasets.published_files import write_parquet
from tests.evaluation.sets.rows import bad_rows, in_all_orders, pictures, pngs, read_one

TEXT = pa.string()
SCHEMA = pa.schema(
    {
        "id": TEXT, "question": TEXT, "options": TEXT, "explanation": TEXT,
        **{f"image_{n}": IMAGE for n in range(1, 8)}, "img_type": TEXT, "answer": TEXT,
        "topic_difficulty": TEXT, "question_type": TEXT, "subfield": TEXT,
    }
)  # fmt: skip


def row(
    question="<image 1> What is the company's 'cost'?",
    options="['$6', '$7', '$8', \"the board's $9\"]",
    answer="B",
    images=1,
    **changed,
):
    columns = {
        "id": "validation_Accounting_1", "question": question, "options": options,
        "explanation": "", "img_type": "['Tables']", "answer": answer, "topic_difficulty": "Easy",
        "question_type": "multiple-choice", "subfield": "Financial Accounting",
        **{f"image_{n}": pictures(n)[0] if n <= images else None for n in range(1, 8)}, **changed,
    }  # fmt: skip
    return [columns[name] for name in SCHEMA.names]


def open_row(answer="8.5", question="Find the area in <image 1>.", **changed):
    return row(question, "[]", answer, **{"question_type": "open", **changed})


def write(folder, *rows, name="Accounting/validation-00000-of-00001.parquet"):
    return write_parquet(folder / name, SCHEMA, rows)


def test_a_row_is_its_question_and_lettered_options(tmp_path):
    write(tmp_path, row())
    example = read_one(BENCHMARK, tmp_path)
    assert example == Example(
        id="validation_Accounting_1",
        source="MMMU",
        question="<image> What is the company's 'cost'?",
        images=pngs(1),
        answer="B",
        options=("(A) $6", "(B) $7", "(C) $8", "(D) the board's $9"),
        metadata={
            "task": "Accounting", "question_type": "multiple-choice", "letters": "ABCD",
            "answers": (),
        },
    )  # fmt: skip
    assert BENCHMARK.official(example) == (
        "<image> What is the company's 'cost'?\n(A) $6\n(B) $7\n(C) $8\n(D) the board's $9\n\n"
        "Answer with the option's letter from the given choices directly."
    )


def test_an_open_question_asks_for_a_word_or_phrase(tmp_path):
    write(tmp_path, open_row())
    example = read_one(BENCHMARK, tmp_path)
    assert (example.answer, example.options) == ("8.5", ())
    assert BENCHMARK.official(example) == (
        "Find the area in <image>.\nAnswer the question using a single word or phrase."
    )


@pytest.mark.parametrize(
    ("id", "subject"),
    [
        ("validation_Art_Theory_12", "Art_Theory"),
        ("dev_Diagnostics_and_Laboratory_Medicine_3", "Diagnostics_and_Laboratory_Medicine"),
        ("test_Math_301", "Math"),
    ],
)
def test_the_subject_is_read_from_the_id(tmp_path, id, subject):
    write(tmp_path, row(id=id))
    assert read_one(BENCHMARK, tmp_path).metadata["task"] == subject


@pytest.mark.parametrize(
    ("question", "options", "images", "texts", "shown"),
    [
        ("<image 2> or <image 1>?", "['a', 'b']", 2, "<image> or <image>?", (2, 1)),
        ("Which?", "['<image 1>', '<image 2>']", 2, "Which?|(A) <image>|(B) <image>", (1, 2)),
        ("See <image 2>.", "['a', 'b']", 3, "<image><image>See <image>.", (1, 3, 2)),
        # An image that is shown twice keeps numbers, of the new order.
        ("<image 2> <image 1> <image 2>", "['a', 'b']", 2, "<image 1> <image 2> <image 1>", (2, 1)),
        ("None?", "['a', 'b']", 1, "<image>None?", (1,)),
    ],
)
def test_images_stand_in_the_order_of_their_tags(tmp_path, question, options, images, texts, shown):
    write(tmp_path, row(question, options, images=images))
    example = read_one(BENCHMARK, tmp_path)
    assert "|".join((example.question, *example.options)).startswith(texts)
    assert example.images == pngs(*shown)


def test_the_letter_follows_its_image(tmp_path):
    shown = "['<image 2>', '<image 3>', '<image 4>']"
    write(tmp_path, row("<image 1> Which fits?", shown, images=4))
    example = read_one(BENCHMARK, tmp_path)
    orders = in_all_orders(example)
    assert len(orders) == 6
    for one in orders.values():
        assert one.images[1 + "ABC".index(one.answer)] == digit_png(3)
        assert BENCHMARK.official(one) == BENCHMARK.official(example)


def test_rows_that_cannot_be_used_say_why(tmp_path):
    rows = {
        "hidden_answer": row(answer="?"),
        "letter_outside_options": row(answer="E"),
        "bad_answer": row(answer="seven"),
        "no_images": row(images=0),
        "image_count": row("<image 2>?"),
        "bad_id": row(id="Accounting"),
        "bad_question_type": row(question_type="essay"),
        "question_null": row(""),
        "bad_options": row(options="__import__('os').abort()"),
        "id_null": row(id=None),
    }
    write(tmp_path, *rows.values(), open_row(answer="?"), open_row("", id="validation_Art_1"))
    assert bad_rows(BENCHMARK, tmp_path) == [*rows, "hidden_answer", "hidden_answer"]


@pytest.mark.parametrize(
    "options",
    [
        "['a', 'b'", "['a'] + ['b']", "[open('x')]", "[['a'], ['b']]", "{'a': 1}", "a, b", "['a']",
        "[" * 5000, "[" + "-" * 15_000 + "1, 2]", "['" + "a" * 30_000 + "', 'b']", None,
    ],
)  # fmt: skip
def test_options_that_are_no_list_of_texts_are_bad_and_never_run(tmp_path, options):
    write(tmp_path, row(options=options))
    assert bad_rows(BENCHMARK, tmp_path) == ["bad_options"]


def test_an_open_question_may_have_several_right_answers(tmp_path):
    write(tmp_path, open_row("['circle', 'a disc']"))
    example = read_one(BENCHMARK, tmp_path)
    assert (example.answer, example.metadata["answers"]) == ("circle", ("circle", "a disc"))
    scores = [BENCHMARK.score(example, said).score for said in ("A disc", "circle", "square")]
    assert scores == [1.0, 1.0, 0.0]


def test_json_may_hold_lists(tmp_path):
    columns = dict(zip(SCHEMA.names, open_row(), strict=True))
    (tmp_path / "1.png").write_bytes(digit_png(1))
    row = {**columns, "answer": ["4", 8.5], "options": [], "image_1": "1.png"}
    (tmp_path / "a.json").write_text(json.dumps([row]))
    assert read_one(BENCHMARK, tmp_path).metadata["answers"] == ("4", "8.5")


CHOICES = [
    ("B", "B", 1, "the letter"),
    ("(B)", "B", 1, "in brackets"),
    ("B.", "B", 1, "officially stripped"),
    ("C", "C", 0, "another option"),
    ("The answer is B, as costs fall", "B", 1, "officially drawn, for its comma"),
    ("(A) is low. (B) fits.", "B", 1, "officially the last letter in brackets"),
    ("A company pays", None, 0, "an article; officially A"),
    ("A and B", None, 0, "two letters at once; officially B"),
    ("not B", None, 0, "a rejected letter; officially B"),
    ("$7", "B", 1, "the words of an option alone; officially drawn"),
    ("From this we see the cost must be $7 now", "B", 1, "the words stand last"),
    ("From this we see the cost must be $75", None, 0, "no whole words; officially B"),
    ("the board's $9", "D", 0, "the words of another option"),
    ("Sorry, I do not know what this is.", None, 0, "officially drawn"),
    ("<think>(A)</think>(B)", "B", 1, "thoughts do not count"),
    ("<think>B", None, 0, "cut off in its thoughts"),
    ("\\boxed{B}", "B", 1, "a box"),
    ("", None, 0, "empty; officially drawn"),
]
OPEN = [
    ("8.5", "8.5", "8.5", 1, "the number"),
    ("8.5", "8.50", "8.50", 1, "officially numbers are compared"),
    ("8.5", "8.502", "8.502", 1, "officially rounded to two places"),
    ("8.5", "8.51", "8.51", 0, "another number"),
    ("8.5", "The area is 8.5 square units.", "8.5 square units", 1, "a number with its unit"),
    ("8.5", "The area is 8.5, as the base is 2", "2", 0, "the last tail is read"),
    ("8.5", "The area is 8.5, roughly", "8.5, roughly", 1, "officially 8 is read, for the comma"),
    ("8.5", "x = 2\nso the area = 8.5", "8.5", 1, "an equation counts in the last line"),
    ("8.5", "x = 8.5\nthe area = 2", "2", 0, "but not before it"),
    ("1,200", "It is 1200", "1200", 1, "commas of thousands"),
    ("1200", "It costs 1,200 dollars", "it costs 1,200 dollars", 1, "commas of thousands"),
    ("1200", "1.2e3", "1.2e3", 1, "scientific notation"),
    ("8.5", "-8.5", "-8.5", 0, "another sign"),
    ("Ionic", "the bond is ionic", "ionic", 1, "officially in any case"),
    ("no", "nothing", "nothing", 0, "no whole word; officially right"),
    ("no", "No.", "no", 1, "the word"),
    ("x", "axis", "axis", 0, "a letter within a word"),
    ("x", "it is x", "x", 1, "a letter by itself"),
    ("$5", "The price is \\$5", "5", 1, "LaTeX"),
    ("8.5", "<think>9</think>\\boxed{8.5}", "8.5", 1, "a box"),
    ("8.5", "<think> it is 8.5", None, 0, "cut off in its thoughts"),
    ("8.5", "", None, 0, "empty"),
    ("8.5", "...", None, 0, "no text"),
    ("nan", "inf", "inf", 0, "words that float() reads"),
]


@pytest.mark.parametrize(("response", "prediction", "score", "reason"), CHOICES)
def test_letters_score_as_a_careful_person_scores_them(
    tmp_path, response, prediction, score, reason
):
    write(tmp_path, row())
    example = read_one(BENCHMARK, tmp_path)
    assert BENCHMARK.score(example, response) == Scored(prediction, float(score)), reason


@pytest.mark.parametrize(("truth", "response", "prediction", "score", "reason"), OPEN)
def test_open_answers_score_by_the_official_rule(
    tmp_path, truth, response, prediction, score, reason
):
    write(tmp_path, open_row(truth))
    example = read_one(BENCHMARK, tmp_path)
    assert BENCHMARK.score(example, response) == Scored(prediction, float(score)), reason


def test_long_numbers_are_read_quickly(tmp_path):
    write(tmp_path, open_row())
    assert BENCHMARK.score(read_one(BENCHMARK, tmp_path), "1" * 100_000).score == 0.0
