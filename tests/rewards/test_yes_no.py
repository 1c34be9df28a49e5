import pytest

from perl_jax.rewards.yes_no import verdict


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Yes, they match", "yes"),
        ("yes they are the same.", "yes"),
        ("No: the left window is open", "no"),
        ("No, they do not match", "no"),
        ("Yes", None),
        ("yes, a bicycle", None),
        ("no. they", None),
        ("Yes, they are, but one is not", None),
        ("Yes, it isn't", None),
        ("No, that is correct", None),
        ("They are: yes", None),
        ("Yes, they are " + "very " * 40 + "dark", None),
    ],
)
def test_a_verdict_stands_first_before_a_sentence_that_does_not_take_it_back(text, word):
    assert verdict(text) == word
