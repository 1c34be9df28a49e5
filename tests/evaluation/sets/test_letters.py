"""The letter of an option is read as a careful person reads it."""

import pytest

from perl_jax.evaluation.sets.letters import (
    choices,
    last_text,
    plain,
    read_letter,
    read_text,
    whole_letter,
)
from perl_jax.types import Example


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        # A letter alone, however it is dressed.
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        ("(b)", "B"),
        ("[B]", "B"),
        ("B.", "B"),
        ("B)", "B"),
        ("B!", "B"),
        ("**B**", "B"),
        ("$B$", "B"),
        ("\\text{B}", "B"),
        ("option B", "B"),
        ("Answer: b", "B"),
        ("The answer is B", "B"),
        ("Answer:\nB", "B"),
        ("a", "A"),
        # With the text of the option, or reasons.
        ("B. the second image", "B"),
        ("(B) the second image", "B"),
        ("A: the first", "A"),
        ("A. A dog", "A"),
        ("B because of A", "B"),
        ("B\n\nA is wrong, and (C) and (D) are too.", "B"),
        # In prose.
        ("I think B", "B"),
        ("I think it is B, because A is too small", "B"),
        ("The correct answer is **(B)**.", "B"),
        ("Final Answer: (C) third", "C"),
        ("I choose A because it is red", "A"),
        ("B is correct because A is not in the picture", "B"),
        ("A is the answer, B is close", "A"),
        ("The second image (B) is the more appropriate choice", "B"),
        ("Option A shows a dog. Option B shows a cat. The answer is B", "B"),
        ("The answer is C.\n\nNote that B is a trap.", "C"),
        ("I think it is A.\n\nBut on a closer look, B fits.", "B"),
        ("It is clear that the dog in A differs from the cat in B", None),
        ("The answers differ because A shows a dog and C a cat", None),
        ("So, the answer is:\n\n**(A) the second image**", "A"),
        ("The best answer to this question is therefore option D", "D"),
        ("I would go with C", "C"),
        ("The answer is A. Wait, no, the answer is B.", "B"),
        ("1. (A) shows x.\n2. (B) shows y.\n\nSo, the answer is:\n(A) the second image", "A"),
        ("Looking at A, B, and C, the one that fits is D", "D"),
        # Rejected letters are not chosen.
        ("A is wrong, so B", "B"),
        ("The answer is not A but C", "C"),
        ("The final answer is option (C), not (D).", "C"),
        ("Neither A nor C fits; it must be D", "D"),
        ("Rather than A, I select D", "D"),
        ("I pick A over B", "A"),
        ("D is incorrect. C is incorrect. Therefore B.", "B"),
        ("The answer is B, A is wrong", "B"),
        ("I pick B, A is too small", "B"),
        ("B out of the three", "B"),
        ("It is not A or B but C", "C"),
        ("We can rule out A and B. D shows nothing. So C.", "C"),
        ("not A", None),
        ("It can't be A.", None),
        ("A isn't right", None),
        # Several letters are none.
        ("A and B", None),
        ("both A and B", None),
        ("A, B", None),
        ("A\nB", None),
        ("B/C", None),
        ("The answer is A or B", None),
        ("It is either B or D", None),
        ("(A) yes (B) no", None),
        ("A? B? Hard to say.", None),
        ("Between A and B, B is better", "B"),
        # Letters that are no options.
        ("a dog", None),
        ("A dog is shown in image 2", None),
        ("The answer is a dog", None),
        ("Vitamin B is shown", None),
        ("Image B", None),
        ("B-52", None),
        ("U.S.A.", None),
        ("E", None),
        ("I cannot see the images.", None),
        # Nothing, or cut off.
        ("", None),
        ("The answer is", None),
        ("The answer is (", None),
        ("The answer is a", None),
    ],
)
def test_the_letter_that_a_text_chooses(text, letter):
    assert read_letter(text, "ABCD") == letter


def test_where_nothing_says_which_the_last_letter_can_be_asked_for_brackets_first():
    text = "(A) is red. (B) is blue. C is green."
    assert read_letter(text, "ABC") is None
    assert read_letter(text, "ABC", "last") == "B"
    assert read_letter("A is red. B is blue.", "AB", "last") == "B"
    assert read_letter("A and B", "AB", "last") is None
    assert read_letter("The answer is A. B is blue. C is green.", "ABC", "last") == "A"


def test_only_a_whole_text_is_a_whole_letter():
    assert [whole_letter(text, "AB") for text in ("(b)", "Option A.", "B it is", "C", "")] == [
        "B", "A", None, None, None,
    ]  # fmt: skip


OPTIONS = {"A": "The red dog", "B": "dog", "C": "the cat.", "D": "dog", "E": "$5"}


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("the red DOG.", "A"),
        ("The answer is the cat", "C"),
        ("**the cat**", "C"),
        ("\\$5", "E"),
        ("$\\text{\\$5}$", "E"),
        ("dog", None),  # two options have these words
        ("cat", None),
        ("", None),
    ],
)
def test_the_words_of_one_option_are_its_letter(text, letter):
    assert read_text(text, OPTIONS) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("It shows the red dog, not the house", "A"),
        ("a house, then a houseboat", "B"),
        ("the red dog, and then the house", "B"),
        ("houses", None),
        ("12 cats, 2.5 pigs, a dog, and 1.2 cows", "C"),
        ("12 cats, 2.5 pigs and 1.2 cows", None),
        ("", None),
    ],
)
def test_of_the_words_of_options_those_that_stand_last_count(text, letter):
    options = {"A": "the red dog", "B": "house", "C": "dog", "D": "2", "E": ""}
    if letter == "A":
        options.pop("B")
    assert last_text(text, options) == letter


def test_options_are_read_from_lists_and_from_questions():
    listed = Example("1", "s", "Which?", (), "A", ("(A) a dog", "(B) a cat"))
    inline = Example("1", "s", "Which?\nA: a dog\nB: a cat\n", (), "A")
    assert choices(listed) == choices(inline) == {"A": "a dog", "B": "a cat"}
    ambiguous = Example("1", "s", "(A) x (B) y\nA: a dog\nB: a cat\n", (), "A")
    assert choices(ambiguous) == {}


def test_texts_are_compared_without_case_spaces_quotes_and_full_stop():
    assert plain(' "A  Dog." ') == "a dog"
