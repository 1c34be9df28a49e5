"""The files of a source: whether they agree, and what a fingerprint sees of them."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from perl_jax.data.sources.layouts import Layout, same_type
from perl_jax.storage import read_range, size_of

# Every random access reads a whole row group: beyond this, shuffled reading is slow.
LARGE_ROW_GROUP = 2**28
# Arrow does not read more of a nested column at once.
_MAX_COLUMN_BYTES = 2**31 - 1
# Of the bytes of a file, a fingerprint sees so many blocks of this size.
_BLOCKS, _BLOCK_BYTES = 8, 2**16


def check_same_columns(
    layout: Layout, expected: pa.Schema, given: pa.Schema, where: str, first: str
) -> None:
    """Raises ValueError where a file's columns are not those of the first one."""
    wanted, got = layout.read_columns(expected), layout.read_columns(given)
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


def sample(path: str) -> bytes:
    """The size of a file and blocks spread evenly over it, the last one at its end."""
    size = size_of(path)
    last = max(0, size - _BLOCK_BYTES)
    starts = sorted({last * i // (_BLOCKS - 1) for i in range(_BLOCKS)})
    blocks = [read_range(path, start, min(start + _BLOCK_BYTES, size)) for start in starts]
    return b"".join((str(size).encode(), *blocks))


def rows_of(table: pa.Table | pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """The rows of a table; a text that is not UTF-8 is None, as reading its row says what it is."""
    columns = map(_values, table.columns)
    for values in zip(*columns, strict=True):
        yield dict(zip(table.schema.names, values, strict=True))


def _values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return None
