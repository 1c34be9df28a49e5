r"""Reads which option is chosen in mathematics, where letters also label points and angles.

"So A = 40" chooses nothing. A letter counts in a box, in what is said to be the answer, at the
beginning of the first or last line, and in a sentence about options or answers.
"""

import re
from collections.abc import Iterator, Mapping

from perl_jax.evaluation.sets.letters import read_letter, read_text, whole_letter
from perl_jax.evaluation.sets.responses import boxed, said
from perl_jax.evaluation.sets.statements import same_text, stated

_LABEL = re.compile(
    r"[\s*_]*(?:(?:option|choice)\s+)?(?:[(\[][A-Za-z][)\]]|[A-Z](?:[.):]|\W*$))", re.I
)
_SENTENCE = re.compile(r"(?<!\b[A-Z])[.!?]\s+|\n+")
_RIGHT = r"right(?!-|\s+(?:angle|triangle|prism|cone|circular|pyramid|cylinder|side|hand|of\b))"
_CHOOSING = re.compile(
    rf"\b(?:options?|choices?|answers?|choose|chosen|select|pick|correct|wrong|incorrect|{_RIGHT})\b",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"(?:[(\[][A-Z][)\]]|\b(?:is|be|so|thus|hence|therefore|it's)[,:]?\s+[A-Z])\W*$"
)


def chosen(response: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that a response chooses, by a letter or by its words."""
    box, text = boxed(response), said(response)
    if box is not None:
        return option_of(box, options)
    answer = stated(text)
    return (option_of(answer, options) if answer else None) or _named(text, options)


def option_of(answer: str, options: Mapping[str, str]) -> str | None:
    """The letter of the option that an answer names, by its letter or by its words or LaTeX."""
    return _exactly(answer, options) or read_letter(answer, options)


def _exactly(answer: str, options: Mapping[str, str]) -> str | None:
    if letter := whole_letter(answer, options) or read_text(answer, options):
        return letter
    same = [letter for letter, words in options.items() if same_text(answer, words)]
    return same[0] if len(same) == 1 else None


def _named(text: str, options: Mapping[str, str]) -> str | None:
    found = (read_letter(part, options) for part in _parts(text))
    return _exactly(text, options) or next(filter(None, found), None)


def _parts(text: str) -> Iterator[str]:
    """The parts of a text that may name an option, the ones that are surer first."""
    lines = [line for line in text.splitlines() if line.strip()]
    yield from (line for line in (*lines[-1:], *lines[:1]) if _LABEL.match(line))
    sentences = [one for one in _SENTENCE.split(text) if one and one.strip()]
    yield from (one for one in reversed(sentences) if _CHOOSING.search(one))
    yield from (one for one in sentences[-1:] if _CLOSING.search(one))
