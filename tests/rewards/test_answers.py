import numpy as np
import pytest

from perl_jax.rewards import answer_text


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (" B ", "B"), (5, "5"), (0.1, "0.1"), (True, "True"), ([2, 1, 3], "[2, 1, 3]"),
        ((0.5, "x"), "[0.5, x]"), (np.int64(7), "7"), (np.float64(0.25), "0.25"),
        (np.array([3, 1]), "[3, 1]"), (r"\boxed{12}", "12"), ("2→1→3", "2→1→3"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    ],
)  # fmt: skip
def test_the_ground_truth_of_every_form_becomes_text(answer, text):
    assert answer_text(answer) == text


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (None, TypeError, "NoneType"), ({}, TypeError, "dict"), ([[1]], TypeError, "within a list"),
        ("", ValueError, "empty"), ([], ValueError, "empty"), (float("nan"), ValueError, "finite"),
        (float("inf"), ValueError, "finite"), (r"\frac{1}{2", ValueError, "balance"),
        ("}{", ValueError, "balance"), ("5\u200b", ValueError, "invisible"),
        ("x" * 2001, ValueError, "2000"), (["a, b"], ValueError, "separator"),
    ],
)  # fmt: skip
def test_an_answer_that_nothing_could_match_is_refused(answer, error, message):
    with pytest.raises(error, match=message):
        answer_text(answer)
