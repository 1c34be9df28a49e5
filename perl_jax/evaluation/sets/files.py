"""Finds the published files of a benchmark and reads their rows."""

import glob
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from perl_jax.data.sources.columns import Row
from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.files import Columns, read_paths
from perl_jax.datasets.image_store import ImageStore
from perl_jax.legible import name_list
from perl_jax.types import Example

_log = logging.getLogger(__name__)

FORMATS = (".parquet", ".jsonl", ".json")
_SPLIT = re.compile(r"(?:train|dev|val|test)[^\W_]*")


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published file.

    Attributes:
        columns: Its values by column.
        name: Where it stands, for errors.
        number: Its number from 0, over all files.
        root: The directory that the paths of its images are relative to, as they are published.
        folder: The folder of its file below ``root``.
        store: Reads images below ``root``, from files and zip archives.
    """

    columns: Row
    name: str
    number: int
    root: Path
    folder: PurePosixPath
    store: ImageStore

    def get(self, column: str) -> Any:
        """The value of a column; None if the row has none."""
        return self.columns.get(column)

    def text(self, column: str) -> str:
        """The text of a column; raises `BadRow` ``COLUMN_null`` or ``bad_COLUMN``."""
        value = self.get(column)
        if value is None or value == "":
            raise self.bad(f"{column}_null", f"{column} is empty")
        if not isinstance(value, str):
            got = f"{type(value).__name__} {str(value)[:50]!r}"
            raise self.bad(f"bad_{column}", f"{column}: expected text; got {got}")
        return value

    def texts(self, column: str) -> tuple[str, ...]:
        """The list of texts of a column, none if it is null; raises `BadRow` ``bad_COLUMN``."""
        value = self.get(column)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise self.bad(f"bad_{column}", f"{column}: expected texts; got {str(value)[:100]!r}")
        return tuple(value)

    def id(self, column: str) -> str:
        """The row's id as a text; raises `BadRow` ``id_null``."""
        value = self.get(column)
        if value is None or value == "":
            raise self.bad("id_null", f"{column} is empty")
        return str(value)

    def image(self, image: Any) -> bytes:
        """The encoded bytes of an image, see `ImageStore.read`."""
        return self.store.read(image, self.name)

    def bad(self, reason: str, message: str) -> BadRow:
        """The error of this row."""
        return BadRow(reason, self.name, message)


ReadRow = Callable[[PublishedRow], Example]
"""Converts a row, or raises `BadRow`."""


def rows_of(path: Path, read: ReadRow, columns: Columns) -> Iterator[Example | BadRow]:
    """Reads the rows of a file, or of all files below a folder in the order of their paths.

    Of a folder that holds files of several formats, those of the first of `FORMATS` are read:
    what is published in several forms is the same rows twice. A warning names the others, and
    another one the splits if the names of the files are those of several. Hidden folders are
    skipped.

    Args:
        path: A ``.parquet``, ``.jsonl`` or ``.json`` file, or a folder. The paths of images are
            relative to the folder, or the folder of the file; they may stand in zip archives there.
        read: Converts a row.
        columns: The columns to read of parquet files, the only ones that their rows hold.

    Yields:
        Each row's example or its `BadRow`, including ``duplicate_id``.

    Raises:
        FileNotFoundError: There is no such file, or none in the folder.
        ValueError: A file is damaged, of another format, or lacks a column.
    """
    root = path if path.is_dir() else path.parent
    paths = _data_files(path)
    with closing(ImageStore(root, _below(root, ".zip"))) as store:

        def convert(row: Row, name: str, number: int) -> Example:
            folder = PurePosixPath(name.rpartition(":")[0]).parent
            return read(PublishedRow(row, name, number, root, folder, store))

        yield from read_paths(root, paths, convert, columns)


def _data_files(path: Path) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if not path.is_dir():
        if path.suffix not in FORMATS:
            raise ValueError(f"{path}: expected a file of {', '.join(FORMATS)}")
        return [path]
    found = {ending: _below(path, ending) for ending in FORMATS}
    kinds = [ending for ending in FORMATS if found[ending]]
    if not kinds:
        raise FileNotFoundError(f"{path}: expected files of {', '.join(FORMATS)} below it")
    if left := [str(file.relative_to(path)) for kind in kinds[1:] for file in found[kind]]:
        named = name_list(left, most=5)
        _warn(
            f"{path}: reading its {kinds[0]} files; not read: {named}. To read one of these, give "
            "its own path"
        )
    matches = (_SPLIT.match(file.name) for file in found[kinds[0]])
    splits = sorted({match[0] for match in matches if match})
    if len(splits) > 1:
        _warn(
            f"{path}: reading files of several splits: {name_list(splits)}. To read one of them, "
            "give its own path"
        )
    return found[kinds[0]]


@cache
def _warn(message: str) -> None:
    """Warns once: an evaluation reads its files twice."""
    _log.warning("%s", message)


def _below(root: Path, ending: str) -> list[Path]:
    found = (root / name for name in glob.iglob(f"**/*{ending}", root_dir=root, recursive=True))
    return sorted(path for path in found if path.is_file())
