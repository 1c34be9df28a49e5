"""Equations as labels and values."""

import pytest

from perl_jax.rewards.equations import read_labelled, with_label_of_first
from perl_jax.rewards.sequences import read_sequence


@pytest.mark.parametrize(
    ("text", "label", "values"),
    [
        ("5", "", ("5",)), ("x = 5", "x", ("5",)), (r"\text{Area} = 24", "area", ("24",)),
        ("side length = 3 cm", "side length", ("3 cm",)), ("AB = 5", "AB", ("5",)),
        (r"\angle ABC = 30", r"\angleABC", ("30",)), ("x_{1} = 2", "x_1", ("2",)),
        ("f(2) = 5", "f(2)", ("5",)), ("2+3 = 5", "", ("2+3", "5")), ("x = 2+3 = 5", "x", ("2+3",
        "5")),
        (r"S = \pi r^2 = 9\pi", "S", (r"9\pi",)), (r"\approx 2.7", "", ("2.7",)), ("about 3",
        "", ("3",)),
        (r"x \approx 2.7", "x", ("2.7",)), (r"\sqrt{2} \approx 1.4",
        "", (r"\sqrt{2} \approx 1.4",)),
        (r"A = \pi r^2 \approx 3.1", "A", ("3.1",)), (r"\{x = 1\}", "", (r"\{x = 1\}",)),
    ],
)  # fmt: skip
def test_a_value_stands_behind_its_label(text, label, values):
    read = read_labelled(text)
    assert (read.label, read.values, read.is_value) == (label, values, True)


@pytest.mark.parametrize(
    "text",
    ["2x = 10", "x + y = 1", "not = 5", "wrong answer = 5", "x =", "= 5", "if x = 5",
     r"5 \approx 6 \approx 7", "never = 5"],
)  # fmt: skip
def test_an_equation_that_is_no_label_and_value_is_none(text):
    assert not read_labelled(text).is_value


@pytest.mark.parametrize(
    ("text", "items"),
    [("t = 7 or 9", ("t = 7", "t = 9")), ("t = 7 or t = 9", ("t = 7", "t = 9")),
     ("t = 7, 9", ("t = 7", "9")), ("t = 7 or red", ("t = 7", "red"))],
)  # fmt: skip
def test_the_label_of_the_first_of_several_values_is_that_of_all(text, items):
    assert with_label_of_first(read_sequence(text)).items == items
