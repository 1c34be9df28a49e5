"""Conversations: permutation rewrites all of their text, or leaves the example alone."""

from dataclasses import replace

import pytest

from perl_jax.permutation import CannotPermute, Rule, lint, movable_slots, permute
from perl_jax.permutation.audit import account
from perl_jax.types import Example, Turn

REFERENCE = Rule(answer="reference")
SYSTEM = Turn("system", "Compare the first image with the last image. Think step by step.")


def conversation(*turns, question="And which is larger?", answer="Both", images="ab"):
    return Example("1", "mine", question, tuple(images), answer, turns=turns)


def user(text):
    return Turn("user", text)


def said(text):
    return Turn("assistant", text)


def test_every_turn_names_the_images_at_their_new_places():
    own = conversation(
        SYSTEM,
        user("<image><image> What does the first image show?"),
        said("The first image shows a dog, image 2 a cat."),
        question="Is it the second image?\nA. Image 1\nB. Image 2",
        answer="B",
    )
    permuted = permute(own, [1, 0], REFERENCE)
    assert [turn.text for turn in permuted.turns] == [
        "Compare the second image with the second-to-last image. Think step by step.",
        "<image><image> What does the second image show?",
        "The second image shows a dog, image 1 a cat.",
    ]
    assert [turn.role for turn in permuted.turns] == ["system", "user", "assistant"]
    assert permuted.question == "Is it the first image?\nA. Image 2\nB. Image 1"
    assert (permuted.answer, permuted.images) == ("B", ("b", "a"))
    assert permute(permuted, [1, 0], REFERENCE) == own


def test_images_of_earlier_turns_are_slots_in_reading_order_and_stay_in_their_message():
    own = conversation(
        user("<image> What is it?"),
        said("A dog."),
        question="<image><image> Is a dog in both images?",
        answer="yes",
        images="abc",
    )
    for rule in (Rule(), Rule(text="keep")):
        assert movable_slots(own, rule) == (1, 2)
        assert permute(own, [0, 2, 1], rule).images == ("a", "c", "b")
        with pytest.raises(ValueError, match="fixes slots"):
            permute(own, [1, 0, 2], rule)
    earlier = conversation(user("<image><image>?"), said("Yes."), question="<image>?", images="abc")
    assert movable_slots(earlier, Rule()) == (0, 1)
    tagged = conversation(user("<image 1>?"), said("No."), question="<image 3><image 2>?")
    assert movable_slots(replace(tagged, images=("a", "b", "c")), Rule()) == (1, 2)


def test_options_follow_the_turns():
    own = Example(
        "1",
        "mine",
        "Which shows a dog?",
        ("a", "b"),
        "A",
        ("A. <image>", "B. <image>"),
        turns=(Turn("system", "Answer with a letter."),),
    )
    rule = Rule(movable="option_images", answer="remap_letter")
    assert permute(own, [1, 0], rule).answer == "B"


@pytest.mark.parametrize(
    ("turns", "rule", "reason"),
    [
        # The answer "2" to an earlier question may be an image.
        ((user("<image><image>Which is older?"), said("2")), Rule(), "ambiguous_answer"),
        ((user("<image><image>Which is older?\nA. first\nB. second"), said("A")), Rule(), "ambigu"),
        ((user("<image><image>Sort them."), said("2, 1")), Rule(), "undeclared_order"),
        ((user("<image><image>The left dog?"), said("Yes.")), Rule(sides="strict"), "ambiguous_si"),
        ((user("<image><image>"), said("The dog on the first figure.")), Rule(), "ambiguous_noun"),
        ((user("A. <image>\nB. <image>"), said("A")), Rule(), "option_image_moves"),
        ((user("<image> Which?"), said("A dog."), user("<image>")), Rule(), "inline_placeholder"),
        ((user("<image><image> What?"), said("A dog and a cat.")), Rule(), "earlier_answers"),
        ((user("<image><image> What?"), said("A dog.\nA cat.")), Rule(), "earlier_answers"),
        ((user("<image><image>"), said("A")), Rule(answer="remap_letter"), "earlier_answers"),
        ((user("<image><image>"), said("2, 1")), Rule(answer="relabel_order"), "earlier_answers"),
    ],
)
def test_a_conversation_that_cannot_be_rewritten_whole_keeps_its_order(turns, rule, reason):
    question = "And A or B?\nA. Image 1\nB. Image 2" if rule.answer == "remap_letter" else "And?"
    own = conversation(*turns, question=question, answer="A" if "A." in question else "yes")
    with pytest.raises(CannotPermute) as refusal:
        permute(own, [1, 0], rule)
    assert refusal.value.reason.startswith(reason)


def test_a_number_that_answers_how_many_stays():
    own = conversation(user("<image><image>How many dogs?"), said("2"), question="How many cats?")
    for rule in (Rule(), REFERENCE):
        assert permute(own, [1, 0], rule).turns == own.turns


def test_lint_shows_what_becomes_of_the_turns():
    own = conversation(SYSTEM, question="<image><image>And?")
    report = lint([own], rules={"mine": Rule()}, num_orders=1)
    (rewrite,) = report.rewrites
    assert (rewrite.field, rewrite.before) == ("system turn", SYSTEM.text)
    assert rewrite.after == "Compare the last image with the first image. Think step by step."
    assert report.permuted == 1
    assert lint([conversation(said("2"), user("<image><image>Which?"))], rules={"mine": Rule()})


def test_an_account_names_the_turn_that_a_word_stands_in():
    own = conversation(SYSTEM, question="<image><image>Is image 2 dark?", answer="yes")
    found = [(one.field, one.text, one.taken_for) for one in account(own, Rule())]
    assert found == [
        ("system turn", "first", "image 1"),
        ("system turn", "last", "image 2"),
        ("question", "2", "image 2"),
    ]
