"""Files of Arrow tables: whether their columns agree, and one row of a table."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, TypeAlias

import pyarrow as pa

from perl_jax.data.sources.columns import Row
from perl_jax.data.sources.layouts import Layout, same_type, schema_layout
from perl_jax.data.sources.row_files import RowFiles
from perl_jax.data.sources.source import BadRow

Table: TypeAlias = pa.Table | pa.RecordBatch


class TableFiles(RowFiles):
    """Files whose blocks are tables with the columns of the first file; rows count from 0.

    The arguments and errors are those of `RowFiles`; a file whose columns are not those of the
    first one is an error too.
    """

    # For every block: its file, and the number of its first row there.
    _blocks: list[tuple[int, int]]
    _layout: Layout
    _schema: pa.Schema

    @abstractmethod
    def _table(self, block: int) -> Table:
        """The columns of a block that are read."""

    @abstractmethod
    def _identity(self, block: int) -> Table:
        """The columns of a block that tell rows apart."""

    def _agree(self, schema: pa.Schema, file: int) -> None:
        """Takes the columns of the first file; raises ValueError where another has others."""
        where, first = self._paths[file], self._paths[0]
        if file == 0:
            self._layout = schema_layout(schema, self._mapping, where)
            self._schema, self._columns = schema, self._layout.columns
        wanted, got = map(self._layout.read_columns, (self._schema, schema))
        if wanted != got:
            raise ValueError(
                f"{where}: expected the columns of {first}, {', '.join(wanted)}; "
                f"got {', '.join(got)}"
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
    """The row at a place of a table.

    Raises:
        BadRow: ``bad_text``.
    """
    try:
        return table.slice(offset, 1).to_pylist()[0]
    except UnicodeDecodeError as error:
        raise BadRow("bad_text", name, f"a text is not UTF-8: {error}") from error


def _values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """The values of a column; a text that is not UTF-8 is None: `_read` says what is wrong."""
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return None
