"""Permuting does work in proportion to the length of the text; operations are counted, not time."""

import sys

import pytest

from perl_jax.permutation import CannotPermute, Rule, permute
from perl_jax.permutation.reading import placeholders, scan
from perl_jax.types import Example

TEXTS = {
    "references": "Is image 1 darker than the second image? The left picture shows a dog. ",
    "lists": "Images 1 and 2 show dogs, and 3 cats run in the first two images. ",
    "prose": "There is an old house with many small windows near the river. ",
    "numbers": "5, 2, 9, 11, ",
    "quotes": 'The sign says "exit 2" and image 1 says "left". ',
    "no ends of sentences": "images from left and the second and image 1 ",
    "marks": "( [ * # ",
    "ordinals": "first, second, ",
}


def work(piece, length):
    """The function calls that it takes to permute a text, and the characters masked."""
    question = piece * (length // len(piece))
    example = Example("x", "mine", question, ("a", "b"), "yes")
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        permute(example, (1, 0), Rule())
    except CannotPermute:
        pass
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("name", TEXTS)
def test_four_times_the_text_takes_four_times_the_work(name):
    short, long = work(TEXTS[name], 2000), work(TEXTS[name], 8000)
    assert long <= 4.5 * short


@pytest.mark.parametrize("name", TEXTS)
def test_the_whole_text_is_masked_as_often_whatever_its_length(name, monkeypatch):
    masked = []

    def count(text, *arguments):
        masked[-1] += 1
        return placeholders_mask(text, *arguments)

    placeholders_mask = placeholders.mask
    monkeypatch.setattr(placeholders, "mask", count)
    monkeypatch.setattr(scan, "mask", count)
    for length in (2000, 8000):
        masked.append(0)
        work(TEXTS[name], length)
    assert masked[0] == masked[1] > 0


@pytest.mark.parametrize("name", TEXTS)
def test_a_word_is_judged_by_a_window_around_it(name):
    text = scan.Scan(TEXTS[name] * 1000, scan.Reader(2))
    assert len(text.before(5000)) == len(text.after(5000)) == scan.WINDOW
