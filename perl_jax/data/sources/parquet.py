"""Rows of parquet files in the layout of verl (as PeRL's), of EasyR1, our own, or as mapped."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import pyarrow as pa
import pyarrow.parquet as pq

from perl_jax.data.sources.layouts import schema_layout
from perl_jax.data.sources.row_files import FilesConfig, RowsOptions
from perl_jax.data.sources.tables import TableFiles, decode_names
from perl_jax.storage import StorageError, is_url, open_ranges

_log = logging.getLogger(__name__)

_OPEN_FILES = 16
# Every random access reads a whole row group: above this size, shuffled reading is slow.
LARGE_ROW_GROUP = 2**28
# Arrow cannot read more of a nested column at once.
_MAX_COLUMN_BYTES = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class ParquetConfig(FilesConfig):
    """Rows of parquet files."""

    def open(self) -> "ParquetSource":
        """Opens the files."""
        return ParquetSource(self.paths, **self.options())


class ParquetSource(TableFiles):
    """One or several parquet files of one layout, as a source.

    Without a mapping, the columns tell the layout (see `perl_jax.data.sources.layouts`). Optional
    columns are read if present.

    Messages are read by `perl_jax.data.sources.messages.read_question`. ``images`` holds lists of
    bytes, of paths or of structs of either or both, in which bytes win; null and an empty list are
    no images. Images stay encoded. Answers become text by `perl_jax.rewards.answer_text`.

    One row group is read at a time, and the last ones are cached: files with small row groups
    (``row_group_size=64``) are fast in any order.

    Rows that cannot be used raise `BadRow` with the reason ``answer_null``, ``bad_answer``,
    ``empty_prompt``, ``bad_prompt``, ``video``, ``missing_image``, ``bad_image``, ``image_count``,
    ``unsafe_path``, ``bad_text`` or ``data_source_null``.

    The other arguments and errors are those of `RowFiles`.

    Args:
        cache_bytes: The most bytes of decoded row groups that each process caches; the last row
            group is always cached.
    """

    _UNPICKLED = ("_layout", "_lock", "_files", "_tables")

    def __init__(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        cache_bytes: int = 2**26,
        **options: Unpack[RowsOptions],
    ) -> None:
        self._cache_bytes = cache_bytes
        self._open_caches()
        super().__init__(paths, **options)

    def _restore(self) -> None:
        self._layout = schema_layout(self._schema, self._mapping, self._paths[0])
        self._open_caches()

    def _open_caches(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self._tables: OrderedDict[int, pa.Table] = OrderedDict()

    def _index(self) -> list[int]:
        """Finds all row groups and checks that the files' columns agree."""
        # A block is a row group that has rows.
        self._blocks, self._groups = [], list[int]()
        lengths = []
        largest = 0
        for file, path in enumerate(self._paths):
            try:
                opened = self._file(file)
                schema = opened.schema_arrow
                decode_names(schema)
            except StorageError:
                raise
            except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
                cause = " ".join(str(error).split())
                raise ValueError(f"{path}: expected a whole parquet file: {cause}") from error
            self._agree(schema, file)
            row = 0
            for group in range(opened.metadata.num_row_groups):
                facts = opened.metadata.row_group(group)
                largest = max(largest, _decoded_bytes(facts, f"{path}: row group {group}"))
                if facts.num_rows:
                    self._blocks.append((file, row))
                    self._groups.append(group)
                    lengths.append(facts.num_rows)
                    row += facts.num_rows
        if largest > LARGE_ROW_GROUP:
            _log.warning(
                "%s: a row group holds %.0f MiB, all of which are read to get at one row; write "
                "the files with row_group_size=64",
                self._paths[0],
                largest / 2**20,
            )
        return lengths

    def _table(self, block: int) -> pa.Table:
        with self._lock:
            table = self._tables.pop(block, None)
            if table is None:
                table = self._read_group(block, self._layout.read_columns(self._schema))
            self._tables[block] = table
            kept = sum(table.nbytes for table in self._tables.values())
            while len(self._tables) > 1 and kept > self._cache_bytes:
                kept -= self._tables.popitem(last=False)[1].nbytes
            return table

    def _identity(self, block: int) -> pa.Table:
        try:
            return self._read_group(block, self._layout.identity())
        except StorageError:
            raise
        except OSError as error:
            raise ValueError(f"{error}; expected a whole parquet file") from error

    def _read_group(self, block: int, columns: list[str]) -> pa.Table:
        (file, _), group = self._blocks[block], self._groups[block]
        try:
            return self._file(file).read_row_group(group, columns=columns)
        except StorageError:
            raise
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
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


def _decoded_bytes(group: pq.RowGroupMetaData, where: str) -> int:
    """A row group's decoded bytes; raises ValueError if a column is too large to be read."""
    columns = [group.column(i).total_uncompressed_size for i in range(group.num_columns)]
    if max(columns, default=0) > _MAX_COLUMN_BYTES:
        raise ValueError(
            f"{where}: expected at most 2 GiB in a column; got "
            f"{max(columns) / 2**30:.1f} GiB: write the file in smaller row groups"
        )
    return int(group.total_byte_size)
