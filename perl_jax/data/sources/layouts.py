"""The columns of files in verl's or EasyR1's row layout, our own, or as mapped; do they fit?"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import pyarrow as pa

from perl_jax.data.sources.columns import ColumnsConfig, check_columns

OWN_COLUMN = "perl_jax"
"""The column of our own shards that tells them from verl's."""


class _Type(NamedTuple):
    """What a column must be: in words, and as a test of its Arrow type."""

    words: str
    fits: Callable[[pa.DataType], bool]


@dataclass(frozen=True)
class Layout:
    """A row layout.

    Attributes:
        name: What errors call it.
        columns: What an example is made of.
        required: The columns that must be there, and their types.
        optional: The columns that are read where they are there.
    """

    name: str
    columns: ColumnsConfig
    required: Mapping[str, _Type]
    optional: Mapping[str, _Type]

    def missing(self, names: Collection[str]) -> list[str]:
        """The required columns that are not among the columns of a file."""
        return [name for name in self.required if name not in names]

    def read_columns(self, schema: pa.Schema) -> list[str]:
        """The columns of a file that are read."""
        return [name for name in (*self.required, *self.optional) if name in schema.names]

    def identity(self) -> list[str]:
        """The columns, or fields of columns, that tell rows apart."""
        source = () if self.columns.source is None else (self.columns.source,)
        return list(dict.fromkeys((*source, *self.columns.id, self.columns.answer)))

    def check(self, schema: pa.Schema, where: str) -> None:
        """Raises ValueError at a column of the wrong type."""
        for name in self.read_columns(schema):
            expected = {**self.required, **self.optional}[name]
            given = schema.field(name).type
            if not expected.fits(_value_type(given)):
                raise ValueError(f"{where}: column {name}: expected {expected.words}; got {given}")


def layout_of(names: Collection[str], where: str) -> Layout:
    """The layout of a file with columns of these names.

    Raises:
        ValueError: Columns are missing for each.
    """
    for layout in (OURS, VERL, EASYR1):
        if not layout.missing(names):
            columns = layout.columns
            if columns.source is None:
                source = next((name for name in ("source", "data_source") if name in names), None)
                columns = replace(columns, source=source)
            return replace(layout, columns=columns)
    lacking = "; ".join(
        f"for the layout of {layout.name} it lacks {', '.join(layout.missing(names))}"
        for layout in (VERL, EASYR1)
    )
    raise ValueError(f"{where}: its columns are {', '.join(names)}: {lacking}")


def schema_layout(schema: pa.Schema, columns: ColumnsConfig | None, where: str) -> Layout:
    """The layout of a file: that of a mapping, else the one that its columns tell.

    Raises:
        ValueError: Columns are missing, or one has the wrong type.
    """
    if columns is None:
        layout = layout_of(schema.names, where)
        layout.check(schema, where)
        return layout
    fields = dict(_fields(schema))
    check_columns([path for path in columns.paths() if path not in fields], fields, where)
    for path, expected in _mapped_types(columns):
        if not expected.fits(_value_type(fields[path])):
            raise ValueError(
                f"{where}: column {path}: expected {expected.words}; got {fields[path]}"
            )
    names = top_level(columns.paths(), schema)
    return Layout("the mapping", columns, dict.fromkeys(names, _ANYTHING), {})


def top_level(paths: Iterable[str], schema: pa.Schema) -> list[str]:
    """The columns of a file that hold what these paths name, each once."""
    names = (path if path in schema.names else path.partition(".")[0] for path in paths)
    return [name for name in dict.fromkeys(names) if name in schema.names]


def _fields(
    fields: pa.Schema | pa.StructType, prefix: str = ""
) -> Iterator[tuple[str, pa.DataType]]:
    """The paths and types of columns, and of the fields within them."""
    for field in fields:
        yield f"{prefix}{field.name}", field.type
        if pa.types.is_struct(field.type):
            yield from _fields(field.type, f"{prefix}{field.name}.")


def _mapped_types(columns: ColumnsConfig) -> Iterator[tuple[str, _Type]]:
    yield columns.question, _QUESTION
    yield from ((path, _IMAGES) for path in columns.images)
    if columns.options is not None:
        yield columns.options, _OPTIONS
    if columns.source is not None:
        yield columns.source, _TEXT_OR_NULL


