"""What is mathematics for the symbolic grader, and how it is written for it."""

import pytest

from perl_jax.rewards.expressions import as_latex, mathematics, split_unit
from perl_jax.rewards.units import read_unit


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("sqrt(2)", r"\sqrt{2}"), ("sqrt(sin(x)+(1))", r"\sqrt{\sin(x)+(1)}"), ("√3", r"\sqrt{3}"),
        ("√(x+1)", r"\sqrt{x+1}"), (r"\sqrt(3)", r"\sqrt{3}"), ("2**3", "2^3"), ("exp(2)",
        r"\exp(2)"),
        ("pi/2", r"\pi /2"), (r"\sin x", r"\sin x"), ("arctan(1)", r"\arctan(1)"),
    ],
)  # fmt: skip
def test_names_of_functions_and_roots_become_commands(text, latex):
    assert as_latex(text) == latex


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("1.25x", r"\frac{125}{100}x"), ("3(4)", r"3\cdot (4)"), ("(3)(4)", r"(3)\cdot (4)"),
        ("2i", "2 i"), (r"\cos 60^{\circ}", r"\cos {\frac{60\pi }{180}}"), ("5.0", "5"),
        (r"\log_2{8}", r"\log_{2}{8}"), ("50%", r"50\%"), (r"x_{1}", "x_{1}"), ("ab", "ab"),
    ],
)  # fmt: skip
def test_mathematics_is_written_exactly(text, latex):
    assert mathematics(text) == latex


@pytest.mark.parametrize(
    "text",
    ["5 6", "{5}6", "{5}{6}", r"5 \text{ more}", "5 or", "5 more", r"\fbox{5}", r"\cancel{5}6",
     "x = 5 = 6",
     r"\phantom{6}", "5?", "5 @ 6", "x'", "5 % 6", "4_{5}", r"6 \in 5", "1.2.3", "5 ft 2", "5 $6",
     "a_1 b~"],
)  # fmt: skip
def test_what_the_reader_of_latex_would_misread_is_no_mathematics(text):
    assert mathematics(text.replace("$", "@")) is None


@pytest.mark.parametrize(
    ("text", "expression", "unit"),
    [
        (r"2\sqrt{3} \text{ cm}", r"2\sqrt{3}", "cm"), (r"2\sqrt{3} cm^2", r"2\sqrt{3}", "cm^2"),
        (r"36 \pi cm", r"36 \pi", "cm"), (r"2x^{\circ}", "2x", "degree"), ("x+1", "x+1", None),
        (r"2\sqrt{3} \text{ or more}", r"2\sqrt{3} \text{ or more}", None),
        (r"\sin 30^{\circ}", r"\sin 30^{\circ}", None), (r"\text{cm}", r"\text{cm}", None),
    ],
)  # fmt: skip
def test_a_unit_is_split_from_an_expression(text, expression, unit):
    assert split_unit(text) == (expression, unit and read_unit(unit))
