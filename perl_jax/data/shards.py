"""The files of a parquet source: which they are, what they are called, whether they agree."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from perl_jax.data.layouts import Layout, same_type

# Every random access reads a whole row group: beyond this, shuffled reading is slow.
LARGE_ROW_GROUP = 2**28
# Arrow does not read more of a nested column at once.
_MAX_COLUMN_BYTES = 2**31 - 1
# Of the bytes of a file, a fingerprint sees so many blocks of this size.
_BLOCKS, _BLOCK_BYTES = 8, 2**16


def find_files(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files that paths and patterns name, as absolute paths, in the order given.

    Raises:
        FileNotFoundError: A path is missing, or a pattern matches nothing.
        ValueError: There are no paths.
    """
    found: list[Path] = []
    for path in [paths] if isinstance(paths, str | Path) else paths:
        if Path(path).is_file():
            found.append(Path(path))
            continue
        matches = sorted(glob.glob(str(path), recursive=True))
        if not matches:
            raise FileNotFoundError(f"{path}: no such file, and no pattern that matches one")
        found += map(Path, matches)
    if not found:
        raise ValueError("paths: expected at least one file; got none")
    return [Path(os.path.abspath(path)) for path in found]


def short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart: file names, mostly.

    Raises:
        ValueError: A path stands twice.
    """
    parts = [path.parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    twice = next(path for path in paths if paths.count(path) > 1)
    raise ValueError(f"{twice}: expected every file once; got it twice")


def check_same_columns(
    layout: Layout, expected: pa.Schema, given: pa.Schema, where: str, first: str
) -> None:
    """Raises ValueError where a file's columns are not those of the first one."""
    wanted, got = layout.columns(expected), layout.columns(given)
    if wanted != got:
        raise ValueError(
            f"{where}: expected the columns of {first}, {', '.join(wanted)}; got {', '.join(got)}"
        )
    for name in wanted:
        types = expected.field(name).type, given.field(name).type
        if not same_type(*types):
            raise ValueError(
                f"{where}: column {name}: expected {types[0]}, as in {first}; got {types[1]}"
            )
    layout.check(given, where)


def check_row_groups(metadata: pq.FileMetaData, where: str) -> int:
    """The bytes of the largest row group, decoded.

    Raises:
        ValueError: A column of a row group is too large to be read.
    """
    largest = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = [group.column(i).total_uncompressed_size for i in range(group.num_columns)]
        if max(columns, default=0) > _MAX_COLUMN_BYTES:
            raise ValueError(
                f"{where}: row group {number}: expected at most 2 GiB in a column; got "
                f"{max(columns) / 2**30:.1f} GiB: write the file in smaller row groups"
            )
        largest = max(largest, group.total_byte_size)
    return largest


def sample(path: Path) -> bytes:
    """The size of a file and blocks spread evenly over it, the last one at its end."""
    size = path.stat().st_size
    last = max(0, size - _BLOCK_BYTES)
    blocks = [str(size).encode()]
    with open(path, "rb") as file:
        for start in sorted({last * i // (_BLOCKS - 1) for i in range(_BLOCKS)}):
            file.seek(start)
            blocks.append(file.read(_BLOCK_BYTES))
    return b"".join(blocks)
