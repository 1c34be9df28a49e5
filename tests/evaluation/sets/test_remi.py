"""ReMI: what is read, what is asked, and the score of responses."""

import pyarrow as pa
import pytest

from perl_jax.evaluation.sets.remi import BENCHMARK as REMI
from perl_jax.permutation import CannotPermute, movable_slots, permute, rule_for
from perl_jax.processing import read_conversation
from perl_jax.types import Example
from tests.data.sources.parquet_files import IMAGE, digit_png
from tests.datasets.published_files import TEXT, image, reasons, write_parquet
from tests.evaluation.sets.asking import scored

_SCHEMA = pa.schema(
    {"task": TEXT, "question": TEXT, **{f"image_{n}": IMAGE for n in range(1, 7)}, "label": TEXT}
)
_IQ = (
    "Below is an IQ test <image1>. From the possible options A, B, C, and D shown in the following "
    "images in order <image2> <image3> <image4> <image5>, which one logically belongs to the spot "
    "of the question mark?"
)
_GRAPHS = "<image1><image2> Are the two graphs isomorphic?"


def row(task, question, count, label):
    images = [image(digit_png(n)) for n in range(count)] + [None] * (6 - count)
    return [task, question, *images, label]


def read(tmp_path, *rows):
    return list(REMI.read(write_parquet(tmp_path / "test.parquet", _SCHEMA, rows)))


def example(task="Charts", label="7", question="<image1> and <image2>?", count=2):
    images = tuple(bytes([n]) for n in range(count))
    return Example("0", REMI.source, question, images, label, metadata={"task": task})


def test_rows_are_numbered_from_0_and_hold_the_images_at_their_tags(tmp_path):
    rows = [row("IQ", _IQ, 5, "C"), row("Isomorphism", _GRAPHS, 2, "1")]
    found = read(tmp_path, *rows)
    assert [one.id for one in found] == ["0", "1"]
    assert [one.metadata["task"] for one in found] == ["IQ", "Isomorphism"]
    assert found[0].images == tuple(digit_png(n) for n in range(5))
    assert found[0].question == _IQ
    assert [one.answer for one in found] == ["C", "1"]


def test_bad_rows_are_named_and_take_their_number(tmp_path):
    rows = [
        row("Charts", "<image1> <image2> <image3>?", 2, "1"),
        row("Charts", "<image1>?", 2, "1"),
        row("Chess", "<image1>?", 1, "1"),
        row("Charts", "<image1>?", 1, ""),
        row("Charts", "<image1>?", 1, "1"),
    ]
    assert reasons(read(tmp_path, *rows)) == [
        ("test.parquet:0", "image_count"),
        ("test.parquet:1", "image_count"),
        ("test.parquet:2", "bad_task"),
        ("test.parquet:3", "label_null"),
        "4",
    ]


def test_columns_of_images_may_be_missing(tmp_path):
    schema = pa.schema({"task": TEXT, "question": TEXT, "image_1": IMAGE, "label": TEXT})
    path = write_parquet(
        tmp_path / "a.parquet", schema, [["Clocks", "<image1>?", image(digit_png(1)), "9"]]
    )
    (found,) = REMI.read(path)
    assert found.images == (digit_png(1),)


@pytest.mark.parametrize(
    ("task", "ending"),
    [
        ("Clocks", "The answer field contains the numeric value corresponding to your final "
         "answer."),
        ("Collisions", "answer. If it is a yes or no question, the answer field must be 0 for no "
         "and 1 for yes."),
        ("Maps", "The answer field contains a string corresponding to your final answer."),
        ("IQ", "a string corresponding to your final choice."),
        ("Charts", "contains a string or numerical value corresponding to your final answer."),
        ("FuncRead", "contains a string or numeric value corresponding to your final answer."),
        ("CodeEdit", "contains the line of code corresponding to your final answer."),
        ("Isomorphism", "must be 1 if the two graphs are isomorphic and 0 otherwise."),
    ],
)  # fmt: skip
def test_the_prompt_ends_with_the_clause_of_the_task(task, ending):
    asked = REMI.official(example(task))
    assert asked.startswith("Question: <image> and <image>? Output only a valid JSON string with ")
    assert asked.endswith(ending)


