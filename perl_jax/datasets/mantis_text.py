"""The texts of Mantis-Instruct: where the options of a question end, and what an answer means."""

import re

from perl_jax.data.sources.source import BadRow
from perl_jax.permutation.answers import letter_of
from perl_jax.permutation.reading.options import fields_of, find_options
from perl_jax.permutation.reading.references import read_references
from perl_jax.permutation.reading.scan import Reader
from perl_jax.permutation.refusal import CannotPermute
from perl_jax.rewards.answers import answer_text
from perl_jax.types import Example

_LABEL = re.compile(r"(?:\(([A-Z])\)|([A-Z])[.):])\s*(?=\S)")
_ANSWER = re.compile(r"\A(?:the\s+)?(?:correct\s+)?answer(?:\s+is)?\s*:\s*", re.IGNORECASE)
# The sentences of dreamsim around the image that they name.
_MORE_SIMILAR = re.compile(
    r"(?:the\s+image\s+that\s+is\s+more\s+similar\s+to\s+the\s+reference\s+image\s+is\s+)?"
    r"(?P<image>.+?)(?:\s+is\s+more\s+similar\s+to\s+the\s+reference\s+image)?\s*\.?",
    re.IGNORECASE,
)
_ONE_IMAGE = re.compile(
    r"(?:image\s+\w+|(?:the\s+)?\w+\s+image(?:\s+in\s+(?:the\s+)?(?:sequence|series))?)",
    re.IGNORECASE,
)


def split_options(text: str) -> tuple[str, tuple[str, ...]]:
    """Splits a question from the lettered lines that it ends with, A first.

    Nothing is changed: the question and the options, joined by line breaks, are the text. A list
    that does not end the text, or that stands in a line, stays in the question, where the
    permutation finds it too.

    Returns:
        The question, and the lines with their labels; no lines where there are fewer than two.
    """
    lines = text.split("\n")
    wanted = ""
    for start in range(len(lines) - 1, 0, -1):
        label = _LABEL.match(lines[start])
        letter = (label[1] or label[2]) if label else ""
        if not letter or (wanted and letter != wanted):
            break
        if letter == "A":
            options = tuple(lines[start:])
            return ("\n".join(lines[:start]), options) if len(options) > 1 else (text, ())
        wanted = chr(ord(letter) - 1)
    return text, ()


def read_answer(example: Example, kind: str, row: str) -> tuple[str, str]:
    """What an answer of Mantis-Instruct comes down to, as it is graded and permuted.

    A choice becomes its letter: of ``B``, ``(B)``, ``Answer: B``, ``B: the words of the option``
    or these words alone. A sentence that does nothing but name an image becomes ``Image 2``: of
    ``Image 2 is more similar to the reference image.``, ``Answer: Image 2``, ``The second image``.
    Any other text stays, without ``Answer:`` before it.

    Args:
        example: With the answer as it is published.
        kind: What an answer may be: ``choice`` (where there are options, one of them), ``image``
            (an option, or an image) or ``text`` (anything).
        row: Names the row.

    Returns:
        The answer, and which of ``multiple_choice``, ``short_answer`` and ``free_text`` it makes of
        the question.

    Raises:
        BadRow: ``answer_null``, ``bad_answer`` (it could never be matched),
            ``letter_outside_options`` or ``answer_not_an_option``.
    """
    text = _ANSWER.sub("", example.answer.strip(), count=1).strip()
    if not text:
        raise BadRow("answer_null", row, "the answer is empty")
    choices = _choices(example)
    letter = _chosen(text, choices)
    if letter is not None:
        if letter not in choices:
            raise BadRow("letter_outside_options", row, f"{text!r} of {', '.join(choices)}")
        return letter, "multiple_choice"
    if choices and kind != "text":
        raise BadRow("answer_not_an_option", row, f"{text[:100]!r} of {', '.join(choices)}")
    if image := _named_image(text, len(example.images)):
        return image, "short_answer"
    if kind == "text":
        return text, "free_text"
    if kind == "image":
        raise BadRow("bad_answer", row, f"expected one of the images; got {text[:100]!r}")
    try:
        return answer_text(text), "short_answer"
    except ValueError as error:
        raise BadRow("bad_answer", row, str(error)) from error


def _choices(example: Example) -> dict[str, str]:
    """The words of each option by its letter; none where the list cannot be read."""
    fields = fields_of(example)
    try:
        options = find_options(example)
    except CannotPermute:
        return {}
    return {o.letter: _plain(fields[o.field][o.start : o.end]) for o in options}


def _chosen(text: str, choices: dict[str, str]) -> str | None:
    """The letter that an answer gives by itself, with its option's words, or by these words."""
    if not choices:
        return None
    if (letter := letter_of(text)) is not None:
        return letter
    label = _LABEL.match(text)
    if label and choices.get(letter := label[1] or label[2]) == _plain(text[label.end() :]):
        return letter
    same = [letter for letter, words in choices.items() if words == _plain(text)]
    return same[0] if len(same) == 1 else None


def _plain(text: str) -> str:
    return " ".join(text.split()).strip(" .").casefold()


def _named_image(text: str, num_images: int) -> str | None:
    """The image that the whole text does nothing but name, as ``Image 2``."""
    sentence = _MORE_SIMILAR.fullmatch(text)
    if sentence is None or not _ONE_IMAGE.fullmatch(sentence["image"]):
        return None
    scan = read_references(sentence["image"], Reader(num_images))
    if len(scan.mentions) != 1 or scan.runs or scan.doubts:
        return None
    return f"Image {scan.mentions[0].slot + 1}"
