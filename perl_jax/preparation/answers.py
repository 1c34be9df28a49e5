"""The kinds of answers, which tell whether a rule can verify them."""

from typing import Literal, get_args

from perl_jax.permutation.answers import letter_of
from perl_jax.rewards.answers import answer_text
from perl_jax.rewards.normalise import clean, is_prose, prose
from perl_jax.rewards.numeric import read_number
from perl_jax.rewards.sequences import read_sequence

AnswerKind = Literal["letter", "number", "list", "words", "expression"]
KINDS: tuple[AnswerKind, ...] = get_args(AnswerKind)
"""The kinds that a rule can verify; any other answer is ``open``."""

_MAX_WORDS = 3  # more words can be put in too many ways


def answer_kind(answer: str) -> str:
    """Returns one of `KINDS`, or ``open`` for a text of more than three words.

    A letter is an option's, as in ``B`` or ``(B)``; a list has numbers, letters or expressions, or
    is an order such as ``2→1→3``. Only the grader tells whether an expression can be read.

    Raises:
        ValueError: No response could match it; see `perl_jax.rewards.answer_text`.
    """
    text = clean(answer_text(answer))
    if letter_of(answer) is not None:
        return "letter"
    if read_number(text) is not None:
        return "number"
    if is_prose(text):
        return "words" if len(prose(text).split()) <= _MAX_WORDS else "open"
    return "expression" if read_sequence(text) is None else "list"
