"""Options and answers of Mantis-Instruct in every form in which they are published."""

import pytest

from perl_jax.data import BadRow
from perl_jax.datasets.mantis_text import read_answer, split_options
from perl_jax.types import Example


def answer_of(answer, kind="choice", question="<image><image>?", options=(), images=2):
    example = Example("1", "s", question, (b"",) * images, answer, options)
    return read_answer(example, kind, "row")


@pytest.mark.parametrize(
    ("text", "question", "options"),
    [
        ("Q?\nOptions:\n(A) True\n(B) False", "Q?\nOptions:", ("(A) True", "(B) False")),
        ("<image>Q?\nA. <image>\nB. <image>", "<image>Q?", ("A. <image>", "B. <image>")),
        ("Q?\nA: he sat\nB: he ran", "Q?", ("A: he sat", "B: he ran")),
        # An initial before the list is no option of it.
        ("By whom?\nJ. Doe\nA. x\nB. y", "By whom?\nJ. Doe", ("A. x", "B. y")),
        ("A. x\nB. y", "A. x\nB. y", ()),
        ("Q?\nA. x", "Q?\nA. x", ()),
        ("Q?\nA. x\nC. y", "Q?\nA. x\nC. y", ()),
        ("Q? (A) x (B) y", "Q? (A) x (B) y", ()),
        ("Q?\nA. x\nB. y\nAnswer by letter.", "Q?\nA. x\nB. y\nAnswer by letter.", ()),
    ],
)
def test_the_lettered_lines_at_the_end_are_the_options(text, question, options):
    assert split_options(text) == (question, options)


def test_splitting_keeps_every_character():
    text = "Q?  \n\nOptions:\n(A) x \n(B)  y"
    question, options = split_options(text)
    assert len(options) == 2
    assert "\n".join((question, *options)) == text


TRUE_FALSE = ("(A) True", "(B) False")
ICONS = tuple(f"{letter}. <image>" for letter in "ABC")
ACTIONS = ("A: The bag.", "B: the door", "C: a bag")


@pytest.mark.parametrize(
    ("answer", "options", "letter"),
    [
        ("A", TRUE_FALSE, "A"),
        ("(B)", TRUE_FALSE, "B"),
        ("B.", TRUE_FALSE, "B"),
        ("Answer: B", TRUE_FALSE, "B"),
        ("The answer is: (A)", TRUE_FALSE, "A"),
        ("False", TRUE_FALSE, "B"),
        ("(B) False", TRUE_FALSE, "B"),
        ("Answer: C", ICONS, "C"),
        ("A: The bag.", ACTIONS, "A"),
        ("B:  the  door.", ACTIONS, "B"),
        ("Answer: C: a bag", ACTIONS, "C"),
    ],
)
def test_a_choice_becomes_its_letter(answer, options, letter):
    assert answer_of(answer, options=options) == (letter, "multiple_choice")


def test_options_within_the_question_are_choices_too():
    question = "<image><image> Which is sharper?\nA. Left\nB. Right\nAnswer by letter."
    assert answer_of("B. Right", "text", question) == ("B", "multiple_choice")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Image 2 is more similar to the reference image.", "Image 2"),
        ("The image that is more similar to the reference image is image 3.", "Image 3"),
        ("Image 2", "Image 2"),
        ("Answer: Image 7", "Image 7"),
        ("The second image", "Image 2"),
        ("The initial image", "Image 1"),
        ("The tertiary image", "Image 3"),
        ("The fourth image in sequence", "Image 4"),
    ],
)
@pytest.mark.parametrize("kind", ["image", "text"])
def test_a_sentence_that_only_names_an_image_becomes_its_number(answer, expected, kind):
    assert answer_of(answer, kind, images=8) == (expected, "short_answer")


@pytest.mark.parametrize(
    "answer",
    [
        "A dog in the second image",
        "The image",
        "Image 9",
        "Image 2 is darker than image 1.",
        "The blurry image",
    ],
)
def test_other_sentences_name_no_image(answer):
    assert answer_of(answer, "text", images=8) == (answer, "free_text")
    with pytest.raises(BadRow, match="bad_answer"):
        answer_of(answer, "image", images=8)


def test_what_is_no_choice_stays_without_the_word_answer_before_it():
    assert answer_of("Answer: 5") == ("5", "short_answer")
    story = "One day: a fox. Answer: none."
    assert answer_of(story, "text") == (story, "free_text")


@pytest.mark.parametrize(
    ("answer", "options", "reason"),
    [
        ("", (), "answer_null"),
        ("C", TRUE_FALSE, "letter_outside_options"),
        ("Maybe", TRUE_FALSE, "answer_not_an_option"),
        ("A: the door", ACTIONS, "answer_not_an_option"),  # the letter of another option
        ("bag", ("A. bag", "B. bag"), "answer_not_an_option"),
        ("x" * 3000, (), "bad_answer"),
        ("}{", (), "bad_answer"),
    ],
)
def test_an_answer_that_cannot_be_graded_is_refused(answer, options, reason):
    with pytest.raises(BadRow) as caught:
        answer_of(answer, options=options)
    assert caught.value.reason == reason


def test_free_text_may_be_long():
    assert answer_of("word " * 1000, "text")[0] == ("word " * 1000).strip()
