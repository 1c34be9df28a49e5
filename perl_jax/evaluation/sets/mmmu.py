"""MMMU: questions of 30 college subjects, multiple choice or open.

The images of a row are ordered as their tags stand in question and options; images without a tag
come first. The test split hides its answers, so its rows are refused (``hidden_answer``).

Multiple choice, officially: the last letter in brackets, else the last letter that stands between
spaces, else, in more than five words, the option whose words stand last, else a letter drawn at
random. Defects avoided: nothing is drawn; what the response says its answer is goes before what it
mentions; rejected letters, articles ("A dog") and several letters at once ("A and B") are not
chosen; "B," is a letter although a comma follows; the words of an option are whole words.

Open, officially: the tails of the lines after words such as "is" and "answer", the numbers in
them, rounded to two places, and the text itself, one of which must hold or be a right answer.
Defects avoided: the text of an answer must stand as whole words ("no" is not in "nothing"), and a
number is read although a comma follows it.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from perl_jax.data.sources.columns import read_answer
from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.files import Columns
from perl_jax.evaluation.benchmark import Benchmark, Scored
from perl_jax.evaluation.sets import multiple_choice as mc
from perl_jax.evaluation.sets.files import PublishedRow, rows_of
from perl_jax.evaluation.sets.letters import undressed
from perl_jax.evaluation.sets.responses import final
from perl_jax.legible import brief
from perl_jax.processing import Slot, find_slots, split_placeholders
from perl_jax.types import Example

SOURCE = "MMMU"
_CHOICE, _OPEN = "multiple-choice", "open"
_LETTER_ONLY = "Answer with the option's letter from the given choices directly."
_SHORT_ONLY = "Answer the question using a single word or phrase."
_IMAGES = 7
_LONGEST_LIST = 20_000
_SUBJECT = re.compile(r"(?:dev|validation|test)_(\w+?)_\d+")
_COLUMNS = Columns(
    text=("id", "question"),
    other=("image_1", "options", "answer", "question_type"),
    optional=("subfield", "topic_difficulty", *(f"image_{n}" for n in range(2, _IMAGES + 1))),
)
# Where the answer follows, in a line; in the last one, an equation may give it.
_KEYS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_TRIVIAL = (":", ",", ".", "!", "?", ";", "'")
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?(?<!\d)\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?<!\d)(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d)(?!,?\d)"),
)


def read(path: Path) -> Iterator[Example | BadRow]:
    """The rows of the published files; see `Benchmark`."""
    return rows_of(path, _example, _COLUMNS)


def _example(row: PublishedRow) -> Example:
    id, kind = row.id("id"), row.text("question_type")
    if kind not in (_CHOICE, _OPEN):
        raise row.bad("bad_question_type", f"expected {_CHOICE} or {_OPEN}; got {brief(kind)}")
    subject = _SUBJECT.fullmatch(id)
    if subject is None:
        raise row.bad("bad_id", f"expected one such as validation_Accounting_1; got {brief(id)}")
    question = row.text("question")
    options = mc.labelled(row, "options", _options(row)) if kind == _CHOICE else ()
    letters = mc.LETTERS[: len(options)]
    truths = _truths(row, letters)
    texts, images = _in_reading_order(row, (question, *options))
    return Example(
        id=id,
        source=SOURCE,
        question=texts[0],
        images=images,
        answer=truths[0],
        options=texts[1:],
        metadata={
            "task": subject[1],
            "question_type": kind,
            "letters": letters,
            "answers": truths if kind == _OPEN else (),
        },
        place=row.name,
    )


def _options(row: PublishedRow) -> list[str]:
    """The options, which are published as the text of a list of Python."""
    values = _as_list(row.get("options"))
    if values is None or not all(isinstance(value, str | int | float) for value in values):
        raise row.bad("bad_options", f"expected a list; got {str(row.get('options'))[:100]!r}")
    return [str(value) for value in values]


def _as_list(value: Any) -> list[Any] | None:
    """A list, or one that a text writes in Python; None for anything else. No code is run."""
    if isinstance(value, str) and len(value) <= _LONGEST_LIST and value.lstrip().startswith("["):
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    return value if isinstance(value, list) else None


def _truths(row: PublishedRow, letters: str) -> tuple[str, ...]:
    """The right answers; a question of multiple choice has one."""
    value = row.get("answer")
    if letters:
        return (mc.answer_letter(row, value, letters),)
    if value is None or (isinstance(value, str) and value.strip() in ("", "?")):
        raise row.bad("hidden_answer", f"the answer is {brief(value)}: it is not published")
    truths = tuple(read_answer(one, row.name) for one in _as_list(value) or [value])
    if not all(truth.strip() for truth in truths):
        raise row.bad("bad_answer", f"expected answers; got {str(value)[:100]!r}")
    return truths


def _in_reading_order(
    row: PublishedRow, texts: Sequence[str]
) -> tuple[tuple[str, ...], tuple[bytes, ...]]:
    """The texts and images, in the order in which tags show them first.

    The tags become ``<image>``; they keep numbers, those of the new order, if one stands twice.
    """
    values = [row.get(f"image_{number}") for number in range(1, _IMAGES + 1)]
    given = [number for number, value in enumerate(values, 1) if value is not None]
    tags = [slot.number or 0 for text in texts for slot in find_slots(text)]
    if not given:
        raise row.bad("no_images", "the row has no images")
    if lacking := sorted(set(tags) - set(given)):
        raise row.bad("image_count", f"tags of the images {lacking}; there are {given}")
    untagged = [number for number in given if number not in tags]
    order = [*untagged, *dict.fromkeys(tags)]
    once = len(set(tags)) == len(tags)

    def tag(number: int) -> str:
        return mc.IMAGE if once else f"<image {order.index(number) + 1}>"

    def retagged(text: str) -> str:
        pieces = split_placeholders(text)
        return "".join(tag(p.number or 0) if isinstance(p, Slot) else p for p in pieces)

    first, *rest = map(retagged, texts)
    shown = "".join(map(tag, untagged)) + first
    return (shown, *rest), mc.images_of(row, [values[number - 1] for number in order])


def official(example: Example) -> str:
    """The prompt of the authors' code: the options end with an empty line."""
    if example.metadata["question_type"] == _OPEN:
        return f"{example.question}\n{_SHORT_ONLY}"
    return "\n".join((example.question, *example.options, "", _LETTER_ONLY))


