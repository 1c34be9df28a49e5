"""The rule filter: drops rows that are of no use, judged by their columns alone."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from perl_jax.data.pipeline.preparer import letter_is_possible
from perl_jax.data.pipeline.rows import Skipped
from perl_jax.data.sources.source import Source
from perl_jax.permutation.answers import letter_of
from perl_jax.preparation.answers import KINDS, AnswerKind, answer_kind
from perl_jax.preparation.stage import Context, DroppedRow, KeptRow, Outcome, dropped, read_rows
from perl_jax.rewards import Grader, answer_text
from perl_jax.settings import Checked, Count
from perl_jax.types import Example

_BATCH = 256


@dataclass(frozen=True)
class FilterConfig(Checked):
    """The rows to keep.

    Attributes:
        sources: Their sources, in any letter case; empty: all.
        question_types: Their values of ``question_type``; empty: all, and rows without one.
        images: The least and the most images of a row.
        answers: The kinds of answers: ``letter``, ``number``, ``list``, ``words`` (up to three),
            ``expression``.
        keep_open: Whether to keep rows with any other answer, for ``rephrase``.
        grading_workers: The number of processes that check answers.
    """

    sources: tuple[str, ...] = ()
    question_types: tuple[str, ...] = ()
    images: tuple[int, int] = (1, 16)
    answers: tuple[AnswerKind, ...] = KINDS
    keep_open: bool = False
    grading_workers: Count = 2

    def _check_together(self) -> None:
        low, high = self.images
        if not 0 <= low <= high:
            raise ValueError(f"images: expected a range from 0; got {self.images}")
        if not (self.answers or self.keep_open):
            raise ValueError(f"answers: expected some of {', '.join(KINDS)}; got {self.answers}")


def filter_rows(source: Source, config: FilterConfig, context: Context) -> Iterator[Outcome]:
    """Keeps rows by source, question type, number of images and answer.

    Kept rows are counted by the kind of answer. Others are dropped as ``source``,
    ``question_type``, ``image_count``, ``answer_kind``, ``answer_open``, ``answer_unreadable`` (no
    response could match it, or only by the same characters) or ``letter_outside_options``.
    """
    with Grader(num_workers=config.grading_workers) as grader:
        rows = read_rows(source)
        while batch := list(itertools.islice(rows, _BATCH)):
            yield from _matching([_judged(row, config) for row in batch], grader)


def _judged(row: Example | Skipped, config: FilterConfig) -> Outcome:
    if isinstance(row, Skipped):
        return row
    kind = row.metadata.get("question_type")
    low, high = config.images
    if config.sources and row.source.lower() not in map(str.lower, config.sources):
        return dropped(row, "source", row.source)
    if config.question_types and kind not in config.question_types:
        return dropped(row, "question_type", str(kind))
    if not low <= len(row.images) <= high:
        return dropped(row, "image_count", f"{len(row.images)} images")
    return _judged_answer(row, config)


def _judged_answer(row: Example, config: FilterConfig) -> KeptRow | DroppedRow:
    try:
        kind = answer_kind(row.answer)
    except (TypeError, ValueError) as error:
        return dropped(row, "answer_unreadable", str(error))
    if kind == "open":
        if not config.keep_open:
            return dropped(row, "answer_open", row.answer[:200])
    elif kind not in config.answers:
        return dropped(row, "answer_kind", f"{kind}: {row.answer[:200]}")
    letter = letter_of(row.answer)
    if letter is not None and not letter_is_possible(letter, row):
        return dropped(row, "letter_outside_options", row.answer)
    return KeptRow(replace(row, answer=answer_text(row.answer)), kind)


def _matching(outcomes: list[Outcome], grader: Grader) -> list[Outcome]:
    """Drops rows whose answer does not match itself."""
    kept = {
        place: one.example
        for place, one in enumerate(outcomes)
        if isinstance(one, KeptRow) and one.note != "open"
    }
    problems = grader.check_gold([row.answer for row in kept.values()])
    for (place, row), problem in zip(kept.items(), problems, strict=True):
        if problem:
            outcomes[place] = dropped(row, "answer_unreadable", problem)
    return outcomes
