"""The rows of published files, parquet or JSON, in file order and in little memory."""

import json
from collections.abc import Callable, Iterator
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
from perl_jax.types import Example

ReadRow = Callable[[Row, str, int], Example]
"""Makes an example of a row, given its name and its number over all files of the split."""
# The name of each row, and what decodes it: what is wrong in a row is a fault of that row alone.
_NamedRows = Iterator[tuple[str, Callable[[], Row]]]

# So many rows are decoded at once: with images, a few dozen megabytes.
_BATCH_ROWS = 32
# A line of text and paths is never longer; one that is comes from some other file.
_MAX_LINE_BYTES = 2**24


@dataclass(frozen=True)
class Columns:
    """The columns of a parquet file that are read.

    Attributes:
        text: Must be there and hold text.
        other: Must be there, of any type.
        optional: Read where they are there.
    """

    text: tuple[str, ...]
    other: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


def published_files(root: Path, pattern: str) -> list[Path]:
    """The files below a directory that match a pattern, sorted.

    Raises:
        FileNotFoundError: None does; names the pattern.
    """
    paths = sorted(path for path in root.glob(pattern) if path.is_file())
    if not paths:
        raise FileNotFoundError(f"{root / pattern}: no such file")
    return paths


def read_parquet(
    root: Path, pattern: str, columns: Columns, read: ReadRow
) -> Iterator[Example | BadRow]:
    """Reads the parquet files that match a pattern, row by row.

    Args:
        root: The directory with the published files; rows are named relative to it.
        pattern: Of the files, such as ``data/train-*.parquet``.
        columns: The columns that are read.
        read: Makes an example of a row, or raises `BadRow`.

    Yields:
        For every row its example, or why there is none, ``duplicate_id`` and ``bad_text`` included.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file is no whole parquet file, or lacks a column.
    """
    rows = (
        row for path in published_files(root, pattern) for row in _parquet_rows(root, path, columns)
    )
    yield from _examples(rows, read)


def read_json_lines(root: Path, name: str, read: ReadRow) -> Iterator[Example | BadRow]:
    """Reads a file of one JSON object a line; arguments and yields are those of `read_parquet`.

    A line that is no JSON object is a bad row (``bad_json``), save the last one: then the file is
    truncated. Blank lines are no rows.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file ends within a row, or within a text that is no JSON at all.
    """
    (path,) = published_files(root, name)
    yield from _examples(_line_rows(root, path), read)


def read_json_array(root: Path, name: str, read: ReadRow) -> Iterator[Example | BadRow]:
    """Reads a file of one array of JSON objects; arguments and yields are those of `read_parquet`.

    An element that is no object is a bad row (``bad_json``).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no whole JSON array.
    """
    (path,) = published_files(root, name)
    yield from _examples(_element_rows(root, path), read)


def _examples(rows: _NamedRows, read: ReadRow) -> Iterator[Example | BadRow]:
    seen: dict[str, str] = {}
    for number, (name, decode) in enumerate(rows):
        row: Example | BadRow
        try:
            row = read(decode(), name, number)
            if row.id in seen:
                raise BadRow("duplicate_id", name, f"{seen[row.id]} has the id {row.id!r} too")
            seen[row.id] = name
        except BadRow as error:
            row = error
        yield row


def _parquet_rows(root: Path, path: Path, columns: Columns) -> _NamedRows:
    number = 0
    name = path.relative_to(root)
    try:
        with pq.ParquetFile(path) as file:
            names = _check_columns(file.schema_arrow, columns, path)
            for batch in file.iter_batches(_BATCH_ROWS, columns=names):
                for offset in range(batch.num_rows):
                    row = f"{name}:{number}"
                    yield row, partial(row_of, batch, offset, row)
                    number += 1
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:  # the storage, not the content
            raise
        cause = " ".join(str(error).split())
        raise ValueError(f"{path}: expected a whole parquet file: {cause}") from error


def _check_columns(schema: pa.Schema, columns: Columns, path: Path) -> list[str]:
    """The columns to read."""
    lacking = [name for name in (*columns.text, *columns.other) if name not in schema.names]
    if lacking:
        raise ValueError(
            f"{path}: it lacks {', '.join(lacking)}; its columns are {', '.join(schema.names)}"
        )
    for name in columns.text:
        kind = schema.field(name).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise ValueError(f"{path}: column {name}: expected text; got {kind}")
    optional = [name for name in columns.optional if name in schema.names]
    return [*columns.text, *columns.other, *optional]


def _line_rows(root: Path, path: Path) -> _NamedRows:
    name = path.relative_to(root)
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(_MAX_LINE_BYTES):
            row = f"{name}:{number}"
            if line.strip():
                if not line.endswith(b"\n") and not _is_object(line):
                    raise ValueError(
                        f"{path}: expected a JSON object a line; {row} is not a whole one"
                    )
                yield row, partial(_decode_line, line, row)
            number += 1


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


def _element_rows(root: Path, path: Path) -> _NamedRows:
    for number, value in enumerate(json_array(path)):
        name = f"{path.relative_to(root)}:{number}"
        yield name, partial(_as_row, value, name)


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