def same_type(a: pa.DataType, b: pa.DataType) -> bool:
    """Whether two shards may hold these types in one column.

    How Arrow stores text and lists does not matter, nor does a type without any value (``null``).
    """
    a, b = _value_type(a), _value_type(b)
    if pa.types.is_null(a) or pa.types.is_null(b):
        return True
    if _is_list(a) and _is_list(b):
        return same_type(a.value_type, b.value_type)
    if pa.types.is_struct(a) and pa.types.is_struct(b):
        fields_a, fields_b = _struct(a), _struct(b)
        return fields_a.keys() == fields_b.keys() and all(
            same_type(kind, fields_b[name]) for name, kind in fields_a.items()
        )
    return bool(a == b) or any(is_(a) and is_(b) for is_ in (_is_text, _is_binary))


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _is_plain(kind: pa.DataType) -> bool:
    return not (_is_list(kind) or pa.types.is_struct(kind) or pa.types.is_binary(kind))


def _struct(kind: pa.DataType) -> dict[str, pa.DataType]:
    """The fields of a struct; none of any other type."""
    return {field.name: field.type for field in kind} if pa.types.is_struct(kind) else {}


def _is_messages(kind: pa.DataType) -> bool:
    fields = _struct(kind.value_type) if _is_list(kind) else {}
    return {"role", "content"} <= fields.keys() and _is_text(fields["content"])


def _is_image(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind):
        return _is_binary(kind) or _or_null(_is_text)(kind)
    fields = _struct(kind)
    return (
        {"bytes", "path"} <= fields.keys()
        and _or_null(_is_binary)(fields["bytes"])
        and _or_null(_is_text)(fields["path"])
    )


def _or_null(fits: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], bool]:
    return lambda kind: fits(kind) or pa.types.is_null(kind)


def _is_own(kind: pa.DataType) -> bool:
    fields = _struct(kind)
    return (
        {"id", "options", "metadata"} <= fields.keys()
        and _is_text(fields["id"])
        and _is_text(fields["metadata"])
        and _OPTIONS.fits(fields["options"])
    )


_MESSAGES = _Type("a list of messages, each a struct of role and content", _is_messages)
_TEXT = _Type("text", _is_text)
_TEXT_OR_NULL = _Type("text", _or_null(_is_text))
_IMAGES = _Type(
    "a list of images, each a struct of bytes and path, or bytes, or a path",
    lambda kind: _is_image(kind.value_type) if _is_list(kind) else _is_image(kind),
)
_ANYTHING = _Type("anything", lambda kind: True)
_COMMON = {"change_needed": _ANYTHING, "question_type": _TEXT_OR_NULL, "response": _TEXT_OR_NULL}
_QUESTION = _Type("text, or a list of messages", lambda kind: _is_text(kind) or _is_messages(kind))
_OPTIONS = _Type(
    "text, or a list of texts",
    lambda kind: _or_null(_is_text)(kind) or (_is_list(kind) and _is_plain(kind.value_type)),
)
VERL = Layout(
    "verl",
    ColumnsConfig(
        question="prompt",
        answer="reward_model.ground_truth",
        images=("images",),
        id=("data_source", "extra_info.split", "extra_info.index"),
        source="data_source",
        metadata=("extra_info", *_COMMON),
    ),
    {
        "data_source": _TEXT,
        "prompt": _MESSAGES,
        "images": _IMAGES,
        "reward_model": _Type(
            "a struct with a ground_truth", lambda kind: "ground_truth" in _struct(kind)
        ),
    },
    {"extra_info": _Type("a struct", _or_null(pa.types.is_struct)), **_COMMON},
)
# Written by `perl_jax.preparation.shard_writer`: verl's, and a column for what has no place there.
OURS = Layout(
    "perl_jax",
    replace(
        VERL.columns,
        id=(f"{OWN_COLUMN}.id",),
        options=f"{OWN_COLUMN}.options",
        label_options=False,
        metadata=tuple(_COMMON),
        metadata_json=f"{OWN_COLUMN}.metadata",
    ),
    {**VERL.required, OWN_COLUMN: _Type("a struct of id, options and metadata", _is_own)},
    _COMMON,
)
EASYR1 = Layout(
    "EasyR1",
    ColumnsConfig(question="problem", answer="answer", images=("images",), metadata=tuple(_COMMON)),
    {"problem": _TEXT, "answer": _ANYTHING, "images": _IMAGES},
    {"source": _TEXT, "data_source": _TEXT, **_COMMON},
)
