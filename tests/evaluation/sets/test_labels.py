"""Which option is chosen in mathematics, where letters also label points."""

import pytest

from perl_jax.evaluation.sets.labels import chosen

_OPTIONS = {"A": "40°", "B": "$\\frac{1}{2}$", "C": "tokyo", "D": "140^\\circ"}


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("D", "D"),
        ("d", "D"),
        ("**D**", "D"),
        ("D: 140", "D"),
        ("Option D", "D"),
        ("140°", "D"),
        ("$\\dfrac12$", None),
        ("\\dfrac{1}{2}", "B"),
        ("Tokyo", "C"),
        ("In triangle ABC, A = 40 and C = 90, so CED is 140 degrees.", None),
        ("We know that A = 40.", None),
        ("So BC is longer than A.", None),
        ("The right angle is at A.", None),
        ("It is the right triangle with A.", None),
        ("So A, B and C lie on a line. The answer is D.", "D"),
        ("The answer is D. It follows from A = 40.", "D"),
        ("Option A is too small. Option D fits.", "D"),
        ("A is wrong and C is wrong, so B", "B"),
        ("C is not right, so D is.", "D"),
        ("First A = 40.\nTherefore it is (D).", "D"),
        ("First A = 40, so C.", "C"),
        ("As A = 40, we take\n\n(D) 140", "D"),
        ("D. 140\nFor A = 40.", "D"),
        ("I would choose D, as A is 40.", "D"),
        ("Options A and D may be correct.", None),
        ("\\boxed{D}", "D"),
        ("D it is: \\boxed{7}", None),
        ("<think> The answer is A. </think> The answer is D.", "D"),
        ("<think> The answer is D.", None),
        ("", None),
    ],
)
def test_labels_of_points_choose_nothing(response, letter):
    assert chosen(response, _OPTIONS) == letter
