import pytest

from perl_jax.rewards import last_boxed


@pytest.mark.reliability("73", "81")
@pytest.mark.parametrize(
    ("response", "text"),
    [
        (r"\boxed{5}", "5"),
        (r"first \boxed{4}, no: \boxed{5}.", "5"),
        (r"\boxed{\frac{1}{2}} and more", r"\frac{1}{2}"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\boxed {8}", "8"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ 1 \right.}", r"\left\{ 1 \right."),
        ("\\boxed{ a\nb }", "a\nb"),
        (r"\boxed{5} is the content of \boxed", "5"),
        (r"\boxed{答案}", "答案"),
        (r"\boxed{5}" * 2000, "5"),
    ],
)
def test_the_last_box_is_read_to_its_own_closing_brace(response, text):
    assert last_boxed(response).text == text
    assert last_boxed(response).problem == ""


@pytest.mark.reliability("70", "71", "72", "74", "78", "80", "84", "89")
@pytest.mark.parametrize(
    ("response", "problem"),
    [
        ("", "no_box"),
        ("the answer is 5", "no_box"),
        ("!" * 100_000, "no_box"),
        (r"\boxed 5", "no_box"),
        (r"\boxed{5} or \boxed{6", "unclosed_box"),
        (r"\boxed{5\}", "unclosed_box"),
        (r"\boxed" + "{" * 20_000, "unclosed_box"),
        (r"\boxed" + "{" * 20_000 + "}" * 20_000, "too_long"),
        (r"\boxed{}", "empty_box"),
        ("\\boxed{ \n }", "empty_box"),
        (r"\boxed{" + "9" * 1_000_000 + "}", "too_long"),
        (r"\boxed{" + "1+" * 5000 + "1}", "too_long"),
        ("\\boxed{5\u200b}", "invisible_characters"),
        ("\\boxed{\u202e5}", "invisible_characters"),
        ("\\boxed{5\x00}", "invisible_characters"),
        ("\\boxed{\ud800}", "invisible_characters"),
    ],
)
def test_what_cannot_be_graded_says_why(response, problem):
    assert last_boxed(response).problem == problem
    assert last_boxed(response).text == ""


def test_a_box_of_exactly_two_thousand_characters_is_read():
    assert last_boxed(r"\boxed{" + "9" * 2000 + "}").text == "9" * 2000
    assert last_boxed(r"\boxed{" + "9" * 2001 + "}").problem == "too_long"


def test_invisible_characters_outside_the_box_do_no_harm():
    assert last_boxed("\u200bso \\boxed{5}\u200b").text == "5"
