"""Rows of a Hugging Face data set on a disk, as the ``datasets`` library's ``save_to_disk`` writes.

Its files are Arrow streams, which are mapped into memory and read without that library.
"""

import bisect
import json
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from perl_jax.data.sources.columns import ColumnsConfig, Row, RowOptions, check_rows, read_row
from perl_jax.data.sources.image_files import image_directory
from perl_jax.data.sources.layouts import Layout, schema_layout, top_level
from perl_jax.data.sources.shards import check_same_columns, rows_of, sample
from perl_jax.data.sources.source import BadRow
from perl_jax.types import Example

# An Arrow stream ends with it; a file without it is cut off, be it between two batches of rows.
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


class DatasetDirectorySource:
    """A directory that ``save_to_disk`` of the ``datasets`` library wrote, as a source.

    Without a mapping, the columns tell the layout of verl or of EasyR1, as `ParquetSource`
    describes them. Rows are named as in ``data-00000-of-00002.arrow:17``, counted from 0, and
    cannot be used for the reasons of `ParquetSource`.

    Args:
        path: The directory, on this machine.
        split: Which one of a ``DatasetDict``; None for a directory of one ``Dataset``.
        columns: What an example is made of; None: the layout of verl or of EasyR1.
        image_root: As of `ParquetSource`.
        prompt_suffix: Put after every question as it is.
        source: Every example's source. Rows that do not say where they come from have the name of
            the directory.

    Raises:
        FileNotFoundError: It is no such directory, or a file of it is missing.
        ValueError: The split is not there, a file is damaged or its columns are not as they should
            be, an id stands twice, or there are no rows.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        split: str | None = None,
        columns: ColumnsConfig | None = None,
        image_root: str | Path | None = None,
        prompt_suffix: str = "",
        source: str | None = None,
    ):
        root = Path(path).absolute()
        self._stem = root.name
        self._paths = _data_files(_split_directory(root, split))
        self._options = RowOptions(image_directory(image_root), prompt_suffix, source)
        self._mapping = columns
        self._open()
        if not len(self):
            raise ValueError(f"{path}: expected rows; got none")
        self._fingerprint = check_rows(
            self._layout.columns,
            self._options,
            ((file.name, sample(str(file))) for file in self._paths),
            self._identities(),
        )

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Example:
        """The row of that number.

        Raises:
            BadRow: The row cannot be used.
            IndexError: There is no such row.
            OSError: An image cannot be read.
        """
        index = operator.index(index)
        if not 0 <= index < len(self):
            raise IndexError(f"row {index}: the rows are 0 to {len(self) - 1}")
        number = bisect.bisect_right(self._starts, index) - 1
        file, first, batch = self._batches[number]
        offset = index - self._starts[number]
        name = f"{self._paths[file].name}:{first + offset}"
        row = _row(batch.select(self._layout.read_columns(batch.schema)), offset, name)
        return read_row(self._layout.columns, row, name, self._stem, self._options)

    def fingerprint(self) -> str:
        """A digest of names, sizes, ids, answers and a sample of the bytes of all files."""
        return self._fingerprint

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_layout", "_batches", "_starts")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def _open(self) -> None:
        """Maps the files into memory, and checks that they agree."""
        # For every batch of rows: its file, the number of its first row there, and the rows.
        self._batches: list[tuple[int, int, pa.RecordBatch]] = []
        self._starts = [0]
        first: tuple[Layout, pa.Schema] | None = None
        for file, path in enumerate(self._paths):
            schema, batches = _read_stream(path)
            first = first or (schema_layout(schema, self._mapping, str(path)), schema)
            check_same_columns(*first, schema, str(path), str(self._paths[0]))
            start = self._starts[-1]
            for batch in batches:
                if batch.num_rows:
                    self._batches.append((file, self._starts[-1] - start, batch))
                    self._starts.append(self._starts[-1] + batch.num_rows)
        assert first is not None
        self._layout = first[0]

    def _identities(self) -> Iterator[tuple[str, Row]]:
        """The name and the telling columns of every row."""
        for file, first, batch in self._batches:
            names = top_level(self._layout.identity(), batch.schema)
            for offset, row in enumerate(rows_of(batch.select(names))):
                yield f"{self._paths[file].name}:{first + offset}", row


def _row(batch: pa.RecordBatch, offset: int, name: str) -> Row:
    try:
        return batch.slice(offset, 1).to_pylist()[0]
    except UnicodeDecodeError as error:
        raise BadRow("bad_text", name, f"a text is not UTF-8: {error}") from error


def _split_directory(root: Path, split: str | None) -> Path:
    """The directory of one split, or of all rows where there are no splits."""
    listed = root / "dataset_dict.json"
    splits = _read_json(listed).get("splits", []) if listed.is_file() else []
    if split in splits or (split is None and not splits):
        return root if split is None else root / split
    raise ValueError(
        f"{root}: split: expected one of {', '.join(splits) or 'none, as it has no splits'}; "
        f"got {split or 'none'}"
    )


def _data_files(directory: Path) -> list[Path]:
    if not (directory / "state.json").is_file():
        raise FileNotFoundError(
            f"{directory}: expected a directory that save_to_disk wrote; it has no state.json"
        )
    state = _read_json(directory / "state.json")
    if state.get("_indices_data_files"):
        raise ValueError(f"{directory}: it selects rows; write it again with a newer datasets")
    names = [Path(entry["filename"]).name for entry in state.get("_data_files", ())]
    if not names:
        raise ValueError(f"{directory / 'state.json'}: expected files; got none")
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{directory}: {', '.join(missing)} is missing")
    return [directory / name for name in names]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: expected a JSON object: {error}") from error


def _read_stream(path: Path) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    try:
        with pa.memory_map(str(path)) as file:
            size = file.size()
            is_whole = file.read_at(len(_END_OF_STREAM), max(0, size - 8)) == _END_OF_STREAM
            file.seek(0)
            reader = pa.ipc.open_stream(file)
            batches = list(reader)
            for batch in batches:
                batch.validate()
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: expected a whole Arrow stream: {error}") from error
    if not is_whole:
        raise ValueError(f"{path}: expected a whole Arrow stream; its end is missing")
    return reader.schema, batches
