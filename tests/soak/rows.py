"""Rows of the demo in files, of which 2 % are damaged, in every way in turn."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from perl_jax.data.sources.digits import DigitsConfig

Row = dict[str, Any]

COUNT = 500
# One row in so many.
DAMAGED = 50


def write_rows(directory: Path, count: int = COUNT) -> None:
    """Writes ``rows.jsonl`` and its images into an empty directory, alike every time."""
    source = DigitsConfig(rows=count, seed=1, skew=0.8).open()
    with (directory / "rows.jsonl").open("w", encoding="utf-8") as lines:
        for number in range(count):
            example = source[number]
            names = []
            for place, image in enumerate(example.images):
                names.append(f"{number}-{place}.png")
                (directory / names[-1]).write_bytes(_png(image))
            row = {
                "problem": example.question,
                "images": names,
                "answer": example.answer,
                "source": example.source,
                "question_type": example.metadata["question_type"],
            }
            if number % DAMAGED == DAMAGED - 1:
                row = DAMAGES[number // DAMAGED % len(DAMAGES)](row, directory)
            lines.write(json.dumps(row) + "\n")


def _png(image: Any) -> bytes:
    if isinstance(image, bytes):
        return image
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _truncated(row: Row, directory: Path) -> Row:
    file = directory / row["images"][0]
    file.write_bytes(file.read_bytes()[:60])
    return row


def _missing(row: Row, directory: Path) -> Row:
    (directory / row["images"][-1]).unlink()
    return row


def _too_few_images(row: Row, directory: Path) -> Row:
    return {**row, "images": row["images"][:1]}


def _no_answer(row: Row, directory: Path) -> Row:
    return {**row, "answer": None}


def _empty(row: Row, directory: Path) -> Row:
    (directory / row["images"][0]).write_bytes(b"")
    return row


DAMAGES: list[Callable[[Row, Path], Row]] = [
    _truncated, _missing, _too_few_images, _no_answer, _empty,
]  # fmt: skip
