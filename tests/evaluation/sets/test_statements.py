"""What a response says its answer is, and when two answers are the same text."""

import pytest

from perl_jax.evaluation.sets.statements import same_text, stated


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 7.", "7"),
        ("The final answer is: **7**", "7"),
        ("Answer: {7}", "7"),
        ("**Answer:** 7\nIt was hard.", "7"),
        ("The answer is 7. It was hard.", "7"),
        ("The answer is 7.5 cm", "7.5 cm"),
        ("The answer is B. 12", "B. 12"),
        ("The answer is 6, no, the correct answer should be 7", "7"),
        ("answer:\n\n7", "7"),
        ("The answer is:\n\n$$\n\\frac{1}{2}\n$$", "\\frac{1}{2}"),
        ("The answer is \\(7\\).", "7"),
        ("The answer is \\[7\\]", "7"),
        ("Answer: {\\frac{1}{2}}", "\\frac{1}{2}"),
        ("Answer: {1} or {2}", "{1} or {2}"),
        ("Answer: {}", None),
        ("My answer", None),
        ("7", None),
        ("", None),
    ],
)
def test_a_statement_reaches_to_the_end_of_its_sentence(text, answer):
    assert stated(text) == answer


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("7", " 7. ", True),
        ("7", "7.0", False),
        ("$\\frac{1}{2}$", "\\dfrac{1}{2}", True),
        ("60°", "60^{\\circ}", True),
        ("60°", "60^\\circ", True),
        ("x^{2}", "x^2", True),
        ("17 \\mathrm{~m}", "17 m", True),
        ("(-2, 1]", "(-2,1]", True),
        ("(-2, 1]", "(-2, 1)", False),
        ("The North", "north", True),
        ("north", "north east", False),
        ("x", "X", False),
        ("7" * 3000, "7" * 3000, False),  # no answer is that long
        ("", "", False),
        (".", ".", False),
    ],
)
def test_spaces_and_the_dress_of_latex_do_not_count(a, b, same):
    assert same_text(a, b) is same
    assert same_text(b, a) is same
