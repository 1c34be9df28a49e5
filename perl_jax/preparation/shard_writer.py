"""Writes examples as parquet shards in verl's row layout, which `ParquetSource` reads back whole.

Added columns are PeRL's ``change_needed``, ``question_type`` and ``response``, and the struct
``perl_jax`` with the id, the options and all other metadata as JSON. Images stay byte for byte.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from perl_jax.data.sources.layouts import OWN_COLUMN
from perl_jax.data.sources.source import BadRow
from perl_jax.settings import Count, check_value
from perl_jax.types import Example

SCHEMA = pa.schema(
    {
        "data_source": pa.string(),
        "prompt": pa.list_(pa.struct({"role": pa.string(), "content": pa.string()})),
        "images": pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        "reward_model": pa.struct({"style": pa.string(), "ground_truth": pa.string()}),
        "change_needed": pa.bool_(),
        "question_type": pa.string(),
        "response": pa.string(),
        OWN_COLUMN: pa.struct(
            {"id": pa.string(), "options": pa.list_(pa.string()), "metadata": pa.string()}
        ),
    }
)
"""The columns of every shard."""

# A row is read with its whole group, so small groups make random access fast.
ROW_GROUP_ROWS = 64
_ROW_GROUP_BYTES = 2**27

# Metadata with a column of its own, if it has the column's type.
_COLUMNS: Mapping[str, type] = {"change_needed": bool, "question_type": str, "response": str}


class ShardWriter(AbstractContextManager["ShardWriter"]):
    """A context manager that writes shards ``part-00000.parquet`` and so on.

    The files are complete when the block ends. The same examples give the same bytes. Answers are
    read back in the form of `perl_jax.rewards.answer_text`.

    Args:
        directory: The directory of the files.
        rows_per_file: The most rows of a file.
        bytes_per_file: The most bytes of images and text of a file, without its last 64 rows.
    """

    def __init__(
        self, directory: Path, *, rows_per_file: int = 16384, bytes_per_file: int = 2**30
    ) -> None:
        check_value(Count, rows_per_file, "rows_per_file")
        check_value(Count, bytes_per_file, "bytes_per_file")
        self._directory = directory
        self._limits = (rows_per_file, bytes_per_file)
        self._ids: set[tuple[str, str]] = set()
        self._group: list[dict[str, Any]] = []
        self._group_bytes = 0
        self._file: pq.ParquetWriter | None = None
        self._files = self._file_rows = self._file_bytes = 0

    def add(self, example: Example) -> None:
        """Writes one example.

        Raises:
            BadRow: A text cannot be encoded; nothing is written.
            TypeError: An image is not bytes, or metadata is not JSON.
            ValueError: An earlier example has the same source and id.
        """
        row, size = _row(example)
        key = (example.source, example.id)
        if key in self._ids:
            raise ValueError(f"{key[0]}: expected every id once; {key[1]!r} stands twice")
        self._ids.add(key)
        self._group.append(row)
        self._group_bytes += size
        full = self._file_rows + len(self._group) >= self._limits[0]
        if full or len(self._group) == ROW_GROUP_ROWS or self._group_bytes >= _ROW_GROUP_BYTES:
            self._write_group()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None and self._group:
            self._write_group()
        self._close_file()

    def _write_group(self) -> None:
        if self._file is None:
            path = self._directory / f"part-{self._files:05}.parquet"
            self._file = pq.ParquetWriter(path, SCHEMA)
            self._files += 1
        table = pa.Table.from_pylist(self._group, schema=SCHEMA)
        self._file.write_table(table, row_group_size=ROW_GROUP_ROWS)
        self._file_rows += len(self._group)
        self._file_bytes += self._group_bytes
        self._group, self._group_bytes = [], 0
        if self._file_rows >= self._limits[0] or self._file_bytes >= self._limits[1]:
            self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._file_rows, self._file_bytes = None, 0, 0


def _row(example: Example) -> tuple[dict[str, Any], int]:
    """An example's row and approximate size in bytes."""
    columns = {
        name: example.metadata[name]
        for name, kind in _COLUMNS.items()
        if isinstance(example.metadata.get(name), kind)
    }
    rest = {name: value for name, value in example.metadata.items() if name not in columns}
    where = f"example {example.id!r} of {example.source!r}"
    try:
        metadata = json.dumps(rest, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{where}: metadata: expected what JSON can hold; {error}") from error
    for number, image in enumerate(example.images, 1):
        if not isinstance(image, bytes):
            got = type(image).__name__
            raise TypeError(f"{where}: image {number}: expected encoded bytes; got {got}")
    messages = [(turn.role, turn.text) for turn in example.turns] + [("user", example.question)]
    texts = (
        example.id, example.source, example.answer, metadata, *example.options,
        *(text for _, text in messages),
        *(value for value in columns.values() if isinstance(value, str)),
    )  # fmt: skip
    try:
        size = sum(map(len, example.images)) + len("".join(texts).encode())
    except UnicodeEncodeError as error:
        raise BadRow("bad_text", where, f"a text cannot be encoded: {error}") from error
    row = {
        "data_source": example.source,
        "prompt": [{"role": role, "content": text} for role, text in messages],
        "images": [{"bytes": image, "path": None} for image in example.images],
        "reward_model": {"style": "rule", "ground_truth": example.answer},
        OWN_COLUMN: {"id": example.id, "options": list(example.options), "metadata": metadata},
        **columns,
    }
    return row, size