def score(example: Example, response: str) -> Scored:
    """The letter or the open answer by the official rules; 0 where they draw a letter."""
    text = final(response)
    if example.metadata["question_type"] == _OPEN:
        return _score_open(text, example.metadata["answers"])
    return mc.scored(mc.letter_as_in_mmmu(example, text), example.answer)


def _score_open(text: str, truths: Sequence[str]) -> Scored:
    said = _key_texts(undressed(text))
    if not said:
        return Scored(None, 0.0)
    numbers = {number for one in said for number in _numbers_in(one)}
    right = any(_is_said(truth, said, numbers) for truth in truths)
    return Scored(said[-1], float(right))


def _key_texts(text: str) -> list[str]:
    """The parts of a response that may hold its answer: the tails of lines, or all of it."""
    whole = text.strip().strip(".").lower()
    lines = whole.split("\n")
    found = []
    for number, line in enumerate(lines):
        keys = (*_KEYS, "=") if number == len(lines) - 1 else _KEYS
        tails = [line.rpartition(key)[2].strip() for key in keys if key in line]
        tail = min(filter(None, tails), key=len, default="")
        if tail and tail not in _TRIVIAL:
            found.append(tail)
    return found or ([whole] if whole else [])


def _numbers_in(text: str) -> list[float]:
    written = [text, *(one for pattern in _NUMBERS for one in pattern.findall(text))]
    return [number for one in written if (number := _number(one)) is not None]


def _number(text: str) -> float | None:
    try:
        return round(float(text.replace(",", "")), 2)
    except (ValueError, OverflowError):
        return None


def _is_said(truth: str, said: Sequence[str], numbers: set[float]) -> bool:
    truth = undressed(truth).lower()
    number = _number(truth)
    if number is not None:
        return number in numbers
    # A word must not go on where the answer ends with one.
    before, after = r"(?<!\w)" * truth[:1].isalnum(), r"(?!\w)" * truth[-1:].isalnum()
    within = re.compile(before + re.escape(truth) + after)
    return bool(truth) and any(within.search(one) for one in said)


BENCHMARK = Benchmark(
    name="mmmu",
    source=SOURCE,
    homepage="https://huggingface.co/datasets/MMMU/MMMU",
    read=read,
    official=official,
    score=score,
)
