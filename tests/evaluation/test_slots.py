"""Which option or image an answer names."""

import pytest

from perl_jax.evaluation.slots import slot_of
from perl_jax.permutation import Rule
from perl_jax.types import Example

PICK = Rule(movable="option_images", answer="remap_letter")
REFERENCE = Rule(answer="reference")
LISTED = "Which image shows a cat?\nA. <image>\nB. <image>\nC. <image>"
SHOWN = "<image><image><image>Which image shows a cat?"


def example(question, answer, options=()):
    return Example("x", "test", question, ("x", "y", "z"), answer, tuple(options))


@pytest.mark.parametrize(
    ("answer", "slot"),
    [
        ("A", 0),
        ("(B)", 1),
        ("c", 2),
        ("C. the last one", 2),
        ("D", None),
        ("cat", None),
        ("", None),
    ],
)
def test_a_letter_names_the_option_that_it_stands_for(answer, slot):
    assert slot_of(example(LISTED, "B"), PICK, answer) == slot


def test_an_option_is_named_by_its_words_or_its_letter():
    options = ("Image 1", "Image 2", "None of them")
    own = example(SHOWN, "Image 2", options)
    assert [slot_of(own, REFERENCE, answer) for answer in options] == [0, 1, 2]
    assert slot_of(own, REFERENCE, "C") == 2
    assert slot_of(own, REFERENCE, "Image 4") is None


def test_options_that_show_no_image_have_slots_too():
    claim = example("<image><image><image>The first is red.\nA. True\nB. False", "A")
    assert [slot_of(claim, Rule(), answer) for answer in ("A", "(B)", "C")] == [0, 1, None]


def test_letters_that_the_rule_places_are_in_the_order_of_its_slots():
    rule = Rule(movable=(1, 2), answer="remap_letter", fixed_letters=("E",))
    own = example("<image> Which is it? <image> <image>", "B")
    assert [slot_of(own, rule, answer) for answer in "ABCE"] == [0, 1, None, 2]


@pytest.mark.parametrize(
    ("answer", "slot"),
    [("the second image", 1), ("Image 3", 2), ("1", 0), ("first", 0), ("left", 0), ("last", 2),
     ("image 4", None), ("a cat", None), ("1 and 2", None)],
)  # fmt: skip
def test_a_reference_names_an_image(answer, slot):
    assert slot_of(example(SHOWN, "the second image"), REFERENCE, answer) == slot


def test_a_number_is_an_image_only_where_the_rule_says_so():
    assert slot_of(example(SHOWN, "2"), REFERENCE, "3") == 2
    assert slot_of(example("<image><image><image>How many cats?", "2"), Rule(), "3") is None
    assert slot_of(example(SHOWN, "image 2"), Rule(), "3") == 2


def test_images_are_counted_from_where_the_rule_counts_them():
    rule = Rule(answer="reference", index_base=0)
    assert [slot_of(example(SHOWN, "1"), rule, answer) for answer in "0123"] == [0, 1, 2, None]


def test_orders_and_words_name_no_slot():
    for answer in ("2→1→3", "a cat", "yes"):
        assert slot_of(example(SHOWN, answer), Rule(answer="relabel_order"), answer) is None


def test_a_missing_or_very_long_answer_names_none():
    own = example(LISTED, "B")
    assert slot_of(own, PICK, None) is None
    assert slot_of(own, PICK, "B" + " " * 300) is None
