"""What kind of thing an answer is, and so whether a rule can verify it."""

from typing import Literal, get_args

from perl_jax.permutation.answers import letter_of
from perl_jax.rewards.answers import answer_text
from perl_jax.rewards.matching import read_sequence
from perl_jax.rewards.normalise import clean, is_prose, prose
from perl_jax.rewards.numeric import read_number

AnswerKind = Literal["letter", "number", "list", "words", "expression"]
KINDS: tuple[AnswerKind, ...] = get_args(AnswerKind)
"""The kinds that a rule can verify; any other answer is ``open``."""

# Mathematics may be long; words that are many can be written in many ways.
_MAX_WORDS = 3


def answer_kind(answer: str) -> str:
    """One of `KINDS`, or ``open`` for a text of more than three words.

    A letter is an option's, as in ``B`` or ``(B)``; a list is one of numbers, letters or
    expressions, or an order such as ``2→1→3``. Whether an expression can be read at all, the grader
    says.

    Raises:
        ValueError: No answer could ever match it, as `perl_jax.rewards.answer_text` says.
    """
    text = clean(answer_text(answer))
    if letter_of(answer) is not None:
        return "letter"
    if read_number(text) is not None:
        return "number"
    if is_prose(text):
        return "words" if len(prose(text).split()) <= _MAX_WORDS else "open"
    return "expression" if read_sequence(text) is None else "list"
