import numpy as np
import pytest

from perl_jax.rewards import ANSWER_FORM, answer_text, asked_answer, check_truth


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
    ("written", "text"),
    [
        ("<answer> 14 </answer>", "14"), ("<answer>\nB\n</answer>\n", "B"), ("#### 18", "18"),
        ("<think>3 < 4</think> <answer>yes</answer>", "yes"), ("2 + 3 = 5\n#### 5", "5"),
        (r"\boxed{6}.", "6"), (r"So it is \boxed{\frac{2}{3}}!", r"\frac{2}{3}"),
        (r"$$\boxed{x+1}$$", "x+1"), ("The answer is 11.", "11"), ("answer: (D)", "(D)"),
        ("Final Answer: 2 cm", "2 cm"), ("The correct answer is B", "B"),
        (r"<answer>\boxed{7}</answer>", "7"), (r"Answer: $\boxed{7}$.", "7"),
        # What only looks like it stays.
        ("The answer", "The answer"), ("Answers: a list", "Answers: a list"), ("#3", "#3"),
        ("<think>3 < 4</think>\n\n7", "7"), ("<answer> 9 </answer>.", "9"), ("Ans: 5", "5"),
        (r"<think>\boxed{4}</think> \boxed{5}", "5"), ("**Answer:** B", "B"),
        ("**Answer: B**", "B"), ("<|begin_of_box|>5<|end_of_box|>", "5"),
    ],
)  # fmt: skip
def test_a_truth_is_taken_out_of_what_published_rows_put_around_it(written, text):
    assert answer_text(written) == text


@pytest.mark.reliability("11")
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("0/0", "divides by zero"), (r"-\frac{4}{0}", "divides by zero"), ("3 1/0", "by zero"),
        ("7/0.0", "divides by zero"), ("...", "no letter and no digit"), ("+", "no letter"),
        ("<answer>1</answer><answer>2</answer>", "</answer>"), ("<answer>B", "<answer>"),
        ("B</answer>", "</answer>"), ("5<|im_end|>", "im_end"),
        ("", "empty"), (None, "NoneType"), (r"\boxed{1}, \boxed{2}", "several boxes"),
    ],
)  # fmt: skip
def test_a_truth_that_nothing_matches_has_its_reason_at_once(answer, reason):
    assert reason in check_truth(answer)


@pytest.mark.parametrize("answer", ["B", 0, "0", "0/5", r"\emptyset", "∞", "红色", False, [1, 2]])
def test_a_truth_that_can_be_matched_has_no_reason_against_it(answer):
    assert check_truth(answer) is None


@pytest.mark.parametrize(
    ("answer", "form", "asked"),
    [
        ("1, 3", "set", r"\{1, 3\}"), ("1 and 3", "order", "[1, 3]"), ("ACD", "order", "[A, C, D]"),
        ("2→1", "set", r"\{2, 1\}"), ("4", "set", "4"), ("1, 3", None, "1, 3"),
    ],
)  # fmt: skip
def test_the_metadata_may_say_whether_an_answer_is_a_set_or_an_order(answer, form, asked):
    assert asked_answer(answer, {ANSWER_FORM: form} if form else {}) == asked


def test_another_form_of_an_answer_is_an_error_that_names_the_choices():
    with pytest.raises(ValueError, match="answer_form: expected 'set' or 'order'; got 'list'"):
        asked_answer("1, 2", {ANSWER_FORM: "list"})


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
