"""What scorers read of a response."""

import pytest

from perl_jax.evaluation.sets.responses import final


@pytest.mark.parametrize(
    ("response", "said"),
    [
        ("B", "B"),
        ("  The answer is B. \n", "The answer is B."),
        ("<think> A or C? </think> B", "B"),
        ("so A </think> <think> no </think>\\boxed{C}", "C"),
        ("\\boxed{A} <think> A? </think> I say D", "I say D"),
        ("<think> \\boxed{A} </think>", ""),
        ("<think> the answer is A", ""),
        ("\\boxed{A}, no, \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{A} and \\boxed{B", ""),
        ("\\boxed{}", ""),
        ("", ""),
    ],
)
def test_thoughts_are_cut_and_the_last_box_is_opened(response, said):
    assert final(response) == said