def test_tags_out_of_order_keep_the_image_that_each_of_them_shows():
    swapped = example(question="Is <image2> like <image1>, or <image2>?")
    asked = REMI.official(swapped)
    assert "Is <image2> like <image1>, or <image2>?" in asked
    assert read_conversation(asked, ["first", "second"]).shown == (1, 0, 1)


def test_every_task_has_a_clause_and_a_rule():
    tasks = (
        "Clocks EmojiAlgebra GeomShape GeomCost RefCoco Collisions Schedule Maps IQ Charts FuncRead"
        " CodeEdit Isomorphism"
    )
    for task in tasks.split():
        assert REMI.official(example(task))
        assert rule_for(example(task))


def test_the_options_of_an_iq_test_move_and_the_letter_follows():
    asked = example("IQ", "C", _IQ, 5)
    rule = rule_for(asked)
    assert movable_slots(asked, rule) == (1, 2, 3, 4)
    moved = permute(asked, (0, 3, 4, 2, 1), rule)
    assert (moved.answer, moved.images[1]) == ("A", asked.images[3])  # old C stands at A
    assert REMI.official(moved) == REMI.official(asked)
    assert scored(REMI, moved, '{"answer": "A"}') == ("A", 1.0)
    assert scored(REMI, moved, '{"answer": "C"}') == ("C", 0.0)


def test_two_graphs_change_places_and_the_label_stays():
    asked = example("Isomorphism", "0", _GRAPHS)
    moved = permute(asked, (1, 0), rule_for(asked))
    assert (moved.answer, moved.images) == ("0", asked.images[::-1])
    assert REMI.official(moved) == REMI.official(asked)


def test_images_bound_to_their_tags_stay():
    with pytest.raises(CannotPermute, match="bound_tags"):
        movable_slots(example("Maps"), rule_for(example("Maps")))


_A = '{{"explanation": "x", "answer": {}}}'


