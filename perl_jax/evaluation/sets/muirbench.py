"""MuirBench: twelve tasks on several images, with options that are texts or images.

Every second question is an unanswerable twin of another one, in which the right option is that no
option is right.

The official rule, which is MMMU's, is that of `sets.mmmu`.
"""

from collections.abc import Iterator
from pathlib import Path

from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.files import Columns
from perl_jax.evaluation.benchmark import Benchmark, Scored
from perl_jax.evaluation.sets import multiple_choice as mc
from perl_jax.evaluation.sets.files import PublishedRow, rows_of
from perl_jax.evaluation.sets.responses import final
from perl_jax.types import Example

SOURCE = "MuirBench"
_BEFORE = "Question: "
_CHOICES = "Choices:"
_HINT = "Hint: Please provide the correct option letter, such as A, B, C, D, directly.\nAnswer:"
_COLUMNS = Columns(
    text=("task", "question", "answer"),
    other=("idx", "options", "image_list"),
    optional=("image_relation", "image_type", "counterpart_idx"),
)


def read(path: Path) -> Iterator[Example | BadRow]:
    """The rows of the published files; see `Benchmark`."""
    return rows_of(path, _example, _COLUMNS)


def _example(row: PublishedRow) -> Example:
    task, question = row.text("task"), row.text("question")
    options = mc.labelled(row, "options", row.texts("options"))
    letters = mc.LETTERS[: len(options)]
    answer = mc.answer_letter(row, row.get("answer"), letters)
    values = row.get("image_list")
    images = mc.images_of(row, values if isinstance(values, list) else [])
    metadata = {"task": task, "letters": letters}
    for name in ("image_relation", "image_type", "counterpart_idx"):
        if row.get(name) is not None:
            metadata[name] = str(row.get(name))
    return Example(
        id=row.id("idx"),
        source=SOURCE,
        question=mc.missing_tags(row, "\n".join((question, *options)), len(images)) + question,
        images=images,
        answer=answer,
        options=options,
        metadata=metadata,
        place=row.name,
    )


def official(example: Example) -> str:
    """The prompt of the authors' code, with its hint."""
    return "\n".join((_BEFORE + example.question, _CHOICES, *example.options, _HINT)).strip()


def score(example: Example, response: str) -> Scored:
    """The letter that MMMU's rule reads; 0 where the official code draws one."""
    return mc.scored(mc.letter_as_in_mmmu(example, final(response)), example.answer)


BENCHMARK = Benchmark(
    name="muirbench",
    source=SOURCE,
    homepage="https://huggingface.co/datasets/MUIRBENCH/MUIRBENCH",
    read=read,
    official=official,
    score=score,
)
