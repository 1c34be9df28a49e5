"""Rows of published files, in file order: parquet, a JSON array, or JSON lines."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from perl_jax.data.source import BadRow

Row = Mapping[str, Any]
_ROWS_AT_ONCE = 32
_SPACE = re.compile(r"[ \t\r\n]*")
_CHARACTERS_AT_ONCE = 2**20


def parquet_rows(
    paths: Sequence[Path], columns: Sequence[str]
) -> Iterator[tuple[str, Row | BadRow]]:
    """The rows of parquet files, each with its name, such as ``train-00000-of-00002.parquet:17``.

    A row with text that is not UTF-8 is a `BadRow`, ``bad_text``.

    Args:
        paths: The files.
        columns: What is read; they must be there.

    Raises:
        ValueError: A file is not a whole parquet file, or lacks a column.
    """
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                missing = [name for name in columns if name not in file.schema_arrow.names]
                if missing:
                    raise ValueError(
                        f"{path}: expected the columns {', '.join(columns)}; it has no "
                        f"{', '.join(missing)}, but {', '.join(file.schema_arrow.names)}"
                    )
                number = 0
                for batch in file.iter_batches(_ROWS_AT_ONCE, columns=list(columns)):
                    for offset in range(batch.num_rows):
                        name = f"{path.name}:{number}"
                        yield name, _parquet_row(batch.slice(offset, 1), name)
                        number += 1
        except (pa.ArrowException, OSError) as error:
            cause = " ".join(str(error).split())
            raise ValueError(f"{path}: expected a whole parquet file: {cause}") from error


def _parquet_row(batch: pa.RecordBatch, name: str) -> Row | BadRow:
    try:
        return batch.to_pylist()[0]
    except UnicodeDecodeError as error:
        return BadRow("bad_text", name, f"a text is not UTF-8: {error}")


def json_rows(path: Path) -> Iterator[tuple[str, Row | BadRow]]:
    """The objects of a JSON file, an array or (``.jsonl``) one a line, each with its name.

    Files of gigabytes are read piece by piece. Something else than an object is a `BadRow`,
    ``bad_row``.

    Raises:
        ValueError: The file is no JSON, or is cut off.
    """
    values = _lines(path) if path.suffix == ".jsonl" else _array(path)
    try:
        for number, value in enumerate(values):
            name = f"{path.name}:{number}"
            if isinstance(value, dict):
                yield name, value
            else:
                yield name, BadRow("bad_row", name, f"expected an object; got {str(value)[:50]!r}")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected JSON in UTF-8: {error}") from error


def _lines(path: Path) -> Iterator[Any]:
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except (json.JSONDecodeError, RecursionError) as error:
                    raise ValueError(f"{path}: line {number}: {error}") from error


def _array(path: Path) -> Iterator[Any]:
    """The elements of an array; of the text, only a piece is held at a time."""
    decoder = json.JSONDecoder()
    with open(path, encoding="utf-8") as file:
        text = file.read(_CHARACTERS_AT_ONCE).lstrip("\ufeff \t\r\n")
        if not text.startswith("["):
            raise ValueError(f"{path}: expected a JSON array; got {text[:20]!r}")
        at = _after_space(text, 1)
        while text[at : at + 1] != "]":
            try:
                value, end = decoder.raw_decode(text, at)
                following = _after_space(text, end)
            except json.JSONDecodeError:
                following = len(text)  # the element goes on in the next piece, or is broken
            except RecursionError as error:
                raise ValueError(f"{path}: {error}") from error
            if following < len(text):
                if text[following] not in ",]":
                    raise ValueError(f"{path}: expected , or ]; got {text[following:][:20]!r}")
                yield value
                at = _after_space(text, following + (text[following] == ","))
            elif more := file.read(max(_CHARACTERS_AT_ONCE, len(text) - at)):
                text = text[at:].lstrip() + more
                at = _after_space(text, 0)
            else:
                raise ValueError(f"{path}: expected a whole JSON array; it ends {text[-40:]!r}")


def _after_space(text: str, start: int) -> int:
    space = _SPACE.match(text, start)
    return space.end() if space else start
