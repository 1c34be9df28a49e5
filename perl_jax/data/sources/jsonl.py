"""Rows of JSONL files: a JSON object on every line."""

import array
import bisect
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from perl_jax.data.sources.columns import ColumnsConfig, Row, check_columns, column_paths, value_at
from perl_jax.data.sources.layouts import layout_of
from perl_jax.data.sources.row_files import FilesConfig, RowFiles
from perl_jax.data.sources.source import BadRow
from perl_jax.storage import open_file, read_range

# Lines hold text and paths; a longer one is a fault, and reading it would stall a worker.
_MAX_LINE_BYTES = 2**24
# So many column names are kept for messages: keys may be data.
_MAX_NAMES = 200
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, kw_only=True)
class JsonlConfig(FilesConfig):
    """Rows of JSONL files, a JSON object on every line."""

    def open(self) -> "JsonlSource":
        """Opens the files."""
        return JsonlSource(self.paths, **self.options())


class JsonlSource(RowFiles):
    """One or several JSONL files, as a source.

    A row is a line with a JSON object; lines of white space are none. Without a mapping, the names
    of the columns tell the layout, as of `ParquetSource`. A key that a row lacks is null.

    The files are read once when the source is made, and then one line at a time, in any order. What
    is kept is one number for each row.

    A line that cannot be used raises `BadRow`, named as in ``train.jsonl:17``, lines counted from
    1, with the reason ``bad_json``, ``bad_text``, ``too_long`` or one of `ParquetSource`.

    The arguments and errors are those of `RowFiles`; a file of which no line is a JSON object is an
    error too, and so is a column that is in no row.
    """

    def _index(self) -> list[int]:
        seen = _Seen(self._mapping)
        self._files = [_File(*pair) for pair in zip(self._paths, self._names, strict=True)]
        self._digests = [file.index(seen) for file in self._files]
        lengths = list(map(len, self._files))
        if any(lengths):
            self._columns = self._mapping or layout_of(seen.names, self._paths[0]).columns
            check_columns(seen.missing, seen.names, ", ".join(self._names))
        return lengths

    def _read(self, block: int, offset: int) -> tuple[int, str, Row]:
        name, line = self._files[block].read(offset)
        return block, name, _parse(line, name)

    def _digest(self, file: int) -> bytes:
        return self._digests[file]

    def _identities(self) -> Iterator[tuple[str, Row]]:
        if not self._columns.id:
            return  # the digests see the whole content
        for file in self._files:
            for name, line in file.lines():
                with contextlib.suppress(BadRow):
                    row = _parse(line, name)
                    yield name, {path: value_at(row, path) for path in self._columns.id}


class _Seen:
    """Which columns there are in the rows so far, and which ones of a mapping are still missing."""

    def __init__(self, columns: ColumnsConfig | None):
        self.missing = [] if columns is None else list(columns.paths())
        self.names: dict[str, None] = {}
        self._mapped = columns is not None

    def is_complete(self) -> bool:
        """Whether further rows can tell nothing new that matters."""
        return self._mapped and not self.missing

    def add(self, row: Row) -> None:
        found = dict.fromkeys(column_paths(row))
        self.missing = [path for path in self.missing if path not in found]
        if len(self.names) < _MAX_NAMES:
            self.names.update(found)


class _File:
    """Where the rows of a file stand.

    Attributes:
        path: Of the file.
        name: What messages call it.
    """

    def __init__(self, path: str, name: str):
        self.path = path
        self.name = name
        # Where each row begins, and the end of the file.
        self._starts = array.array("q")
        # For every line of white space, the number of rows before it.
        self._blanks = array.array("q")

    def __len__(self) -> int:
        return len(self._starts) - 1

    def index(self, seen: _Seen) -> bytes:
        """Finds all rows, and returns a digest of the file.

        Raises:
            ValueError: None of them is a JSON object.
        """
        digest = hashlib.blake2b(digest_size=16)
        end, is_good, fault = 0, False, None
        with open_file(self.path) as file:
            for start, end, line in _lines(file):  # noqa: B007 - the last one counts
                digest.update(line)
                if not line.strip():
                    self._blanks.append(len(self._starts))
                    continue
                self._starts.append(start)
                if is_good and seen.is_complete():
                    continue
                try:
                    seen.add(_parse(line, self._name_of(len(self._starts) - 1)))
                    is_good = True
                except BadRow as error:
                    fault = fault or error
        self._starts.append(end)
        if fault is not None and not is_good:
            raise ValueError(f"{self.path}: expected a JSON object on each line; {fault}")
        digest.update(str(end).encode())
        return digest.digest()

    def read(self, row: int) -> tuple[str, bytes]:
        """The name and the line of a row."""
        start, stop = self._starts[row], self._starts[row + 1]
        name = self._name_of(row)
        if stop - start > _MAX_LINE_BYTES:
            raise BadRow("too_long", name, f"{stop - start} bytes; at most {_MAX_LINE_BYTES}")
        return name, read_range(self.path, start, stop).strip()

    def lines(self) -> Iterator[tuple[str, bytes]]:
        """The names and lines of all rows, read in one go."""
        with open_file(self.path) as file:
            rows = (line for _, _, line in _lines(file) if line.strip())
            yield from ((self._name_of(row), line) for row, line in enumerate(rows))

    def _name_of(self, row: int) -> str:
        return f"{self.name}:{row + bisect.bisect_right(self._blanks, row) + 1}"


def _lines(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Where every line begins and ends, and its bytes; of one that is too long, the first ones."""
    start = 0
    while line := file.readline(_MAX_LINE_BYTES + 1):
        stop, rest = start + len(line), line
        while not rest.endswith(b"\n") and (rest := file.readline(_MAX_LINE_BYTES)):
            stop += len(rest)
        yield start, stop, line
        start = stop


def _parse(line: bytes, name: str) -> Row:
    """The columns of a row.

    Raises:
        BadRow: ``bad_json`` or ``bad_text``.
    """
    try:
        row = json.loads(line.decode("utf-8").removeprefix("\ufeff"))
        if _HALF_PAIR.search(line):
            json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeError as error:
        raise BadRow("bad_text", name, f"a text is not UTF-8: {error}") from error
    except (ValueError, RecursionError) as error:
        raise BadRow("bad_json", name, f"expected a JSON object: {error}") from error
    if not isinstance(row, dict):
        raise BadRow("bad_json", name, f"expected a JSON object; got a {type(row).__name__}")
    return row
