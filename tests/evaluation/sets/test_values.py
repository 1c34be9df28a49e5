"""The value of numbers in text and LaTeX."""

import math

import pytest

from perl_jax.evaluation.sets.values import value_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7), ("-7.50", -7.5), ("1,200", 1200), ("3 cm", 3), ("$5", 5), ("50\\%", 50),
        ("\\frac{1}{2}", 0.5), ("\\dfrac12", 0.5), ("2\\frac{1}{2}", 2.5), ("½", 0.5),
        ("5\\sqrt{2}", 5 * math.sqrt(2)), ("\\sqrt[3]{8}", 2), ("sqrt(2)", math.sqrt(2)),
        ("\\frac{3\\pi}{4}", 0.75 * math.pi), ("2π", 2 * math.pi), ("45^\\circ", 45),
        ("10\\sqrt{2}-5", 10 * math.sqrt(2) - 5), ("2(3+4)", 14), ("1/(2+3)", 0.2),
        ("2^10", 1024), ("2^{-1}", 0.5), ("3 \\cdot 4 \\times 2", 24), ("-\\frac{1}{2}", -0.5),
        ("\\sin(\\pi)", 0), ("--3", 3), ("(2+3)\\sqrt{4}", 10),
    ],
)  # fmt: skip
def test_numbers_are_read(text, value):
    assert value_of(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "x+1", "3 4", "3:4", "(1,2)", "2+", "(", "\\frac{1}{0}", "\\sqrt{-1}", "\\frac{1}",
        "9^9^9^9", "10^{400}", "1e999", "__import__('os')", "(" * 150, "(" * 30 + "1" + ")" * 30,
        "1" * 5000, "seven or eight", "\\ln 0",
    ],
)  # fmt: skip
def test_all_else_has_no_value(text):
    assert value_of(text) is None
