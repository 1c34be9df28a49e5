"""What all kinds of files of rows share: several files as one source, and its configuration."""

import bisect
import hashlib
import itertools
import operator
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any, ClassVar, TypedDict

from annotated_types import Len

from perl_jax.data.sources.columns import ColumnsConfig, Row, RowOptions, read_row, row_id, value_at
from perl_jax.data.sources.image_files import image_directory
from perl_jax.data.sources.source import Source, SourceKind
from perl_jax.settings import Expects
from perl_jax.storage import find_files, read_range, short_names, size_of
from perl_jax.types import Example

# Of the bytes of a file, a fingerprint sees so many blocks of this size.
_BLOCKS, _BLOCK_BYTES = 8, 2**16


class RowsOptions(TypedDict, total=False):
    """The options of `RowFiles`, which every kind of file has."""

    columns: ColumnsConfig | None
    image_root: str | Path | None
    prompt_suffix: str
    source: str | None


@dataclass(frozen=True, kw_only=True)
class RowsConfig(SourceKind):
    """What rows of any kind of file become.

    Attributes:
        columns: Which columns an example is made of; None: the layout of verl or of EasyR1.
        image_root: The directory that image paths are relative to, or its URL; None: rows hold the
            bytes.
        prompt_suffix: Put after every question.
        source: Every example's source, whatever its row says.
    """

    columns: ColumnsConfig | None = None
    image_root: str | None = None
    prompt_suffix: str = ""
    source: str | None = None

    def options(self) -> RowsOptions:
        """These fields, as `RowFiles` takes them."""
        return {
            "columns": self.columns,
            "image_root": self.image_root,
            "prompt_suffix": self.prompt_suffix,
            "source": self.source,
        }


@dataclass(frozen=True, kw_only=True)
class FilesConfig(RowsConfig):
    """Rows of several files.

    Attributes:
        paths: Files, or patterns such as ``data/train-*.parquet``, on a disk or in a bucket
            (``gs://``, ``s3://``).
    """

    paths: Annotated[tuple[str, ...], Len(1), Expects("at least one file")]


class RowFiles(Source):
    """Files of one kind, one after another, as a source. Only an index is kept of them.

    A kind says how rows are found (`_index`), read (`_read`) and told apart (`_identities`). It
    numbers the rows in blocks that follow each other: files, row groups, or whatever is read as
    one.

    Args:
        paths: Files, or patterns such as ``data/train-*.parquet``, which stand for all the files
            that they match, sorted by name; of this machine, or URLs such as ``gs://``, of which
            only what is needed is fetched.
        columns: What an example is made of; None: the layout of verl or of EasyR1, as the names of
            the columns tell.
        image_root: The directory that paths of images are relative to, or its URL. Nothing outside
            is read: neither absolute paths nor ``..`` nor links that lead out.
        prompt_suffix: Put after every question as it is, instructions for example.
        source: Every example's source, whatever the files say.

    Raises:
        FileNotFoundError: A path is missing, or a pattern matches nothing.
        ValueError: A file is damaged or lacks columns, an id stands twice, or there are no rows.
    """

    # What a pickled source leaves out; `_restore` makes it again.
    _UNPICKLED: ClassVar[tuple[str, ...]] = ()

    _columns: ColumnsConfig

    def __init__(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        columns: ColumnsConfig | None = None,
        image_root: str | Path | None = None,
        prompt_suffix: str = "",
        source: str | None = None,
    ) -> None:
        self._paths = find_files(paths)
        self._names = short_names(self._paths)
        self._options = RowOptions(image_directory(image_root), prompt_suffix, source)
        self._mapping = columns
        self._find_rows()
        if not len(self):
            raise ValueError(f"{self._where()}: expected rows; got none")
        self._fingerprint = self._check()

    @abstractmethod
    def _index(self) -> Sequence[int]:
        """Finds all rows: how many each block has. Sets ``_columns``, where there are any."""

    @abstractmethod
    def _read(self, block: int, offset: int) -> tuple[int, str, Row]:
        """The number of the file of a row, the row's name, and its columns.

        Raises:
            BadRow: The row cannot be used.
        """

    @abstractmethod
    def _identities(self) -> Iterator[tuple[str, Row]]:
        """The name of every row, and its source, what its id is made of, and its answer.

        The answer may be missing where `_digest` sees the whole content of a file.
        """

    def _digest(self, file: int) -> bytes:
        """Bytes that change with the content of a file."""
        return sample(self._paths[file])

    def _where(self) -> str:
        """What messages call the files as a whole."""
        return ", ".join(self._paths)

    def _stem(self, file: int) -> str:
        """The source of rows of a file that do not say where they come from."""
        return PurePath(self._paths[file]).stem

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Example:
        """The row of that number; the files follow each other in the order given.

        Raises:
            BadRow: The row cannot be used.
            IndexError: There is no such row.
            OSError: A file cannot be read.
        """
        index = operator.index(index)
        if not 0 <= index < len(self):
            raise IndexError(f"row {index}: the rows are 0 to {len(self) - 1}")
        block = bisect.bisect_right(self._starts, index) - 1
        file, name, row = self._read(block, index - self._starts[block])
        return read_row(self._columns, row, name, self._stem(file), self._options)

    def fingerprint(self) -> str:
        """A digest of how rows are read, and of the names and the content of all files."""
        return self._fingerprint

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in self._UNPICKLED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._restore()

    def _restore(self) -> None:
        """Makes what a pickle leaves out."""

    def _find_rows(self) -> None:
        self._starts = [0, *itertools.accumulate(self._index())]

    def _check(self) -> str:
        """Checks that no id stands twice, and returns the fingerprint.

        Raises:
            ValueError: An id stands twice; names both rows.
        """
        columns, options = self._columns, self._options
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((columns, options.prompt_suffix, options.source)).encode())
        for file, name in enumerate(self._names):
            digest.update(name.encode("utf-8", "surrogateescape"))
            digest.update(self._digest(file))
        seen: dict[tuple[Any, str], str] = {}
        for name, row in self._identities():
            digest.update(repr(row).encode("utf-8", "backslashreplace"))
            if columns.id:
                id = row_id(columns, row, name)
                key = (None if columns.source is None else value_at(row, columns.source), id)
                if key in seen:
                    raise ValueError(
                        f"{name}: expected an id of its own; {seen[key]} has {id!r} too"
                    )
                seen[key] = name
        return digest.hexdigest()


def sample(path: str) -> bytes:
    """The size of a file and blocks spread evenly over it, the last one at its end."""
    size = size_of(path)
    last = max(0, size - _BLOCK_BYTES)
    starts = sorted({last * i // (_BLOCKS - 1) for i in range(_BLOCKS)})
    blocks = [read_range(path, start, min(start + _BLOCK_BYTES, size)) for start in starts]
    return b"".join((str(size).encode(), *blocks))
