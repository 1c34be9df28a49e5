"""The rule filter: kinds of answers, and which rows are left out for what."""

import pytest

from perl_jax.preparation.answers import answer_kind
from perl_jax.preparation.filter import FilterConfig, filter_rows
from tests.preparation.preparing import bad_row, example, kept, left_out, run_stage, told


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("B", "letter"),
        ("(B)", "letter"),
        ("Answer: C", "letter"),
        ("\\boxed{D}", "letter"),
        ("3.5", "number"),
        ("-1,234", "number"),
        ("\\frac{1}{2}", "number"),
        ("50%", "number"),
        ("3 cm", "number"),
        ("2→1→3", "list"),
        ("[1, 0, 2]", "list"),
        ("(3, 4)", "list"),
        ("x^2 + 1", "expression"),
        ("2\\sqrt{3}", "expression"),
        ("True", "words"),
        ("the left image", "words"),
        ("Image 2", "words"),
        ("a dog on the grass", "open"),
        ("Image 2 is more similar to the reference image.", "open"),
        ("a man, a dog and a cat", "open"),
    ],
)
def test_answers_are_of_the_kind_that_a_person_would_say(answer, kind):
    assert answer_kind(answer) == kind


def test_every_row_is_kept_by_its_kind_or_left_out_for_its_reason(tmp_path):
    plain = {"question": "<image><image> What is it?"}
    rows = [
        example(0),
        bad_row(),
        example(1, source="others"),
        example(2, images=example().images[:1]),
        example(3, images=example().images * 3),
        example(4, answer=" 12 ", **plain),
        example(5, answer="one is upright and the other is not", **plain),
        example(6, answer="\\frac{1", **plain),
        example(7, answer="x^{2}+", **plain),
        example(8, answer="C"),
        example(9, answer="E", question=example().question + "\nIf none is larger, answer E."),
        example(10, answer="x+1", **plain),
        example(11, answer="   ", **plain),
    ]
    config = FilterConfig(sources=("Digits",), images=(2, 5))
    outcomes = run_stage(filter_rows, rows, config, tmp_path)
    assert told(outcomes) == [
        "letter", "missing_image", "source", "image_count", "image_count", "number",
        "answer_open", "answer_unreadable", "answer_unreadable", "letter_outside_options",
        "letter", "expression", "answer_unreadable",
    ]  # fmt: skip
    assert kept(outcomes)[1].answer == "12"
    assert left_out(outcomes)["row-2"] == ("image_count", "1 images")


def test_open_answers_and_question_types_are_kept_on_request(tmp_path):
    rows = [
        example(0, answer="one is upright and the other is not"),
        example(1, metadata={"question_type": "short"}),
        example(2, metadata={"question_type": "long"}),
        example(3, answer="7", metadata={"question_type": "short"}),
    ]
    config = FilterConfig(keep_open=True, answers=("letter",))
    outcomes = run_stage(filter_rows, rows, config, tmp_path)
    assert told(outcomes) == ["open", "letter", "letter", "answer_kind"]
    config = FilterConfig(question_types=("short",), answers=("letter",))
    outcomes = run_stage(filter_rows, rows, config, tmp_path)
    assert told(outcomes) == ["question_type", "letter", "question_type", "answer_kind"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": (3, 2)}, "images: expected a range"),
        ({"answers": ("letters",)}, "answers: expected some of letter"),
        ({"answers": ()}, "answers: expected some of letter"),
    ],
)
def test_settings_out_of_range_are_named(changed, message):
    with pytest.raises(ValueError, match=message):
        FilterConfig(**changed)