@pytest.mark.parametrize(
    ("task", "label", "response", "prediction", "score"),
    [
        # The form: JSON from the first brace to the last one.
        ("Charts", "7", _A.format("7"), "7", 1),
        ("Charts", "7", "Sure!\n```json\n" + _A.format('"7"') + "\n```", "7", 1),
        ("Charts", "7", "7", None, 0),  # no JSON and no box
        ("Charts", "7", "", None, 0),
        ("Charts", "7", '{"explanation": "so it is 7", "answer": 7', None, 0),  # cut off
        ("Charts", "7", '{"explanation": "it is 7"}', None, 0),  # no answer
        ("Charts", "7", "{answer: 7}", None, 0),  # bad JSON
        ("Charts", "7", "[7]", None, 0),  # no object
        ("Charts", "7", '{"answer": ' + "9" * 5000 + "}", None, 0),  # a number without end
        ("Charts", "7", '{"explanation": "a \\"b\\" \\frac{1}{2}", "answer": "7"}', "7", 1),
        ("Charts", "7", "<think> " + _A.format("8") + " </think>" + _A.format("7"), "7", 1),
        ("Charts", "7", "<think> " + _A.format("7"), None, 0),  # never leaves its thoughts
        ("Charts", "7", "\\boxed{7}", "7", 1),  # asked with the prompt of the policy
        # A box within the explanation is no answer; one before the object breaks it.
        ("Charts", "7", '{"explanation": "no \\\\boxed{8}", "answer": 7}', "7", 1),
        ("Charts", "7", "\\boxed{8} or " + _A.format("7"), "8", 0),
        ("Charts", "7", _A.format('"\\\\boxed{7}"'), "7", 1),  # a box within JSON
        ("Charts", "7", "\\boxed{" + _A.format("7") + "}", "7", 1),  # JSON within a box
        ("Charts", "7", "\\boxed{7", None, 0),  # cut off in its box
        ("Charts", "7", _A.format('""'), None, 0),
        # Texts and numbers.
        ("Charts", "7", _A.format("7.0"), "7.0", 1),  # the same number
        ("Charts", "Blue", _A.format('"BLUE "'), "BLUE", 1),  # letter case, spaces around
        ("Charts", "45%", _A.format('"45% of all"'), "45% of all", 1),  # cut at the percent sign
        ("Charts", "45\\%", _A.format("45"), "45", 1),
        ("Charts", "100", _A.format("101"), "101", 1),  # within 1%
        ("Charts", "100", _A.format("101.5"), "101.5", 0),
        ("Charts", "-100", _A.format("-101"), "-101", 1),  # the script refuses negative labels
        ("Charts", "-100", _A.format("-99"), "-99", 1),
        ("Charts", "-100", _A.format("-102"), "-102", 0),
        ("Charts", "-100", _A.format("100"), "100", 0),  # another sign
        ("Charts", "0", _A.format("0.001"), "0.001", 0),  # 1% of 0 is 0
        ("Charts", "0", _A.format("NaN"), "nan", 0),
        ("Charts", "7", _A.format('"7 apples"'), "7 apples", 0),  # no unit is read
        ("Maps", "D,B", _A.format('"D, B"'), "D, B", 1),  # spaces
        ("Maps", "D,B", _A.format('["D", "B"]'), "['D', 'B']", 0),  # a list is no such string
        ("Maps", "Equal", _A.format('"equal"'), "equal", 1),
        ("FuncRead", "f", _A.format('"f(x)"'), "f(x)", 1),
        ("FuncRead", "g(x)", _A.format('"g"'), "g", 1),
        ("FuncRead", "f", _A.format('"g(x)"'), "g(x)", 0),
        ("FuncRead", "(1, 2)", _A.format('"1, 2"'), "1, 2", 1),  # parentheses
        ("FuncRead", "3", _A.format('"(3)"'), "(3)", 1),
        ("CodeEdit", "x = a + b", _A.format('"x=a+b"'), "x=a+b", 1),
        ("CodeEdit", "x = a + b", _A.format('"x = a - b"'), "x = a - b", 0),
        # Rules of single tasks.
        ("Clocks", "100", _A.format("110"), "110", 1),  # within 10 minutes
        ("Clocks", "100", _A.format("89"), "89", 0),
        ("Clocks", "100", _A.format('"an hour"'), "an hour", 0),
        ("GeomShape", "100", _A.format("103"), "103", 1),  # within 3%
        ("GeomCost", "100", _A.format("96.9"), "96.9", 0),
        ("GeomCost", "ten", _A.format('"ten"'), "ten", 0),  # only numbers
        ("RefCoco", "3,4", _A.format("4"), "4", 1),  # any of the labels
        ("RefCoco", "3, 4", _A.format("4"), "4", 1),  # the script keeps the space, and refuses
        ("RefCoco", "3,14", _A.format("4"), "4", 0),
        ("Isomorphism", "1", _A.format("1"), "1", 1),
        ("Isomorphism", "1", _A.format("true"), "True", 0),  # asked for 1 or 0
        ("IQ", "B", _A.format('"b"'), "b", 1),
        ("IQ", "B", _A.format('"option B"'), "option B", 0),  # asked for the choice alone
    ],
)  # fmt: skip
def test_responses_are_scored_as_the_authors_script_does(task, label, response, prediction, score):
    assert scored(REMI, example(task, label), response) == (prediction, score)


def test_the_overall_score_is_the_mean_of_tasks():
    rows = [(example("IQ"), 1.0), (example("Maps"), 0.0), (example("Maps"), 1.0)]
    assert REMI.overall(rows) == 0.75


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        list(REMI.read(tmp_path / "none"))
