from fractions import Fraction

import pytest

from perl_jax.rewards.number_words import in_digits, read_fraction, read_whole


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("zero", 0), ("seventeen", 17), ("forty-two", 42), ("forty two", 42), ("a hundred", 100),
        ("two hundred and five", 205), ("three thousand five hundred", 3500),
        ("one million two hundred thousand and six", 1_200_006), ("nine hundred thousand", 900_000),
    ],
)  # fmt: skip
def test_a_number_in_words_is_read_to_its_end(text, number):
    assert read_whole(text) == (number, len(text))


@pytest.mark.parametrize("text", ["five six", "twenty twenty", "sevenths", "dog", "", "five-six"])
def test_two_numbers_or_none_are_no_number(text):
    assert read_whole(text) is None


@pytest.mark.parametrize(
    ("text", "fraction"),
    [("half", Fraction(1, 2)), ("two-thirds", Fraction(2, 3)), ("a quarter", Fraction(1, 4))],
)
def test_a_fraction_is_read_in_words(text, fraction):
    assert read_fraction(text) == fraction


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("two and a half", "2 1/2"), ("2 and a half cm", "2 1/2 cm"), ("seven birds", "7 birds"),
        ("seven or eight", "7 or eight"), ("two and three", "2 and three"), ("a dog", "a dog"),
    ],
)  # fmt: skip
def test_only_the_number_at_the_beginning_becomes_digits(text, digits):
    assert in_digits(text) == digits
