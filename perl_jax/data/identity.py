"""What tells the rows of a source apart from each other, and a source from another one."""

import hashlib
from collections.abc import Iterable
from typing import Any

from perl_jax.data.columns import ColumnsConfig, Row, RowOptions, row_id, value_at


def check_rows(
    columns: ColumnsConfig,
    options: RowOptions,
    files: Iterable[tuple[str, bytes]],
    rows: Iterable[tuple[str, Row]],
) -> str:
    """Checks that no id stands twice in one source, and returns a fingerprint of the rows.

    Args:
        columns: What is where in a row.
        options: Of the source.
        files: The name of every file, and bytes that change with its content.
        rows: The name of every row, and at least its source and what its id is made of; also its
            answer, where the bytes of its file are a sample.

    Raises:
        ValueError: An id stands twice; names both rows.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(repr((columns, options.prompt_suffix, options.source)).encode())
    for name, content in files:
        digest.update(name.encode("utf-8", "surrogateescape"))
        digest.update(content)
    seen: dict[tuple[Any, str], str] = {}
    for name, row in rows:
        digest.update(repr(row).encode("utf-8", "backslashreplace"))
        if columns.id:
            id = row_id(columns, row, name)
            key = (None if columns.source is None else value_at(row, columns.source), id)
            if key in seen:
                raise ValueError(f"{name}: expected an id of its own; {seen[key]} has {id!r} too")
            seen[key] = name
    return digest.hexdigest()
