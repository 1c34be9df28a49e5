"""Rows of a Hugging Face data set that ``save_to_disk`` of the ``datasets`` library wrote.

The files are Arrow streams, which are memory-mapped and read without that library.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import pyarrow as pa

from perl_jax.data.sources.layouts import top_level
from perl_jax.data.sources.row_files import RowsConfig, RowsOptions
from perl_jax.data.sources.tables import TableFiles, decode_names
from perl_jax.files import parse_json
from perl_jax.legible import name_list

# The end of an Arrow stream. Without it a file is cut off, perhaps between two batches.
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


@dataclass(frozen=True, kw_only=True)
class DatasetDirectoryConfig(RowsConfig):
    """Rows of a directory that ``save_to_disk`` of the ``datasets`` library wrote.

    Attributes:
        path: The directory.
        split: The split of a ``DatasetDict``; None for a directory without splits.
    """

    path: str
    split: str | None = None

    def open(self) -> "DatasetDirectorySource":
        """Opens the directory."""
        return DatasetDirectorySource(self.path, split=self.split, **self.options())


class DatasetDirectorySource(TableFiles):
    """A directory that ``save_to_disk`` of the ``datasets`` library wrote, as a source.

    Layouts and the reasons for bad rows are those of `ParquetSource`. Rows are named as in
    ``data-00000-of-00002.arrow:17``, counted from 0. The source of rows that name none is the name
    of the directory.

    The arguments are the fields of `DatasetDirectoryConfig`; other errors are those of `RowFiles`.

    Raises:
        FileNotFoundError: It is no such directory, or one of its files is missing.
        ValueError: There is no such split.
    """

    # A copy maps the files anew.
    _UNPICKLED = ("_layout", "_schema", "_blocks", "_batches", "_starts")

    def __init__(
        self, path: str | Path, *, split: str | None = None, **options: Unpack[RowsOptions]
    ) -> None:
        self._root = Path(path).absolute()
        super().__init__(_data_files(_split_directory(self._root, split)), **options)

    def _where(self) -> str:
        return str(self._root)

    def _stem(self, file: int) -> str:
        return self._root.name

    def _restore(self) -> None:
        self._find_rows()

    def _index(self) -> list[int]:
        """Maps the files into memory and checks that their columns agree."""
        self._blocks, self._batches = [], list[pa.RecordBatch]()
        for file, path in enumerate(self._paths):
            schema, batches = _read_stream(path)
            self._agree(schema, file)
            row = 0
            for batch in filter(len, batches):
                self._blocks.append((file, row))
                self._batches.append(batch)
                row += len(batch)
        return list(map(len, self._batches))

    def _table(self, block: int) -> pa.RecordBatch:
        return self._batches[block].select(self._layout.read_columns(self._schema))

    def _identity(self, block: int) -> pa.RecordBatch:
        names = top_level(self._layout.identity(), self._schema)
        return self._batches[block].select(names)


def _split_directory(root: Path, split: str | None) -> Path:
    """The directory of a split, or the root if there are no splits."""
    listed = root / "dataset_dict.json"
    splits = _read_json(listed).get("splits", []) if listed.is_file() else []
    if split in splits or (split is None and not splits):
        return root if split is None else root / split
    raise ValueError(
        f"{root}: split: expected one of {name_list(splits) or 'none, as it has no splits'}; "
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
        raise FileNotFoundError(f"{directory}: {name_list(missing)} is missing")
    return [directory / name for name in names]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(parse_json(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: expected a JSON object: {error}") from error


def _read_stream(path: str) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    try:
        with pa.memory_map(path) as file:
            size = file.size()
            is_whole = file.read_at(len(_END_OF_STREAM), max(0, size - 8)) == _END_OF_STREAM
            file.seek(0)
            reader = pa.ipc.open_stream(file)
            schema = reader.schema
            decode_names(schema)
            batches = list(reader)
            for batch in batches:
                batch.validate()
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        cause = " ".join(str(error).split())
        raise ValueError(f"{path}: expected a whole Arrow stream: {cause}") from error
    if not is_whole:
        raise ValueError(f"{path}: expected a whole Arrow stream; its end is missing")
    return schema, batches
