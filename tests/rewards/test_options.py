"""Letters of options: one with its text, and never two."""

import pytest

from perl_jax.rewards.options import Option, read_option, read_true_option


def option(answer):
    given = read_option(answer)
    return given.letter if given else ""


@pytest.mark.parametrize(
    "answer",
    ["B", "b", "(B)", "[B]", "B.", "B)", "B:", "(B).", r"\text{B}", r"\mathrm{(B)} 15", "Option B",
     "choice (B)", "the option B", "Image B", "B. cat", "(B) A cat on a mat", "(B) Vitamin C",
     "B. Image A", "B. No", "B. Not visible", "B: 3 or more", "(B) red and blue",
     "B. Both of them"],
)  # fmt: skip
def test_one_option_is_read_with_or_without_its_text(answer):
    assert option(answer) == "B"


@pytest.mark.parametrize(
    "answer",
    ["", "BC", "B C", "B or C", "(B) (C)", "B. C.", "B: no, C", "B. Actually C", "(B) cat (C) dog",
     "B. maybe", "B. is wrong", "B is right", "not B", "B. or not", "B. not the answer",
     "B. see (c)",
     "B. option C", "B. not correct", "Banana", "B cat", "1", "B. A is right"],
)  # fmt: skip
def test_an_answer_that_is_not_one_option_is_none(answer):
    assert option(answer) == ""


@pytest.mark.parametrize(
    ("truth", "read"),
    [
        ("C", Option("C")), ("(C)", Option("C")), ("C.", Option("C")), ("cat", None),
        ("Option C", Option("C")), ("Image C", Option("C")), ("c", None), ("CD", None),
        ("(C) a cat", Option("C", "a cat")), ("C. 8", Option("C", "8")), ("C 8", None),
        ("A: 5, B: 6", None), ("X. 5", None),
    ],
)  # fmt: skip
def test_a_true_option_has_its_letter_and_its_text(truth, read):
    assert read_true_option(truth) == read
