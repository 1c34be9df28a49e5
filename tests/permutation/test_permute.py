"""What permute accepts, refuses, and does to whole examples."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from perl_jax.permutation import (
    REASONS,
    CannotPermute,
    Rule,
    inverse,
    movable_slots,
    permute,
    rule_for,
)
from perl_jax.types import Example

REMAP = Rule(movable="option_images", answer="remap_letter")
ORDERS = Rule(answer="relabel_order")
ABC = ("A. <image>", "B. <image>", "C. <image>")


def example(question="?", images="xyz", answer="A", options=(), source="test", **metadata):
    return Example("x", source, question, tuple(images), answer, tuple(options), metadata)


def reason_of(own, order, rule):
    with pytest.raises(CannotPermute) as refusal:
        permute(own, order, rule)
    return refusal.value.reason


def test_new_slot_j_shows_old_image_order_j():
    assert permute(example(images="xyz"), (2, 0, 1), Rule()).images == ("z", "x", "y")


def test_a_letter_follows_its_picture():
    # The picture of C moves to the first slot.
    assert permute(example(options=ABC, answer="C"), (2, 0, 1), REMAP).answer == "A"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("A", "C"), ("(A)", "(C)"), ("A.", "C."), ("A)", "C)"), ("Answer: A", "Answer: C"),
        ("The answer is (A).", "The answer is (C)."), (r"\boxed{A}", r"\boxed{C}"),
    ],
)  # fmt: skip
def test_the_form_of_a_letter_answer_is_kept(answer, expected):
    assert permute(example(options=ABC, answer=answer), (1, 2, 0), REMAP).answer == expected


def test_an_answer_that_is_the_whole_option_becomes_another_option():
    options = ("(A) Image 1", "(B) Image 2")
    own = example(images="xy", options=options, answer="(A) Image 1")
    assert permute(own, (1, 0), REMAP).answer == "(B) Image 2"


def test_an_option_that_shows_no_image_stays():
    own = example(options=(*ABC, "D. None of the above"), answer="D")
    other = permute(own, (1, 2, 0), REMAP)
    assert (other.answer, other.options, other.images) == ("D", own.options, ("y", "z", "x"))


def test_option_images_leave_the_question_image_where_it_is():
    own = example("Look: <image> Which is alike?", "qabc", "B", ABC)
    assert movable_slots(own, REMAP) == (1, 2, 3)
    other = permute(own, (0, 3, 1, 2), REMAP)
    assert (other.images, other.answer) == (("q", "c", "a", "b"), "C")


def test_options_may_be_lines_of_the_question_before_the_question_image():
    own = example("A. <image>\nB. <image>\nWhich is like this one?\n<image>", "abq", "A")
    assert movable_slots(own, REMAP) == (0, 1)
    assert permute(own, (1, 0, 2), REMAP).answer == "B"


def test_images_without_a_placeholder_come_first():
    own = example("Which is alike?", "qab", "A", ("A. <image>", "B. <image>"))
    assert movable_slots(own, REMAP) == (1, 2)


def test_none_of_the_above_stays_under_the_rule_of_show_how_to_e():
    own = example(
        "<image> Options: <image> <image> <image> <image>", "sabcd", "E",
        source="ShowHowTo_e", question_type="missing_frame", change_needed=False,
    )  # fmt: skip
    assert permute(own, (0, 2, 3, 4, 1), rule_for(own)).answer == "E"
    own = Example(own.id, own.source, own.question, own.images, "A", (), own.metadata)
    assert permute(own, (0, 2, 3, 4, 1), rule_for(own)).answer == "D"  # whatever change_needed says


def test_show_how_to_honours_change_needed():
    own = example(
        "<image> Options: <image> <image> <image> <image>", "sabcd", "A",
        source="ShowHowTo", question_type="missing_frame", change_needed=False,
    )  # fmt: skip
    assert permute(own, (0, 2, 3, 4, 1), rule_for(own)).answer == "A"
    own.metadata["change_needed"] = True
    assert permute(own, (0, 2, 3, 4, 1), rule_for(own)).answer == "D"


def test_orders_are_relabelled_everywhere_and_the_letter_stays():
    # σ = (1, 2, 3, 0): picture 1 becomes number 4, pictures 2, 3, 4 become 1, 2, 3.
    own = example(
        "Is 1→2→3→4 the right order? Frame <image><image><image><image>", "wxyz", "B",
        ("A. 4→3→2→1", "B. 2 -> 1 -> 3 -> 4", "C. 1, 2, 4, 3", "E. None of the above"),
    )  # fmt: skip
    other = permute(own, (1, 2, 3, 0), ORDERS)
    assert other.question == "Is 4→1→2→3 the right order? Frame <image><image><image><image>"
    assert other.options == (
        "A. 3→2→1→4", "B. 1 -> 4 -> 2 -> 3", "C. 4, 1, 3, 2", "E. None of the above",
    )  # fmt: skip
    assert other.answer == "B"


@pytest.mark.parametrize(
    ("answer", "base", "expected"),
    [
        ("1→2→3", 1, "3→1→2"), ("[0, 1, 2]", 0, "[2, 0, 1]"), ("(1, 2, 3)", 1, "(3, 1, 2)"),
        ("1-2-3", 1, "3-1-2"), ("1, 2, 3", 1, "3, 1, 2"), ("1 > 2 > 3", 1, "3 > 1 > 2"),
        ("Image 1 → Image 2 → Image 3", 1, "Image 3 → Image 1 → Image 2"), ("2→3", 1, "1→2"),
    ],
)  # fmt: skip
def test_orders_in_every_notation(answer, base, expected):
    rule = Rule(answer="relabel_order", index_base=base)
    assert permute(example("Sort them.", answer=answer), (1, 2, 0), rule).answer == expected


def test_text_that_is_to_be_kept_is_kept_whatever_it_says():
    own = example("In the next image, is image 1 red?", "xy", answer="yes")
    other = permute(own, (1, 0), Rule(text="keep"))
    assert (other.question, other.images) == (own.question, ("y", "x"))


def test_id_source_and_metadata_stay_and_the_original_is_untouched():
    own = example("Is image 1 red?", "xy", source="s", split="train")
    other = permute(own, (1, 0), Rule())
    assert (other.id, other.source, other.metadata) == ("x", "s", {"split": "train"})
    assert (own.question, own.images) == ("Is image 1 red?", ("x", "y"))


@pytest.mark.parametrize("order", [(0, 1), (0, 1, 1), (0, 1, 3), (0, 1, 2, 3)])
def test_an_order_that_is_no_permutation_is_an_error(order):
    with pytest.raises(ValueError, match="order: expected a permutation of 0 to 2"):
        permute(example(), order, Rule())


def test_an_order_that_moves_a_fixed_slot_is_an_error():
    with pytest.raises(ValueError, match=r"order: the rule of 'test' fixes slots \[0\]"):
        permute(example(), (1, 0, 2), Rule(movable="all_but_first"))


def test_a_change_column_of_another_kind_is_an_error():
    own = example(change_needed="perhaps")
    with pytest.raises(ValueError, match=r"metadata\['change_needed'\]: expected true or false"):
        permute(own, (1, 0, 2), Rule())


@pytest.mark.reliability("23")
def test_one_wrong_image_is_told_from_the_next_by_its_content():
    twins = [np.zeros(4), np.ones(4), np.zeros(4)]
    rule, order = REMAP, (1, 2, 0)
    assert reason_of(example(images=twins, options=ABC, answer="A"), order, rule) == (
        "duplicate_images"
    )
    assert permute(example(images=twins, options=ABC, answer="B"), order, rule).answer == "A"
    encoded = [{"bytes": b"1", "path": None}, {"bytes": b"1", "path": None}, {"bytes": b"2"}]
    assert reason_of(example(images=encoded, options=ABC), order, rule) == "duplicate_images"


NAMED = ("(A) image 1", "(B) image 2")
REFUSALS = {
    "never_permute": (example(), (1, 0, 2), Rule(movable="none")),
    "too_few_movable": (example(images="xy"), (1, 0), Rule(movable="all_but_first")),
    "placeholder_mismatch": (example("<image>" * 4), (1, 0, 2), Rule()),
    "slots_missing": (example(), (1, 0, 2), Rule(movable=(-4, -1))),
    "no_option_images": (example(options=("A. cat", "B. dog")), (1, 0, 2), REMAP),
    "options_ambiguous": (
        example(options=("A. <image> red", "B. <image>")), (1, 0, 2), REMAP),
    "option_image_moves": (example(options=ABC), (1, 0, 2), Rule()),
    "moved_image_without_letter": (
        example("<image>", options=("A. <image>", "B. <image>")), (1, 0, 2),
        Rule(answer="remap_letter")),
    "answer_not_a_letter": (example(options=ABC, answer="red"), (1, 0, 2), REMAP),
    "letter_outside_options": (example(options=ABC, answer="F"), (1, 0, 2), REMAP),
    "duplicate_images": (example(images="xxy", options=ABC), (1, 0, 2), REMAP),
    "change_needed_conflict": (example(options=ABC, change_needed=False), (1, 0, 2), REMAP),
    "unexplained_change": (example(change_needed=True), (1, 0, 2), Rule()),
    "no_order": (example(), (1, 0, 2), ORDERS),
    "malformed_order": (example("Sort them.", answer="1→2→2"), (1, 0, 2), ORDERS),
    "undeclared_order": (example(answer="1→2→3"), (1, 0, 2), Rule()),
    "ambiguous_answer": (example("Which image is red?", answer="2"), (1, 0, 2), Rule()),
    "unproven_sentence": (example("Is it dark?"), (1, 0, 2), Rule()),
    "not_reversible": (example("The 02nd image is red."), (0, 2, 1), Rule()),
}  # fmt: skip


@pytest.mark.reliability("21")
@pytest.mark.parametrize("reason", REFUSALS)
def test_a_refusal_gives_its_reason(reason):
    assert reason_of(*REFUSALS[reason]) == reason


MORE_REFUSALS = [
    ("placeholder_mismatch", example("<image1> <image4>"), (1, 0, 2), Rule()),
    ("placeholder_mismatch", example("<image> <image1>"), (1, 0, 2), Rule()),
    ("malformed_order", example("Sort them.", answer="[1, 2, 3]"), (1, 0, 2),
     Rule(answer="relabel_order", index_base=0)),
    ("malformed_order", example("Sort them.", options=("A. 1→2→3", "B. 0→1→2")), (1, 0, 2), ORDERS),
    ("options_ambiguous", example(options=("A. <image>", "A. <image>")), (1, 0, 2), REMAP),
    ("options_ambiguous", example(options=("A. <image> <image>", "B. <image>")), (1, 0, 2), REMAP),
    ("options_ambiguous", example(options=("A. image 1", "B. image 1")), (1, 0, 2), REMAP),
    ("options_ambiguous", example("(A) x (B) y\nA. x\nB. y"), (1, 0, 2), REMAP),
    ("ambiguous_answer", example("Which picture is red?", answer="the second"), (1, 0, 2), Rule()),
    ("ambiguous_answer", example("Which picture is red?", answer="A", options=("(A) 1", "(B) 2")),
     (1, 0, 2), Rule()),
    ("ambiguous_answer", example("Which images match?", answer="1 and 3"), (1, 0, 2), Rule()),
    ("ambiguous_answer", example("Which images match?", options=("(A) 1, 2", "(B) 1 or 3")),
     (1, 0, 2), Rule()),
    ("ambiguous_reference", example("Is the first option red?", options=ABC), (1, 0, 2), REMAP),
    ("undeclared_order", example(options=("A. [0, 1, 2]", "B. [2, 1, 0]")), (1, 0, 2), Rule()),
    ("reference_out_of_range", example("Which image?", answer="4"), (1, 0, 2),
     Rule(answer="reference")),
    ("single_image", example(images="x"), (0,), Rule()),
]  # fmt: skip


@pytest.mark.reliability("21")
@pytest.mark.parametrize(("reason", "own", "order", "rule"), MORE_REFUSALS[:-1])
def test_further_malformed_rows_are_refused(reason, own, order, rule):
    assert reason_of(own, order, rule) == reason


def test_a_single_image_has_nothing_to_move():
    with pytest.raises(CannotPermute) as refusal:
        movable_slots(example(images="x"), Rule())
    assert refusal.value.reason == "single_image"


def test_every_reason_code_occurs_in_a_test():
    tests = "".join(path.read_text() for path in Path(__file__).parent.rglob("test_*.py"))
    assert [reason for reason in REASONS if f'"{reason}"' not in tests] == []


def test_a_refusal_survives_pickling_and_explains_itself():
    error = pickle.loads(pickle.dumps(CannotPermute("named_image", "image A")))
    assert (error.reason, error.detail) == ("named_image", "image A")
    assert str(error).startswith("named_image: an image is called by a name")
    assert str(CannotPermute("my_own_code")) == "my_own_code: the rule lets nothing move"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("1", "3"), ("two", "one"), ("second", "first"), ("The third one.", "The second one."),
        ("left", "right"), ("1 and 3", "3 and 2"), ("1, 2", "3, 1"), ("the first or the second",
                                                                      "the third or the first"),
    ],
)  # fmt: skip
def test_a_bare_answer_that_is_declared_a_reference_is_rewritten(answer, expected):
    own = example("Which image?", answer=answer)
    assert permute(own, (1, 2, 0), Rule(answer="reference")).answer == expected


def test_bare_options_that_are_declared_references_are_rewritten():
    own = example("Which image?", options=("(A) first", "(B) the left one", "(C) both"))
    other = permute(own, (1, 2, 0), Rule(answer="reference"))
    assert other.options == ("(A) third", "(B) the right one", "(C) both")


def test_a_count_that_answers_a_how_many_question_is_left_alone():
    own = example("How many images are red?", answer="2")
    assert permute(own, (1, 0, 2), Rule()).answer == "2"


def test_the_inverse_gives_back_the_images_too():
    own = example("Is image 2 like the last image?", "vwxyz", "Image 4")
    order = (3, 1, 4, 0, 2)
    other = permute(own, order, Rule())
    assert other != own
    assert permute(other, inverse(order), Rule()) == own


@pytest.mark.parametrize(
    ("reason", "question"),
    [
        ("text_too_long", "Is image 1 red? " * 5000),
        ("other_language", "Welches Bild ist heller?"),
        ("other_language", "第二张图更亮吗？"),
        ("quoted_words", 'Does the sign say "image 2"?'),
    ],
)
def test_a_text_that_cannot_be_read_is_refused(reason, question):
    assert reason_of(example(question, "xy", "yes"), (1, 0), Rule()) == reason
