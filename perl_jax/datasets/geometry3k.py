"""Geometry3K: geometry problems with a diagram, with free answers or with choices."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from perl_jax.data.sources.columns import Row, read_answer
from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.dataset import DataSet, by_split
from perl_jax.datasets.fields import read_examples, read_id
from perl_jax.datasets.files import Columns
from perl_jax.legible import brief
from perl_jax.types import Example

SOURCE = "hiyouga/geometry3k"
_COLUMNS = Columns(
    text=("problem",), other=("images",), optional=("answer", "id", "choices", "ground_truth")
)
_LETTERS = "ABCDEFGHIJ"


def _read_split(split: str, root: Path) -> Iterator[Example | BadRow]:
    def fields(row: Row, name: str, number: int) -> dict[str, Any]:
        options, answer = _answer(row, name)
        return {
            "id": read_id(row.get("id", number), split, name), "question": row["problem"],
            "images": row["images"], "answer": answer, "options": options,
        }  # fmt: skip

    return read_examples(root, f"data/{split}-*.parquet", fields, source=SOURCE, columns=_COLUMNS)


def _answer(row: Row, name: str) -> tuple[tuple[str, ...], Any]:
    choices = row.get("choices")
    if choices is None:
        return (), row.get("answer", row.get("ground_truth"))
    if not 2 <= len(choices) <= len(_LETTERS):
        raise BadRow("bad_options", name, f"expected 2 to {len(_LETTERS)} choices; got {choices}")
    texts = [read_answer(choice, name) for choice in choices]
    options = tuple(f"{letter}. {text}" for letter, text in zip(_LETTERS, texts, strict=False))
    return options, _letter(row.get("ground_truth", row.get("answer")), texts, name)


def _letter(truth: Any, texts: Sequence[str], name: str) -> str:
    """The letter of the right choice, given that letter or the choice's text."""
    text = read_answer(truth, name)
    if text in texts:
        if texts.count(text) > 1:
            raise BadRow("bad_options", name, f"the right choice {brief(text)} stands twice")
        return _LETTERS[texts.index(text)]
    if text not in _LETTERS[: len(texts)]:
        raise BadRow(
            "letter_outside_options", name, f"the answer {brief(text)} is none of {brief(texts)}"
        )
    return text


DATA_SETS: tuple[DataSet, ...] = (
    DataSet(
        name="geometry3k",
        source=SOURCE,
        title="Geometry3K",
        homepage="https://huggingface.co/datasets/hiyouga/geometry3k",
        licence="MIT",
        description=(
            "Geometry problems with one diagram: 2,101 rows to train on, 300 to validate and 601 "
            "to test. The answer is a number or LaTeX; rows that come with choices become "
            "multiple-choice questions whose answer is a letter."
        ),
        splits=by_split(_read_split, "train", "validation", "test"),
        files=("data/*.parquet",),
    ),
)
