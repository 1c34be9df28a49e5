"""Reads the options and answers in the texts of Mantis-Instruct."""

import re

from perl_jax.data.sources.source import BadRow
from perl_jax.legible import brief, name_list
from perl_jax.permutation.answers import letter_of
from perl_jax.permutation.reading.options import fields_of, find_options
from perl_jax.permutation.reading.references import read_references
from perl_jax.permutation.reading.scan import Reader
from perl_jax.permutation.refusal import CannotPermute
from perl_jax.rewards.answers import answer_text
from perl_jax.types import Example

_LABEL = re.compile(r"(?:\(([A-Z])\)|([A-Z])[.):])\s*(?=\S)")
_ANSWER = re.compile(r"\A(?:the\s+)?(?:correct\s+)?answer(?:\s+is)?\s*:\s*", re.IGNORECASE)
# The sentences of dreamsim that name an image.
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
    """Splits a text into its question and the two or more lettered lines (from A) at its end.

    Joined by line breaks, they are the text again. Any other list of options stays in the question,
    where the permutation finds it too.
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
    """Reduces a published answer to the form that is graded and permuted.

    A choice (``B``, ``(B)``, ``Answer: B``, ``B: the option's words`` or these words alone) becomes
    its letter. A sentence that only names an image (``The second image``, ``Answer: Image 2``,
    ``Image 2 is more similar to the reference image.``) becomes ``Image 2``. Any other text only
    loses a leading ``Answer:``.

    Args:
        example: The example with the published answer.
        kind: ``choice`` (an option, if there are any), ``image`` (an option or an image) or
            ``text`` (anything).
        row: The row's name, for errors.

    Returns:
        The answer, and the question type: ``multiple_choice``, ``short_answer`` or ``free_text``.

    Raises:
        BadRow: ``answer_null``, ``bad_answer`` (no response could match it),
            ``letter_outside_options`` or ``answer_not_an_option``.
    """
    text = _ANSWER.sub("", example.answer.strip(), count=1).strip()
    if not text:
        raise BadRow("answer_null", row, "the answer is empty")
    choices = _choices(example)
    letter = _chosen(text, choices)
    if letter is not None:
        if letter not in choices:
            raise BadRow("letter_outside_options", row, f"{brief(text)} of {name_list(choices)}")
        return letter, "multiple_choice"
    if choices and kind != "text":
        raise BadRow("answer_not_an_option", row, f"{text[:100]!r} of {name_list(choices)}")
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
    """The words of each option by letter; empty if the options cannot be read."""
    fields = fields_of(example)
    try:
        options = find_options(example)
    except CannotPermute:
        return {}
    return {o.letter: _plain(fields[o.field][o.start : o.end]) for o in options}


def _chosen(text: str, choices: dict[str, str]) -> str | None:
    """The letter that an answer gives, or that its words give."""
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
    """The image that the text names, as ``Image 2``; None if it says anything else."""
    sentence = _MORE_SIMILAR.fullmatch(text)
    if sentence is None or not _ONE_IMAGE.fullmatch(sentence["image"]):
        return None
    scan = read_references(sentence["image"], Reader(num_images))
    if len(scan.mentions) != 1 or scan.runs or scan.doubts:
        return None
    return f"Image {scan.mentions[0].slot + 1}"
