"""MMK12 (school mathematics and sciences), and its predecessor, MM-Eureka's data in JSON lines."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from perl_jax.data.sources.columns import Row
from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.dataset import DataSet, by_split
from perl_jax.datasets.fields import listed, read_examples, read_id, read_question
from perl_jax.datasets.files import Columns
from perl_jax.files import parse_json
from perl_jax.legible import brief
from perl_jax.types import Example

_MMK12, _EUREKA = "MMK12", "MM-Eureka"
_COLUMNS = Columns(text=("question",), other=("id", "image", "answer"), optional=("subject",))
_JSON_LINES, _ARCHIVES = "dataset.jsonl", ("K12.zip", "MMPR.zip")


def _read_mmk12(split: str, root: Path) -> Iterator[Example | BadRow]:
    def fields(row: Row, name: str, number: int) -> dict[str, Any]:
        return {
            "id": read_id(row["id"], split, name), "question": row["question"],
            "images": [row["image"]], "answer": row["answer"],
            "metadata": {"subject": row["subject"]} if row.get("subject") else {},
        }  # fmt: skip

    return read_examples(root, f"data/{split}-*.parquet", fields, source=_MMK12, columns=_COLUMNS)


def _read_eureka(root: Path) -> Iterator[Example | BadRow]:
    def fields(row: Row, name: str, number: int) -> dict[str, Any]:
        text, images = _user_turn(row.get("message", row.get("conversations")), name)
        return {
            "id": read_id(row.get("id"), "train", name), "question": text,
            "images": images + listed(row.get("image_urls")), "answer": row.get("answer"),
        }  # fmt: skip

    archives = [root / name for name in _ARCHIVES if (root / name).is_file()]
    return read_examples(
        root, _JSON_LINES, fields, source=_EUREKA, columns=Columns(), archives=archives
    )


def _user_turn(chat: Any, row: str) -> tuple[str, list[Any]]:
    """The text and images of the one user message.

    The system message is left out: it asks for a response format, which the recipe chooses.
    """
    bad = partial(BadRow, "bad_prompt", row)
    try:
        messages = parse_json(chat) if isinstance(chat, str) else chat
        contents = [message["content"] for message in messages if message["role"] == "user"]
        others = {message["role"] for message in messages} - {"user", "system"}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise bad(f"expected messages of role and content: {brief(error)}") from error
    if len(contents) != 1 or others:
        raise bad("expected one message of the user, and no answer")
    (content,) = contents
    if not isinstance(content, list):
        return read_question(content, row), []
    texts, images = [], []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("text", "image"):
            raise bad(f"expected parts of text and images; got {brief(part)}")
        if kind == "image":
            images.append(part.get("image"))
        texts.append("<image>" if kind == "image" else read_question(part.get("text"), row))
    return "".join(texts), images


DATA_SETS: tuple[DataSet, ...] = (
    DataSet(
        name="mmk12",
        source=_MMK12,
        title="MMK12",
        homepage="https://huggingface.co/datasets/FanqingM/MMK12",
        licence="Apache-2.0",
        description=(
            "School questions with one image. The 15,616 training rows are mathematics with a free "
            "answer, a number or a formula; the 2,000 test rows are multiple choice, 500 each of "
            "mathematics, physics, chemistry and biology, with the options in the question and a "
            "letter as the answer. Metadata: subject."
        ),
        splits=by_split(_read_mmk12, "train", "test"),
        files=("data/*.parquet",),
    ),
    DataSet(
        name="mm_eureka",
        source=_EUREKA,
        title="MM-Eureka-Dataset",
        homepage="https://huggingface.co/datasets/FanqingM/MM-Eureka-Dataset",
        licence="see the homepage",
        description=(
            "What MM-Eureka was trained on before MMK12: school mathematics and public sets, as "
            "chat messages with paths of images, which are read from the unpacked folders or from "
            "the zip files. The system message is left out."
        ),
        splits={"train": _read_eureka},
        files=(_JSON_LINES, *_ARCHIVES),
    ),
)
