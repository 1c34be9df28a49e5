import pytest

from perl_jax.rewards.intervals import Interval, read_interval, same_in_other_form


@pytest.mark.parametrize(
    ("text", "latex", "form", "name"),
    [
        ("x < 3", r"(-\infty,3)", "inequality", "x"), ("3 < x", r"(3,\infty)", "inequality", "x"),
        (r"-1 \leq x < 4", "[-1,4)", "inequality", "x"),
        (r"4 > t \geq 0", "[0,4)", "inequality", "t"),
        ("x < 1 or x > 3", r"(-\infty,1) \cup (3,\infty)", "several", "x"),
        ("x > 1 and x < 3", "(1,3)", "several", "x"), ("[1, 2)", "[1, 2)", "interval", ""),
        (r"\{y \mid y > 2\}", r"(2,\infty)", "builder", "y"),
        (r"x \in (1, 2) \cup (3, 4)", r"(1, 2) \cup (3, 4)", "member", "x"),
    ],
)  # fmt: skip
def test_inequalities_are_written_as_intervals(text, latex, form, name):
    assert read_interval(text) == Interval(latex, form, name)


@pytest.mark.parametrize(
    "text",
    ["5", "1 < 3", "x < y", "3 < x > 2", "x > 3 and x > 5", "x > 3 or y > 5", "x^2 < 4",
     "1 < x < 3 < 4", r"\{x \mid y > 2\}", "x = 3", "x < 3 and x > 1 and x > 2"],
)  # fmt: skip
def test_what_is_no_set_of_numbers_is_none(text):
    assert read_interval(text) is None


def test_only_other_forms_of_the_same_variable_are_compared():
    chain, interval, other = map(read_interval, ("1 < x < 3", "(1, 3)", r"\{y \mid y > 1\}"))
    assert same_in_other_form(chain, interval)
    assert not same_in_other_form(chain, chain)
    assert not same_in_other_form(chain, other)
