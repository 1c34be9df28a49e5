"""BLINK: fourteen tasks of visual perception, most of them on several images.

Each configuration has a folder with the parquet files of its splits. The test split hides its
answers, so its rows are refused with the reason ``hidden_answer``.

The official rule takes the letter in brackets of the last paragraph, or else of the whole
response, if it is the only one, and asks a judge where it is not. Ours reads the letter that a
careful person reads before it asks. Two defects are avoided: a rejected letter ("not (A)") is not
chosen, and "(B)." is read although a full stop follows. The disclaimer that the authors put
before three tasks for one model is left out: it is no part of the published prompt.
"""

from collections.abc import Iterator
from pathlib import Path

from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.files import Columns
from perl_jax.evaluation.benchmark import Ask, Benchmark, Scored, mean_of_tasks
from perl_jax.evaluation.sets import multiple_choice as mc
from perl_jax.evaluation.sets.files import PublishedRow, rows_of
from perl_jax.evaluation.sets.responses import final
from perl_jax.types import Example

SOURCE = "BLINK"
_IMAGES = 4
_COLUMNS = Columns(
    text=("idx", "sub_task", "answer"),
    other=("image_1", "choices"),
    optional=("question", "prompt", "image_2", "image_3", "image_4"),
)


def read(path: Path) -> Iterator[Example | BadRow]:
    """The rows of the published parquet files; see `Benchmark`."""
    return rows_of(path, _example, _COLUMNS)


def _example(row: PublishedRow) -> Example:
    task, options = row.text("sub_task"), row.texts("choices")
    listed = mc.labelled(row, "choices", options)
    letters = mc.LETTERS[: len(options)]
    answer = mc.answer_letter(row, row.get("answer"), letters)
    prompt = row.get("prompt") or "\n".join(
        (row.text("question"), "Select from the following choices.", *listed)
    )
    if not isinstance(prompt, str):
        raise row.bad("bad_prompt", f"prompt: expected text; got {type(prompt).__name__}")
    images = mc.images_of(row, mc.numbered_images(row, _IMAGES))
    return Example(
        id=row.id("idx"),
        source=SOURCE,
        question=mc.missing_tags(row, prompt, len(images)) + prompt,
        images=images,
        answer=answer,
        metadata={"task": task, "sub_task": task, "letters": letters},
        place=row.name,
    )


def official(example: Example) -> str:
    """The published prompt as it is, after the images."""
    return example.question


def score(example: Example, response: str) -> Scored:
    """The letter that is chosen, or the one option that is said; open for a judge otherwise."""
    text = final(response)
    letter = mc.chosen(example, text)
    if letter is None and text:
        return Scored(None, None)
    return mc.scored(letter, example.answer)


def judge(example: Example, response: str, ask: Ask) -> Scored:
    """Asks which option is chosen, where the rules do not say."""
    ruled = score(example, response)
    return mc.judged(example, response, ask) if ruled.score is None else ruled


BENCHMARK = Benchmark(
    name="blink",
    source=SOURCE,
    homepage="https://huggingface.co/datasets/BLINK-Benchmark/BLINK",
    read=read,
    official=official,
    score=score,
    judge=judge,
    overall=mean_of_tasks,
    paper={
        "Qwen2.5-VL-7B": 55.23, "PeRL": 58.53, "MM-Eureka-Qwen": 51.5, "NoisyRollout-K12": 54.2,
        "R1-Onevision-7B": 32.4,
    },
)  # fmt: skip
