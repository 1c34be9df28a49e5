"""Files of Arrow tables with the same columns, and single rows of them."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import pyarrow as pa

from perl_jax.data.sources.columns import Row
from perl_jax.data.sources.layouts import Layout, same_type, schema_layout
from perl_jax.data.sources.row_files import RowFiles
from perl_jax.data.sources.source import BadRow
from perl_jax.legible import name_list

Table: TypeAlias = pa.Table | pa.RecordBatch


class TableFiles(RowFiles):
    """Files whose blocks are Arrow tables; rows count from 0.

    The arguments and errors are those of `RowFiles`. A file with other columns than the first one
    is an error too.
    """

    # For every block: its file, and its first row's number in the file.
    _blocks: list[tuple[int, int]]
    _layout: Layout
    _schema: pa.Schema

    @abstractmethod
    def _table(self, block: int) -> Table:
        """A block with the columns that examples are made of."""

    @abstractmethod
    def _identity(self, block: int) -> Table:
        """A block with the columns that tell rows apart."""

    def _agree(self, schema: pa.Schema, file: int) -> None:
        """Takes the columns of the first file; raises ValueError if another file's differ."""
        where, first = self._paths[file], self._paths[0]
        if file == 0:
            self._layout = schema_layout(schema, self._mapping, where)
            self._schema, self._columns = schema, self._layout.columns
        wanted, got = map(self._layout.read_columns, (self._schema, schema))
        if wanted != got:
            raise ValueError(
                f"{where}: expected the columns of {first}, {name_list(wanted)}; "
                f"got {name_list(got)}"
            )
        for name in wanted:
            types = self._schema.field(name).type, schema.field(name).type
            if not same_type(*types):
                raise ValueError(
                    f"{where}: column {name}: expected {types[0]}, as in {first}; got {types[1]}"
                )
        self._layout.check(schema, where)

    def _read(self, block: int, offset: int) -> tuple[int, str, Row]:
        file, first = self._blocks[block]
        name = f"{self._names[file]}:{first + offset}"
        return file, name, row_of(self._table(block), offset, name)

    def _identities(self) -> Iterator[tuple[str, Row]]:
        for block, (file, first) in enumerate(self._blocks):
            table = self._identity(block)
            columns = map(_values, table.columns)
            for number, values in enumerate(zip(*columns, strict=True), first):
                row = dict(zip(table.schema.names, values, strict=True))
                yield f"{self._names[file]}:{number}", row


def row_of(table: Table, offset: int, name: str) -> Row:
    """One row of a table; raises `BadRow` ``bad_text`` if a text is not UTF-8."""
    try:
        return table.slice(offset, 1).to_pylist()[0]
    except UnicodeDecodeError as error:
        raise BadRow("bad_text", name, f"a text is not UTF-8: {error}") from error


def _values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """A column's values, None for texts that are not UTF-8: `_read` reports those."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return None


def decode_names(fields: Iterable[pa.Field]) -> None:
    """Raises UnicodeDecodeError if the name of a column, or of a part of one, is no text."""
    for field in fields:
        str(field.name)  # Arrow decodes it here
        kind = field.type
        if pa.types.is_nested(kind):
            decode_names(kind.field(number) for number in range(kind.num_fields))
