"""Row layouts (verl's, EasyR1's, our own or a mapping), and checks that files have them."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import pyarrow as pa

from perl_jax.data.sources.columns import ColumnsConfig, check_columns
from perl_jax.legible import name_list

_NUMBERED = re.compile(r"image_?([0-9]{1,3})")

OWN_COLUMN = "perl_jax"
"""The column that tells our own shards from verl's."""


class _Type(NamedTuple):
    """The expected type of a column: in words, and as a test of its Arrow type."""

    words: str
    fits: Callable[[pa.DataType], bool]


@dataclass(frozen=True)
class Layout:
    """The columns of a file, by name, and what examples are made of."""

    name: str  # in messages
    columns: ColumnsConfig
    required: Mapping[str, _Type]  # columns that must exist
    optional: Mapping[str, _Type]  # columns that are read if they exist

    def missing(self, names: Collection[str]) -> list[str]:
        """The required columns that a file lacks."""
        return [name for name in self.required if name not in names]

    def read_columns(self, schema: pa.Schema) -> list[str]:
        """The columns of a file that are read."""
        return [name for name in (*self.required, *self.optional) if name in schema.names]

    def identity(self) -> list[str]:
        """The paths of source, id and answer, which tell rows apart."""
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
    """The layout that a file's columns tell; raises ValueError if they fit none."""
    images = _image_columns(names)
    for layout in (OURS, VERL, EASYR1):
        if not layout.missing((*names, *(["images"] if images else []))):
            columns = replace(layout.columns, images=images)
            if columns.source is None:
                source = next((name for name in ("source", "data_source") if name in names), None)
                columns = replace(columns, source=source)
            required = {name: kind for name, kind in layout.required.items() if name != "images"}
            required |= dict.fromkeys(images, _IMAGES)
            return replace(layout, columns=columns, required=required)
    lacking = "; ".join(
        f"for the layout of {layout.name} it lacks {name_list(layout.missing(names))}"
        for layout in (VERL, EASYR1)
    )
    raise ValueError(f"{where}: its columns are {name_list(names)}: {lacking}")


def _image_columns(names: Collection[str]) -> tuple[str, ...]:
    """The columns of images: ``images``, ``image``, or ``image_1``, ``image_2``, ..."""
    for name in ("images", "image"):
        if name in names:
            return (name,)
    numbered = {name: match for name in names if (match := _NUMBERED.fullmatch(name))}
    return tuple(sorted(numbered, key=lambda name: int(numbered[name][1])))


def schema_layout(schema: pa.Schema, columns: ColumnsConfig | None, where: str) -> Layout:
    """The layout of a mapping, or the one that a file's columns tell; ValueError if none fits."""
    if columns is None:
        layout = layout_of(schema.names, where)
        layout.check(schema, where)
        return layout
    fields = dict(_fields(schema))
    check_columns([path for path in columns.paths() if path not in fields], fields, where)
    types = [(columns.question, _QUESTION), *((path, _IMAGES) for path in columns.images)]
    types += [(columns.options or "", _OPTIONS), (columns.source or "", _TEXT_OR_NULL)]
    for path, expected in types:
        if path and not expected.fits(_value_type(fields[path])):
            raise ValueError(
                f"{where}: column {path}: expected {expected.words}; got {fields[path]}"
            )
    names = top_level(columns.paths(), schema)
    return Layout("the mapping", columns, dict.fromkeys(names, _ANYTHING), {})


def top_level(paths: Iterable[str], schema: pa.Schema) -> list[str]:
    """The columns of a file that hold these paths, without repeats."""
    names = (path if path in schema.names else path.partition(".")[0] for path in paths)
    return [name for name in dict.fromkeys(names) if name in schema.names]


def _fields(
    fields: pa.Schema | pa.StructType, prefix: str = ""
) -> Iterator[tuple[str, pa.DataType]]:
    """The paths and types of columns and of the fields within them."""
    for field in fields:
        yield f"{prefix}{field.name}", field.type
        if pa.types.is_struct(field.type):
            yield from _fields(field.type, f"{prefix}{field.name}.")


def same_type(a: pa.DataType, b: pa.DataType) -> bool:
    """Whether one column may have both types in two shards.

    How Arrow stores text and lists does not matter, nor does a column of nulls only.
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
    kind = _value_type(kind)
    forms = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(is_(kind) for is_ in forms)


def _is_binary(kind: pa.DataType) -> bool:
    kind = _value_type(kind)
    forms = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(is_(kind) for is_ in forms)


def _is_list(kind: pa.DataType) -> bool:
    forms = (
        pa.types.is_list,
        pa.types.is_large_list,
        pa.types.is_fixed_size_list,
        pa.types.is_list_view,
        pa.types.is_large_list_view,
    )
    return any(is_(kind) for is_ in forms)


def _is_plain(kind: pa.DataType) -> bool:
    return not (_is_list(kind) or pa.types.is_struct(kind) or _is_binary(kind))


def _struct(kind: pa.DataType) -> dict[str, pa.DataType]:
    """The fields of a struct; empty for other types."""
    return {field.name: field.type for field in kind} if pa.types.is_struct(kind) else {}


def _is_messages(kind: pa.DataType) -> bool:
    fields = _struct(kind.value_type) if _is_list(kind) else {}
    return {"role", "content"} <= fields.keys() and (
        _is_text(fields["content"]) or _is_parts(fields["content"])
    )


def _is_parts(kind: pa.DataType) -> bool:
    return _is_struct_parts(kind) or (_is_list(kind) and _is_text(kind.value_type))


def _is_struct_parts(kind: pa.DataType) -> bool:
    fields = _struct(kind.value_type) if _is_list(kind) else {}
    return not {"type", "text", "image"}.isdisjoint(fields)


def _is_image(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind):
        return _is_binary(kind) or _or_null(_is_text)(kind)
    fields = _struct(kind)
    return (
        not {"bytes", "path"}.isdisjoint(fields)
        and _or_null(_is_binary)(fields.get("bytes", pa.null()))
        and _or_null(_is_text)(fields.get("path", pa.null()))
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


_MESSAGES = _Type(
    "a list of messages, each a struct of role and content, a text or a list of parts",
    _is_messages,
)
_TEXT = _Type("text", _is_text)
_TEXT_OR_NULL = _Type("text", _or_null(_is_text))
_IMAGES = _Type(
    "a list of images, each a struct of bytes or path or both, or bytes, or a path",
    lambda kind: _is_image(kind.value_type) if _is_list(kind) else _is_image(kind),
)
_ANYTHING = _Type("anything", lambda kind: True)
_COMMON = {"change_needed": _ANYTHING, "question_type": _TEXT_OR_NULL, "response": _TEXT_OR_NULL}
_QUESTION = _Type(
    "text, or a list of messages, each a struct of role and content",
    lambda kind: _is_text(kind) or _is_messages(kind) or _is_struct_parts(kind),
)
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
        "reward_model": _Type(
            "a struct with a ground_truth", lambda kind: "ground_truth" in _struct(kind)
        ),
    },
    {"extra_info": _Type("a struct", _or_null(pa.types.is_struct)), **_COMMON},
)
# Written by `perl_jax.preparation.shard_writer`: verl's layout and a column for all else.
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
    {"problem": _QUESTION, "answer": _ANYTHING, "images": _IMAGES},
    {"source": _TEXT, "data_source": _TEXT, **_COMMON},
)
