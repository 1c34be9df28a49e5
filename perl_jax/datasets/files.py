"""Reads the rows of published parquet and JSON files, in file order and in little memory."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from perl_jax.data.sources.columns import Row
from perl_jax.data.sources.source import BadRow
from perl_jax.data.sources.tables import row_of
from perl_jax.datasets.json_array import json_array
from perl_jax.legible import brief, name_list
from perl_jax.types import Example

ReadRow = Callable[[Row, str, int], Example]
"""Converts a row, given its name and its number over all files of the split."""
# Each row's name and decoder: decoding late keeps an error to its own row.
_NamedRows = Iterator[tuple[str, Callable[[], Row]]]

_BATCH_ROWS = 32  # with images, a few dozen megabytes
_MAX_LINE_BYTES = 2**24  # no line of text and paths is longer


@dataclass(frozen=True)
class Columns:
    """The parquet columns to read: required text, other required ones, and optional ones."""

    text: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


def read_files(
    root: Path, pattern: str, read: ReadRow, columns: Columns = Columns()
) -> Iterator[Example | BadRow]:
    """Reads the files that match a pattern, row by row.

    The formats are ``.parquet``, ``.jsonl`` (one JSON object per line; blank lines are skipped)
    and ``.json`` (one array of objects, or the same as ``.jsonl``).

    Args:
        root: The directory with the published files; rows are named relative to it.
        pattern: The pattern of the files, such as ``data/train-*.parquet``.
        read: Converts a row, or raises `BadRow`.
        columns: The parquet columns to read.

    Yields:
        Each row's example or its `BadRow`, including ``duplicate_id``, ``bad_text`` and
        ``bad_json``.

    Raises:
        FileNotFoundError: No file matches.
        ValueError: A file is cut off, is of another format, or lacks a column.
    """
    paths = sorted(path for path in root.glob(pattern) if path.is_file())
    if not paths:
        raise FileNotFoundError(f"{root / pattern}: no such file")
    yield from read_paths(root, paths, read, columns)


def read_paths(
    root: Path, paths: Iterable[Path], read: ReadRow, columns: Columns = Columns()
) -> Iterator[Example | BadRow]:
    """Reads given files, in the order given; yields and raises what `read_files` does."""
    rows = (row for path in paths for row in _rows_of(path, str(path.relative_to(root)), columns))
    seen: dict[str, str] = {}
    for number, (name, decode) in enumerate(rows):
        row: Example | BadRow
        try:
            row = read(decode(), name, number)
            if row.id in seen:
                raise BadRow("duplicate_id", name, f"{seen[row.id]} has the id {brief(row.id)} too")
            seen[row.id] = name
        except BadRow as error:
            row = error
        yield row


def _parquet_rows(path: Path, name: str, columns: Columns) -> _NamedRows:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            names = _check_columns(file.schema_arrow, columns, path)
            for batch in file.iter_batches(_BATCH_ROWS, columns=names):
                for offset in range(batch.num_rows):
                    row = f"{name}:{number}"
                    yield row, partial(row_of, batch, offset, row)
                    number += 1
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        if getattr(error, "errno", None) is not None:  # the storage, not the content
            raise
        cause = " ".join(str(error).split())
        raise ValueError(f"{path}: expected a whole parquet file: {cause}") from error


def _check_columns(schema: pa.Schema, columns: Columns, path: Path) -> list[str]:
    lacking = [name for name in (*columns.text, *columns.other) if name not in schema.names]
    if lacking:
        raise ValueError(
            f"{path}: it lacks {', '.join(lacking)}; its columns are {name_list(schema.names)}"
        )
    for name in columns.text:
        kind = schema.field(name).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise ValueError(f"{path}: column {name}: expected text; got {kind}")
    optional = [name for name in columns.optional if name in schema.names]
    return [*columns.text, *columns.other, *optional]


def _line_rows(path: Path, name: str, columns: Columns) -> _NamedRows:
    with open(path, "rb") as file:
        for number, line in enumerate(iter(partial(file.readline, _MAX_LINE_BYTES), b"")):
            row = f"{name}:{number}"
            if not line.strip():
                continue
            if not line.endswith(b"\n") and not _is_object(line):
                raise ValueError(f"{path}: expected a JSON object a line; {row} is not a whole one")
            yield row, partial(_decode_line, line, row)


def _decode_line(line: bytes, name: str) -> Row:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRow("bad_json", name, f"no JSON: {error}") from error
    return _as_row(value, name)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _element_rows(path: Path, name: str, columns: Columns) -> _NamedRows:
    for number, value in enumerate(json_array(path)):
        row = f"{name}:{number}"
        yield row, partial(_as_row, value, row)


def _as_row(value: Any, name: str) -> Row:
    if not isinstance(value, dict):
        raise BadRow("bad_json", name, f"expected an object; got {type(value).__name__}")
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise BadRow("bad_text", name, f"a text is no Unicode: {error}") from error
    except RecursionError as error:
        raise BadRow("bad_json", name, f"too deeply nested: {error}") from error
    return value


def _rows_of(path: Path, name: str, columns: Columns) -> _NamedRows:
    if path.suffix == ".parquet":
        return _parquet_rows(path, name, columns)
    # NLVR2 is published as JSON lines in files that are called .json.
    lines = path.suffix == ".jsonl" or _begins_with_an_object(path)
    return (_line_rows if lines else _element_rows)(path, name, columns)


def _begins_with_an_object(path: Path) -> bool:
    with open(path, "rb") as file:
        return _is_object(file.readline(_MAX_LINE_BYTES))
