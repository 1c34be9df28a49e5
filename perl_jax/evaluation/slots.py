"""Which slot an answer names: that of an option, by its letter, or that of an image."""

import re

from perl_jax.evaluation.consistency import letters_of
from perl_jax.permutation import Rule
from perl_jax.permutation.answers import letter_of
from perl_jax.permutation.reading.words import POSITION, SIDE, read_token
from perl_jax.rewards.matching import match
from perl_jax.rewards.normalise import clean, prose, without_preamble
from perl_jax.rewards.numeric import Tolerance
from perl_jax.rewards.references import read_reference
from perl_jax.types import Example

# Longer text names nothing; reading hostile text takes quadratic time.
_MAX_CHARACTERS = 200
_PLACE = re.compile(rf"{POSITION}|{SIDE}", re.IGNORECASE)


def slot_of(example: Example, rule: Rule, answer: str | None) -> int | None:
    """The slot that an answer to an example names, counted from 0; None if it names none.

    The truth decides what a slot is. Where it is an option, the answer names the option by its
    letter, or word for word: slot j is the j-th option, whether it shows an image or not. Where it
    names an image ("the second image"; "2" if the rule's answers are references), slot j is the
    j-th image. Other truths, orders such as "2→1→3" among them, name no slot.

    Args:
        example: The example under the order in which the answer was given.
        rule: The rule of its source.
        answer: The truth, or what was answered; None if nothing was.
    """
    if answer is None or len(answer) > _MAX_CHARACTERS + len(example.answer):
        return None
    options = [option.strip() for option in example.options]
    is_option = example.answer.strip() in options
    if is_option and answer.strip() in options:
        return options.index(answer.strip())
    if is_option or letter_of(example.answer) is not None:
        letters = letters_of(example, rule)
        named = (j for j, letter in enumerate(letters) if match(answer, letter, Tolerance()).equal)
        return next(named, None)
    if _image_of(example, rule, example.answer, bare=rule.answer == "reference") is None:
        return None
    return _image_of(example, rule, answer, bare=True)


def _image_of(example: Example, rule: Rule, answer: str, bare: bool) -> int | None:
    """The slot of the image that a text names; without ``bare``, only by a noun or a sign."""
    named = read_reference(prose(without_preamble(clean(answer))))
    if named is None or not (bare or named.form == "named"):
        return None
    if not named.picture.isdigit() and not _PLACE.fullmatch(named.picture):
        return None
    reading = read_token(named.picture, len(example.images), rule.index_base)
    return reading[1] if reading and 0 <= reading[1] < len(example.images) else None
