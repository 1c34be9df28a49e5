"""Every word that could bear on the order is shown with what it was taken for."""

import pytest

from perl_jax.permutation import Accounted, CannotPermute, Rule, account
from perl_jax.types import Example


def example(question, answer="yes", options=(), images="xyz"):
    return Example("x", "mine", question, tuple(images), answer, tuple(options))


def taken_for(*arguments, rule=None, **named):
    words = account(example(*arguments, **named), rule or Rule())
    return [(word.field, word.text, word.taken_for) for word in words]


def test_references_and_harmless_words_stand_in_reading_order():
    assert taken_for("Are the 2 dogs of the second image left of the first car in image 3?") == [
        ("question", "2", "a count of things: dogs"),
        ("question", "second", "image 2"),
        ("question", "left", "a part of an image"),
        ("question", "first", "the place of a thing: car"),
        ("question", "3", "image 3"),
    ]


def test_options_and_answers_are_fields_of_their_own():
    words = taken_for("Which images are red?", "1 and 3", rule=Rule(answer="reference"))
    assert words == [("answer", "1", "image 1"), ("answer", "3", "image 3")]
    options = ("A. Image 1", "B. The last image", "C. None of the above")
    assert taken_for("Which image is red?", "A", options) == [
        ("option 1", "1", "image 1"),
        ("option 2", "last", "image 3"),
        ("option 3", "above", "an option"),
    ]


def test_the_span_is_that_of_the_word_in_its_field():
    (word,) = account(example("Is image 2 red?"), Rule())
    assert word == Accounted("question", (9, 10), "2", "image 2")


def test_an_example_that_may_not_move_has_no_account():
    with pytest.raises(CannotPermute, match="temporal"):
        account(example("Is image 2 red?"), Rule(movable="none", why="temporal"))
