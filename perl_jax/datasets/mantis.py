"""TIGER-Lab/Mantis-Instruct: the subsets with several images per row.

Each subset has a folder, such as ``nlvr2/``, with ``train-*.parquet`` (columns ``id``, ``images``,
``conversation``, ``source``) or the authors' raw ``train.json``. Images are in the rows, in files
below the folder, or in the zip files that ``train_images_zips.txt`` lists, else in
``train_images*.zip``.

A row is a conversation about its images. Its first question and answer become the example. Later
pairs depend on earlier ones, so they and the images that only they show are left out;
``metadata["left_out_pairs"]`` counts them.

Published ids repeat (for half of the rows of dreamsim), so examples are numbered;
``metadata["published_id"]`` keeps the published id.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from perl_jax.data.sources.columns import Row
from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.dataset import DataSet, by_split
from perl_jax.datasets.files import Columns, read_files
from perl_jax.datasets.image_store import ImageStore
from perl_jax.datasets.mantis_text import read_answer, split_options
from perl_jax.legible import brief
from perl_jax.types import Example

_COLUMNS = Columns(other=("id", "images", "conversation"))
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
_IMAGE = "<image>"


@dataclass(frozen=True)
class _Subset:
    """One subset: its kind of answers (see `read_answer`) and what it asks."""

    answers: str
    asks: str
    splits: tuple[str, ...] = ("train",)


_SUBSETS = {
    "nlvr2": _Subset("choice", "Is a statement true of two photographs?", ("train", "val")),
    "dreamsim": _Subset(
        "image", "Which of two images is more similar to a third one?", ("train", "val")
    ),
    "iconqa": _Subset(
        "choice", "Questions about icons; the options are images or texts, or there are none."
    ),
    "imagecode": _Subset("image", "Which of ten similar images does a description fit?"),
    "birds-to-words": _Subset("text", "How do two birds differ?", ("train", "val")),
    "spot-the-diff": _Subset("text", "How do two frames of a camera differ?"),
    "contrastive_caption": _Subset(
        "text", "What does one of several images show, or which one does a caption fit?"
    ),
    "coinstruct": _Subset("text", "Which of several images looks better, and why?"),
    "multi_vqa": _Subset("text", "Written questions that need several images."),
    "lrv_multi": _Subset("text", "Questions about one of several images, some on what is absent."),
    "llava_665k_multi": _Subset("text", "Questions of LLaVA about one of several images."),
    "nextqa": _Subset("choice", "Questions about eight frames of a video, with options."),
    "star": _Subset("choice", "Questions about actions in eight frames, with options."),
    "visual_story_telling": _Subset("text", "Tell the story of a series of photographs."),
}


def _read_split(subset: str, split: str, directory: Path) -> Iterator[Example | BadRow]:
    folder = directory / subset
    with closing(ImageStore(folder, _zip_files(folder, split))) as store:

        def read(row: Row, name: str, number: int) -> Example:
            return _example(subset, f"{split}/{number}", row, name, store)

        for pattern in (f"{split}-*.parquet", f"{split}.json", f"{split}.jsonl"):
            if any(folder.glob(pattern)):
                yield from read_files(directory, f"{subset}/{pattern}", read, _COLUMNS)
                return
    raise FileNotFoundError(f"{folder}: expected {split}-*.parquet, {split}.json or {split}.jsonl")


def _zip_files(folder: Path, split: str) -> list[Path]:
    names = folder / f"{split}_images_zips.txt"
    if not names.is_file():
        return sorted(folder.glob(f"{split}_images*.zip"))
    files = []
    for name in filter(None, map(str.strip, names.read_text(encoding="utf-8").splitlines())):
        if not re.fullmatch(r"[\w.-]+\.zip", name):
            raise ValueError(f"{names}: expected names of zip files beside it; got {brief(name)}")
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: no such file, but {names.name} names it")
        files.append(folder / name)
    return sorted(files)


def _example(subset: str, id: str, row: Row, name: str, store: ImageStore) -> Example:
    messages = _messages(row, name)
    question, shown = _question(messages, row, name)
    for text in (row.get("id"), question, messages[1][1]):
        if isinstance(text, str) and "\0" in text:
            raise BadRow("bad_text", name, f"a text holds NUL: {text[:50]!r}")
    question, options = split_options(question)
    images = tuple(store.read(image, name) for image in row["images"][:shown])
    published = messages[1][1].strip()
    example = Example(id, f"Mantis-Instruct-{subset}", question, images, published, options)
    answer, question_type = read_answer(example, _SUBSETS[subset].answers, name)
    metadata = {
        "published_id": row.get("id"),
        "published_answer": published,
        "question_type": question_type,
        "left_out_pairs": sum(role == "assistant" for role, _ in messages) - 1,
    }
    return replace(example, answer=answer, metadata=metadata)


def _messages(row: Row, name: str) -> list[tuple[str, str]]:
    """The roles and texts of a conversation, under any of the published keys."""
    bad = partial(BadRow, "bad_conversation", name)
    messages = row.get("conversation") or row.get("conversations") or []
    if not isinstance(messages, list) or not all(isinstance(m, Mapping) for m in messages):
        raise bad("expected a list of messages")
    read = []
    for message in messages:
        role = message.get("role") or message.get("from")
        text = message.get("content") or message.get("value") or message.get("text") or ""
        if role not in _ROLES or not isinstance(text, str):
            raise bad(f"expected texts of {', '.join(_ROLES)}; got {brief(role)}")
        read.append((_ROLES[role], text))
    roles = [role for role, _ in read]
    if roles[:2] != ["user", "assistant"]:
        raise bad(f"expected a question and its answer; got {roles[:2]}")
    return read


def _question(messages: list[tuple[str, str]], row: Row, name: str) -> tuple[str, int]:
    """The first question with its placeholders, and its number of images."""
    images = row.get("images")
    if not images or not isinstance(images, list):
        raise BadRow("no_images", name, "the row has no images")
    question = messages[0][1].strip()
    if not question.replace(_IMAGE, "").strip():
        raise BadRow("empty_prompt", name, "the first question is empty")
    shown = question.count(_IMAGE)
    total = sum(text.count(_IMAGE) for role, text in messages if role == "user")
    if not total:
        # Video frames have no placeholders; the authors put them first.
        return _IMAGE * len(images) + "\n" + question, len(images)
    if total != len(images):
        raise BadRow("image_count", name, f"{total} placeholders for {len(images)} images")
    if not shown:
        raise BadRow("no_images", name, "the first question shows none of the images")
    return question, shown


def _data_set(subset: str, facts: _Subset) -> DataSet:
    return DataSet(
        name="mantis_" + subset.replace("-", "_"),
        source=f"Mantis-Instruct-{subset}",
        title=f"Mantis-Instruct, {subset}",
        homepage="https://huggingface.co/datasets/TIGER-Lab/Mantis-Instruct",
        licence="Apache-2.0",
        description=f"{facts.asks} The first question and answer of every conversation.",
        splits=by_split(partial(_read_split, subset), *facts.splits),
        files=tuple(
            f"{subset}/{split}{end}"
            for split in facts.splits
            for end in ("-*.parquet", ".json", ".jsonl", "_images_zips.txt", "_images*.zip")
        ),
    )


DATA_SETS = tuple(_data_set(subset, facts) for subset, facts in _SUBSETS.items())
