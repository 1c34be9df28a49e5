"""The base of file sources: several files of rows as one source, and its configuration."""

import bisect
import hashlib
import itertools
import operator
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any, ClassVar, TypedDict, Unpack, cast

from annotated_types import Len

from perl_jax.data.sources.columns import ColumnsConfig, Row, RowOptions, read_row, row_id, value_at
from perl_jax.data.sources.image_files import image_directory
from perl_jax.data.sources.source import Source, SourceKind
from perl_jax.legible import brief
from perl_jax.settings import Expects
from perl_jax.storage import find_files, sample, short_names
from perl_jax.types import Example


class RowsOptions(TypedDict, total=False):
    """The keyword arguments of `RowFiles`."""

    columns: ColumnsConfig | None
    image_root: str | Path | None
    prompt_suffix: str
    source: str | None


@dataclass(frozen=True, kw_only=True)
class RowsConfig(SourceKind):
    """Settings for rows of any kind of file.

    Attributes:
        columns: The columns of an example; None: the layout of verl, EasyR1 or our own, as the
            names of the columns tell.
        image_root: The directory that image paths are relative to, or its URL; None: rows hold the
            bytes.
        prompt_suffix: Text put after every question and its options.
        source: The source of every example, in place of the row's.
    """

    columns: ColumnsConfig | None = None
    image_root: str | None = None
    prompt_suffix: str = ""
    source: str | None = None

    def options(self) -> RowsOptions:
        """The keyword arguments of `RowFiles`."""
        return cast("RowsOptions", {key: getattr(self, key) for key in RowsOptions.__annotations__})


@dataclass(frozen=True, kw_only=True)
class FilesConfig(RowsConfig):
    """Settings for rows of several files.

    Attributes:
        paths: Files or patterns such as ``data/train-*.parquet``, local or in a bucket (``gs://``,
            ``s3://``).
    """

    paths: Annotated[tuple[str, ...], Len(1), Expects("at least one file")]


class RowFiles(Source):
    """Files of one kind, one after another, as a source. Only an index is kept in memory.

    A kind of file implements `_index`, `_read` and `_identities`. It numbers its rows in blocks
    that follow each other: files, row groups, or whatever is read as one.

    Args:
        paths: Files or patterns such as ``data/train-*.parquet`` (all matches, sorted by name);
            local, or URLs such as ``gs://``, of which only what is needed is fetched.

    The other arguments are the fields of `RowsConfig`. Nothing outside ``image_root`` is read: no
    absolute paths, no ``..``, no links that lead out.

    Raises:
        FileNotFoundError: A path is missing, or a pattern matches nothing.
        ValueError: A file is damaged or lacks columns, an id repeats, or there are no rows.
    """

    # Attributes that pickles leave out; `_restore` makes them again.
    _UNPICKLED: ClassVar[tuple[str, ...]] = ()

    _columns: ColumnsConfig

    # The values of the source column, each with its first row. Rows without the column, and files
    # whose column is not read as a whole, are not in it.
    sources: Mapping[str, int]

    def __init__(
        self, paths: str | Path | Sequence[str | Path], **options: Unpack[RowsOptions]
    ) -> None:
        self._paths = find_files(paths)
        self._names = short_names(self._paths)
        root = image_directory(options.get("image_root"))
        self._options = RowOptions(root, options.get("prompt_suffix", ""), options.get("source"))
        self._mapping = options.get("columns")
        self._find_rows()
        if not len(self):
            raise ValueError(f"{self._where()}: expected rows; got none")
        self._fingerprint = self._check()

    @abstractmethod
    def _index(self) -> Sequence[int]:
        """The number of rows of each block; sets ``_columns`` if there are any rows."""

    @abstractmethod
    def _read(self, block: int, offset: int) -> tuple[int, str, Row]:
        """The file's number, the row's name and its columns; may raise `BadRow`."""

    @abstractmethod
    def _identities(self) -> Iterator[tuple[str, Row]]:
        """Every row's name, and its columns of source, id and answer.

        The answer may be missing if `_digest` sees the whole content of a file.
        """

    def _digest(self, file: int) -> bytes:
        """Bytes that change with the content of a file."""
        return sample(self._paths[file])

    @property
    def files(self) -> tuple[str, ...]:
        """The files, as absolute paths or URLs."""
        return tuple(self._paths)

    def _where(self) -> str:
        """The name of all files in messages."""
        return ", ".join(self._paths)

    def _stem(self, file: int) -> str:
        """The source of rows that name none."""
        return PurePath(self._paths[file]).stem

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Example:
        """The row of that number; raises `BadRow`, IndexError, or OSError if reading fails."""
        index = operator.index(index)
        if not 0 <= index < len(self):
            raise IndexError(f"row {index}: the rows are 0 to {len(self) - 1}")
        block = bisect.bisect_right(self._starts, index) - 1
        file, name, row = self._read(block, index - self._starts[block])
        return read_row(self._columns, row, name, self._stem(file), self._options)

    def row_name(self, index: int) -> str:
        """The file and the place of a row, as messages name it."""
        block = bisect.bisect_right(self._starts, index) - 1
        return self._read(block, index - self._starts[block])[1]

    def fingerprint(self) -> str:
        """A digest of the settings, and of the names and the content of all files."""
        return self._fingerprint

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in self._UNPICKLED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._restore()

    def _restore(self) -> None:
        """Makes the attributes that pickles leave out."""

    def _find_rows(self) -> None:
        self._starts = [0, *itertools.accumulate(self._index())]

    def _check(self) -> str:
        """Returns the fingerprint; raises ValueError if two rows have the same id, naming both."""
        columns, options = self._columns, self._options
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((columns, options.prompt_suffix, options.source)).encode())
        for file, name in enumerate(self._names):
            digest.update(name.encode("utf-8", "surrogateescape"))
            digest.update(self._digest(file))
        seen: dict[tuple[Any, str], str] = {}
        sources: dict[str, int] = {}
        for number, (name, row) in enumerate(self._identities()):
            digest.update(repr(row).encode("utf-8", "backslashreplace"))
            if options.source is None and columns.source is not None:
                sources.setdefault(str(value_at(row, columns.source)), number)
            if columns.id:
                id = row_id(columns, row, name)
                key = (None if columns.source is None else value_at(row, columns.source), id)
                if key in seen:
                    raise ValueError(
                        f"{name}: expected an id of its own; {seen[key]} has {brief(id)} too"
                    )
                seen[key] = name
        self.sources = sources
        return digest.hexdigest()
