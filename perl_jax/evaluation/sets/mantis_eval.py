"""Mantis-Eval: 217 questions on 2 to 5 images, multiple choice or with a short answer.

Images that a question does not show are shown first, as the authors' code does. Official: of what
follows "final answer:", the first letter of any word is the choice, in small or capital letters;
else the whole response must be the words of the option; and a short answer must be equal but for
the letter case. Defects avoided: the first letter of a word is no choice ("The answer is B" is B,
not T; "Both" is not B; "a dog" is not A), and neither spaces, quotes, nor a full stop make a short
answer wrong. The options are printed one a line, not as a list of Python (as lmms-eval does).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from perl_jax.data.sources.columns import read_answer
from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.files import Columns
from perl_jax.evaluation.benchmark import Benchmark, Scored
from perl_jax.evaluation.sets import multiple_choice as mc
from perl_jax.evaluation.sets.files import PublishedRow, rows_of
from perl_jax.evaluation.sets.letters import plain, read_text, undressed
from perl_jax.evaluation.sets.responses import final
from perl_jax.legible import brief
from perl_jax.types import Example

SOURCE = "Mantis-Eval"
_CHOICE, _SHORT = "multi-choice", "short-answer"
_LETTER_ONLY = "\nAnswer with the option's letter from the given choices directly."
_BEFORE = "Given the images, answer the following short answer vqa question:\nQ: "
_AFTER = '\nYou can first give your analysis, and then give your final answer as "Final Answer:"'
_COLUMNS = Columns(
    text=("question_type", "question"),
    other=("id", "images", "options", "answer"),
    optional=("category", "data_source"),
)
_TAILS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (r"final answer\W{0,3}:", r"the answer is\b:?", r"\banswer\W{0,3}:")
)


def read(path: Path) -> Iterator[Example | BadRow]:
    """The rows of the published file; see `Benchmark`."""
    return rows_of(path, _example, _COLUMNS)


def _example(row: PublishedRow) -> Example:
    kind = row.text("question_type")
    if kind not in (_CHOICE, _SHORT):
        raise row.bad("bad_question_type", f"expected {_CHOICE} or {_SHORT}; got {brief(kind)}")
    question = row.text("question")
    options = _labelled(row) if kind == _CHOICE else ()
    letters = mc.LETTERS[: len(options)]
    values = row.get("images")
    images = mc.images_of(row, values if isinstance(values, list) else [])
    missing = mc.missing_tags(row, "\n".join((question, *options)), len(images))
    category = row.get("category")
    return Example(
        id=row.id("id"),
        source=SOURCE,
        question=missing + question,
        images=images,
        answer=_truth(row, letters) if options else read_answer(row.get("answer"), row.name),
        options=options,
        metadata={
            "task": category if isinstance(category, str) else None,
            "question_type": kind,
            "data_source": row.get("data_source"),
            "letters": letters,
            "prepended": len(missing) // len(mc.IMAGE),
        },
        place=row.name,
    )


def _labelled(row: PublishedRow) -> tuple[str, ...]:
    """The options, with letters before those that have none, as the authors' code puts them."""
    options = row.texts("options")
    mc.labelled(row, "options", options)
    marks = ((text, letter) for text, letter in zip(options, mc.LETTERS, strict=False))
    return tuple(
        text if any(f"{letter}{mark}" in text.upper() for mark in "):.") else f"({letter}) {text}"
        for text, letter in marks
    )


def _truth(row: PublishedRow, letters: str) -> str:
    """The letter of the answer: "B", "(B)", "(B) text", or an option's text."""
    answer = row.get("answer")
    if isinstance(answer, str):
        options = {
            letter: text.strip().removeprefix(f"({letter})").removeprefix(f"{letter}.")
            for letter, text in zip(letters, row.texts("options"), strict=True)
        }
        labelled = re.match(r"\s*\(?([A-Z])[).:]\s*\w", answer)
        answer = labelled[1] if labelled else (read_text(answer, options) or answer)
    return mc.answer_letter(row, answer, letters)


def official(example: Example) -> str:
    """The prompt of the authors' code for the question's type."""
    if example.metadata["question_type"] == _CHOICE:
        return example.question + "".join(f"\n {text}" for text in example.options) + _LETTER_ONLY
    shown = mc.IMAGE * example.metadata["prepended"]
    return shown + _BEFORE + example.question.removeprefix(shown) + _AFTER


def score(example: Example, response: str) -> Scored:
    """The letter or the option's text after "final answer:", or the short answer there."""
    text = _tail(final(response))
    if example.metadata["question_type"] == _SHORT:
        said = plain(undressed(text))
        right = bool(said) and said == plain(example.answer.strip("()\n "))
        return Scored(said or None, float(right))
    return mc.scored(mc.chosen(example, text), example.answer)


def _tail(text: str) -> str:
    """What follows the last "final answer:", else "the answer is", else "answer:"."""
    for pattern in _TAILS:
        if found := list(pattern.finditer(text)):
            return text[found[-1].end() :].strip()
    return text


BENCHMARK = Benchmark(
    name="mantis_eval",
    source=SOURCE,
    homepage="https://huggingface.co/datasets/TIGER-Lab/Mantis-Eval",
    read=read,
    official=official,
    score=score,
    paper={
        "Qwen2.5-VL-7B": 70.80, "PeRL": 76.39, "MM-Eureka-Qwen": 69.9, "NoisyRollout-K12": 73.2,
        "R1-Onevision-7B": 71.8,
    },
)  # fmt: skip
