"""Units as they are written, and what they measure."""

from fractions import Fraction

import pytest

from perl_jax.rewards.units import counted, read_unit, same_dimension, same_unit

SAME = [
    ("cm", "centimeters"), ("km/h", "kilometers per hour"), ("kmh", "km/h"), ("m/s^2", "m s^{-2}"),
    ("cm^2", "square centimeters"), ("cm^{2}", "sq. cm"), ("ft^3", "cubic feet"), ("m^2",
    "m squared"),
    (r"\text{ cm}^2", "cm^2"), (r"\frac{\text{m}}{\text{s}}", "m/s"), (r"\text{N}\cdot\text{m}",
    "N m"),
    ("min", "minutes"), ("hrs", "hours"), ("lbs", "pounds"), ("$", "dollars"), ("mph", "mi/h"),
    (r"^{\circ}", "degrees"), (r"^{\circ}C", "degrees C"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), SAME)
def test_two_ways_to_write_a_unit_are_the_same_unit(one, other):
    left, right = read_unit(one), read_unit(other)
    assert left is not None
    assert right is not None
    assert same_unit(left, right)


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [("km", "m", 1000), ("hour", "min", 60), ("m^2", "cm^2", 10_000), ("m/s", "km/h", "18/5"),
     ("foot", "inch", 12), ("dollar", "cent", 100), ("kg", "g", 1000)],
)  # fmt: skip
def test_units_of_one_dimension_differ_by_their_sizes(one, other, ratio):
    left, right = read_unit(one), read_unit(other)
    assert same_dimension(left, right)
    assert left.size / right.size == Fraction(ratio)


@pytest.mark.parametrize(
    ("one", "other"), [("m", "s"), ("m", "m^2"), ("km", "km/h"), ("€", "$"), ("kg", "N")]
)
def test_units_of_other_dimensions_are_told_apart(one, other):
    assert not same_dimension(read_unit(one), read_unit(other))


def test_degrees_may_be_of_a_thermometer_and_units_are_of_anything():
    assert same_dimension(read_unit("degrees"), read_unit(r"^{\circ}C"))
    assert not same_dimension(read_unit(r"^{\circ}F"), read_unit(r"^{\circ}C"))
    assert same_dimension(read_unit("units"), read_unit("cm"))


@pytest.mark.parametrize(
    "text",
    ["", "x", "o", "more", "or", "cm or m", "million", "cm 5", "/", "km/", "m//s", "per", "is m",
     "cm" * 40, "m^x", "square", "C"],
)  # fmt: skip
def test_what_is_no_unit_is_none(text):
    assert read_unit(text) is None


def test_counted_things_are_units_of_their_own():
    assert counted("cats") == counted("cat")
    assert not same_dimension(counted("cats"), counted("dogs"))
