"""Rows of parquet files, in the layout of verl (which PeRL's are), of EasyR1, or as mapped."""

import bisect
import logging
import operator
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from perl_jax.data.sources.columns import ColumnsConfig, RowOptions, check_rows, read_row
from perl_jax.data.sources.image_files import image_directory
from perl_jax.data.sources.layouts import Layout, schema_layout
from perl_jax.data.sources.shards import (
    LARGE_ROW_GROUP,
    check_row_groups,
    check_same_columns,
    rows_of,
    sample,
)
from perl_jax.data.sources.source import BadRow
from perl_jax.storage import (
    StorageError,
    find_files,
    is_url,
    open_ranges,
    short_names,
)
from perl_jax.types import Example

_log = logging.getLogger(__name__)

_OPEN_FILES = 16


class ParquetSource:
    """One or several parquet files of one layout, as a source.

    Without a mapping, the columns tell the layout. An optional column is read where it is there.

    =====================  ==============================  ============================
    of an example          verl                            EasyR1
    =====================  ==============================  ============================
    question               the one user message            problem
    images                 images                          images
    answer                 reward_model.ground_truth       answer
    source                 data_source                     source or data_source, or the
                                                           name of the file without .parquet
    id                     data_source/split/index, of     file:row
                           extra_info; else file:row
    metadata               plain values of extra_info      (nothing)
    metadata (either)      change_needed, question_type, response, as far as they are there
    =====================  ==============================  ============================

    ``images`` holds lists of bytes, of paths or of structs of both, in which bytes go first; null
    and an empty list are no images. Images stay encoded. Answers become text as
    `perl_jax.rewards.answer_text` says. Messages of the system are not read: such a row is bad.

    Rows are read lazily, a row group at a time, and the last ones are kept: files with small row
    groups (``row_group_size=64``) are read fast in any order.

    Rows that cannot be used raise `BadRow` with the reason ``answer_null``, ``bad_answer``,
    ``empty_prompt``, ``bad_prompt``, ``video``, ``missing_image``, ``unsafe_path``, ``bad_text`` or
    ``data_source_null``.

    Args:
        paths: Files, or patterns such as ``data/train-*.parquet``, which stand for all the files
            that they match, sorted by name; of this machine, or URLs such as ``gs://``, of which
            only what is needed is fetched.
        columns: What an example is made of; None: the layout of verl or of EasyR1.
        image_root: The directory that paths of images are relative to, or its URL. Nothing outside
            is read: neither absolute paths nor ``..`` nor links that lead out.
        prompt_suffix: Put after every question as it is, instructions for example.
        source: Every example's source, whatever the files say.
        cache_bytes: How much of decoded row groups is kept, at least the last one; every worker
            process keeps as much.

    Raises:
        FileNotFoundError: A path is missing, or a pattern matches nothing.
        ValueError: A file is no parquet file, lacks columns, has a column of the wrong type or
            other columns than the first one; an id stands twice; or there are no rows.
    """

    def __init__(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        columns: ColumnsConfig | None = None,
        image_root: str | Path | None = None,
        prompt_suffix: str = "",
        source: str | None = None,
        cache_bytes: int = 2**26,
    ):
        self._paths = find_files(paths)
        self._names = short_names(self._paths)
        self._options = RowOptions(image_directory(image_root), prompt_suffix, source)
        self._mapping = columns
        self._cache_bytes = cache_bytes
        self._open_caches()
        # For every row group: its file, its number there, and the number of its first row.
        self._groups: list[tuple[int, int, int]] = []
        self._starts: list[int] = []
        self._length = 0
        self._layout, self._schema = self._read_schemas()
        if not self._length:
            raise ValueError(f"{', '.join(self._paths)}: expected rows; got none")
        self._fingerprint = check_rows(
            self._layout.columns,
            self._options,
            ((name, sample(path)) for name, path in zip(self._names, self._paths, strict=True)),
            self._identities(),
        )

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> Example:
        """The row of that number; the files follow each other in the order given.

        Raises:
            BadRow: The row cannot be used.
            IndexError: There is no such row.
            OSError: A file cannot be read.
        """
        index = operator.index(index)
        if not 0 <= index < self._length:
            raise IndexError(f"row {index}: the rows are 0 to {self._length - 1}")
        number = bisect.bisect_right(self._starts, index) - 1
        file, group, first = self._groups[number]
        offset = index - self._starts[number]
        name = f"{self._names[file]}:{first + offset}"
        try:
            row = self._row_group(file, group).slice(offset, 1).to_pylist()[0]
        except UnicodeDecodeError as error:
            raise BadRow("bad_text", name, f"a text is not UTF-8: {error}") from error
        stem = PurePath(self._paths[file]).stem
        return read_row(self._layout.columns, row, name, stem, self._options)

    def fingerprint(self) -> str:
        """A digest of names, sizes, ids, answers and a sample of the bytes of all files."""
        return self._fingerprint

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_layout", "_lock", "_files", "_tables")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._layout = schema_layout(self._schema, self._mapping, self._paths[0])
        self._open_caches()

    def _open_caches(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self._tables: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()

    def _row_group(self, file: int, group: int) -> pa.Table:
        with self._lock:
            table = self._tables.pop((file, group), None)
            if table is None:
                table = self._read(file, group, self._layout.read_columns(self._schema))
            self._tables[file, group] = table
            while len(self._tables) > 1 and _size(self._tables) > self._cache_bytes:
                self._tables.popitem(last=False)
            return table

    def _read(self, file: int, group: int, columns: list[str]) -> pa.Table:
        try:
            return self._file(file).read_row_group(group, columns=columns)
        except StorageError:
            raise
        except (pa.ArrowException, OSError) as error:
            cause = " ".join(str(error).split())
            raise OSError(
                f"{self._paths[file]}: row group {group} cannot be read: {cause}"
            ) from error

    def _file(self, file: int) -> pq.ParquetFile:
        opened = self._files.pop(file, None)
        if opened is None:
            path = self._paths[file]
            # A few large requests instead of one for each column.
            opened = pq.ParquetFile(
                open_ranges(path) if is_url(path) else path, pre_buffer=is_url(path)
            )
        self._files[file] = opened
        if len(self._files) > _OPEN_FILES:
            self._files.popitem(last=False)[1].close()
        return opened

    def _read_schemas(self) -> tuple[Layout, pa.Schema]:
        """Finds all row groups, and checks that the files agree."""
        first: tuple[Layout, pa.Schema] | None = None
        largest = 0
        for file, path in enumerate(self._paths):
            try:
                opened = self._file(file)
            except StorageError:
                raise
            except (pa.ArrowInvalid, OSError) as error:
                raise ValueError(f"{path}: expected a whole parquet file: {error}") from error
            if first is None:
                schema = opened.schema_arrow
                first = schema_layout(schema, self._mapping, path), schema
            check_same_columns(*first, opened.schema_arrow, path, self._paths[0])
            largest = max(largest, check_row_groups(opened.metadata, path))
            row = 0
            for group in range(opened.metadata.num_row_groups):
                if num_rows := opened.metadata.row_group(group).num_rows:
                    self._groups.append((file, group, row))
                    self._starts.append(self._length)
                    self._length += num_rows
                    row += num_rows
        if largest > LARGE_ROW_GROUP:
            _log.warning(
                "%s: a row group holds %.0f MiB, all of which are read to get at one row; write "
                "the files with row_group_size=64",
                self._paths[0],
                largest / 2**20,
            )
        assert first is not None
        return first

    def _identities(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The name and the telling columns of every row."""
        columns = self._layout.identity()
        for file, group, first in self._groups:
            try:
                table = self._read(file, group, columns)
            except StorageError:
                raise
            except OSError as error:
                raise ValueError(f"{error}; expected a whole parquet file") from error
            for offset, row in enumerate(rows_of(table)):
                yield f"{self._names[file]}:{first + offset}", row


def _size(tables: OrderedDict[tuple[int, int], pa.Table]) -> int:
    return sum(table.nbytes for table in tables.values())
