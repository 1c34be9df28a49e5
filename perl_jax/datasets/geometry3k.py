"""Geometry3K: geometry problems with a diagram, with free answers or with choices."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.dataset import DataSet
from perl_jax.datasets.fields import (
    listed,
    read_answer,
    read_id,
    read_question,
    with_image_tags,
)
from perl_jax.datasets.files import Columns, Row, read_parquet
from perl_jax.datasets.image_store import ImageStore
from perl_jax.types import Example

SOURCE = "hiyouga/geometry3k"
_COLUMNS = Columns(
    text=("problem",), other=("images",), optional=("answer", "id", "choices", "ground_truth")
)
_LETTERS = "ABCDEFGHIJ"


def _read_split(root: Path, *, split: str) -> Iterator[Example | BadRow]:
    store = ImageStore(root)

    def read(row: Row, name: str, number: int) -> Example:
        images = listed(row["images"])
        question = read_question(row["problem"], name)
        options, answer = _answer(row, name)
        return Example(
            id=read_id(row.get("id", number), split, name),
            source=SOURCE,
            question=with_image_tags(question, len(images), name, options),
            images=tuple(store.read(image, name) for image in images),
            answer=answer,
            options=options,
        )

    return read_parquet(root, f"data/{split}-*.parquet", _COLUMNS, read)


def _answer(row: Row, name: str) -> tuple[tuple[str, ...], str]:
    """The options of a row, as they are shown, and its answer."""
    choices = row.get("choices")
    if choices is None:
        return (), read_answer(row.get("answer", row.get("ground_truth")), name)
    if not 2 <= len(choices) <= len(_LETTERS):
        raise BadRow("bad_options", name, f"expected 2 to {len(_LETTERS)} choices; got {choices}")
    texts = [read_answer(choice, name) for choice in choices]
    options = tuple(f"{letter}. {text}" for letter, text in zip(_LETTERS, texts, strict=False))
    return options, _letter(row.get("ground_truth", row.get("answer")), texts, name)


def _letter(truth: Any, texts: Sequence[str], name: str) -> str:
    """The letter of the right choice, which the row names by its letter or its text."""
    text = read_answer(truth, name)
    if text in texts:
        if texts.count(text) > 1:
            raise BadRow("bad_options", name, f"the right choice {text!r} stands twice")
        return _LETTERS[texts.index(text)]
    if text not in _LETTERS[: len(texts)]:
        raise BadRow("letter_outside_options", name, f"the answer {text!r} is none of {texts}")
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
        splits={
            split: partial(_read_split, split=split) for split in ("train", "validation", "test")
        },
        files=("data/*.parquet",),
    ),
)
