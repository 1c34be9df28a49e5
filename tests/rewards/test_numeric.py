"""Numbers as they are written: what they are worth, and what may stand beside them."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perl_jax.rewards.numeric import Tolerance, divides_by_zero, read_number, same_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,200.5", "2401/2"), ("-7", -7), ("+7", 7), (".5", "1/2"), ("7.", 7), ("-(7)", -7),
        ("3 1/8", "25/8"), (r"3\frac{1}{8}", "25/8"), (r"\frac{-1}{8}", "-1/8"), ("1/8", "1/8"),
        (r"0.\overline{27}", "3/11"), (r"1.2\bar{3}", "37/30"), ("0.(6)", "2/3"), (r".\dot{1}",
        "1/9"),
        (r"2 \times 10^{-3}", "1/500"), ("2e-3", "1/500"), (r"2 \cdot 10^3", 2000),
        ("3 hundred thousand", 300_000), ("2 dozen", 24), ("$-5", -5), ("€ 5", 5), ("(5) cm", 5),
    ],
)  # fmt: skip
def test_a_number_is_read_exactly(text, value):
    assert read_number(text).value == Fraction(value)


@pytest.mark.parametrize(
    "text",
    ["1/0", "5 6", "5-6", "1/2/3", "5 more", "5 factorial", "5x", "5 cm 6", "5%%", "5% cm",
     "(5)(6)",
     "(5)6", "5 thirds", "5 pairs", "5 is", "5 guess", "4 horse", "5 a", "--", "1,23", "€5 kg",
     "0." + "9" * 30 + r"\overline{" + "1" * 50 + "}", "5 " + "cm " * 40],
)  # fmt: skip
def test_a_text_with_anything_else_is_no_number(text):
    assert read_number(text) is None


@given(st.integers(-(10**12), 10**12), st.integers(1, 10**6))
def test_every_fraction_is_read_back(top, bottom):
    for text in (f"{top}/{bottom}", rf"\frac{{{top}}}{{{bottom}}}"):
        assert read_number(text).value == Fraction(top, bottom)


@given(st.text("0123456789.,/ -+$%()\\{}^efracbo milndzt", max_size=30))
def test_any_text_is_a_number_or_none(text):
    number = read_number(text)
    assert number is None or isinstance(number.value, Fraction)


@pytest.mark.parametrize(
    ("text", "zero"),
    [("0/0", True), ("-3/0.00", True), (r"\frac{1}{0}", True), ("1 2/0", True), ("0/3", False),
     ("3/10", False), ("x/0", False), ("", False)],
)  # fmt: skip
def test_a_fraction_over_zero_is_known(text, zero):
    assert divides_by_zero(text) is zero


@pytest.mark.parametrize(
    ("text", "other", "same"),
    [
        ("5 ft 6 in", "66 inches", True), ("5 ft 6 in", "5.5 ft", True),
        ("5 ft 6 in", "5.5", False),
        ("1h 30m", "90 min", True), ("5'6\"", "5 ft 6 in", True), ("6'", "6", False),
    ],
)  # fmt: skip
def test_a_measure_in_two_units_needs_a_unit_on_the_other_side(text, other, same):
    assert same_number(read_number(text), read_number(other), Tolerance()) is same


@pytest.mark.parametrize("text", ["5 ft 13 in", "6 in 5 ft", "5 ft 2 kg", "5 ft 2", "5 ft or 2 in"])
def test_units_that_do_not_get_smaller_are_no_measure(text):
    assert read_number(text) is None
