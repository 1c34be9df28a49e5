"""The row layouts of parquet files, verl's and EasyR1's: their columns, and rows as examples."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from perl_jax.data.image_files import encoded_image
from perl_jax.data.source import BadRow
from perl_jax.rewards.answers import answer_text
from perl_jax.types import Example

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RowOptions:
    """What is the same for all rows of a source.

    Attributes:
        image_root: The directory that image paths are relative to.
        prompt_suffix: Put after every question.
        source: Takes the place of what rows say that they come from.
    """

    image_root: Path | None
    prompt_suffix: str
    source: str | None


@dataclass(frozen=True)
class _Type:
    """What a column must be: in words, and as a test of its Arrow type."""

    words: str
    fits: Callable[[pa.DataType], bool]


@dataclass(frozen=True)
class Layout:
    """A row layout.

    Attributes:
        name: What errors call it.
        required: The columns that must be there.
        optional: The columns that are read where they are there.
        identity: The columns, or fields of columns, that tell rows apart.
        read: Makes an example of a row, given its name, the stem of its file, and the options.
        example_id: The id of a row, given its name.
    """

    name: str
    required: Mapping[str, _Type]
    optional: Mapping[str, _Type]
    identity: tuple[str, ...]
    read: Callable[[Row, str, str, RowOptions], Example]
    example_id: Callable[[Row, str], str]

    def missing(self, schema: pa.Schema) -> list[str]:
        """The required columns that a file lacks."""
        return [name for name in self.required if name not in schema.names]

    def columns(self, schema: pa.Schema) -> list[str]:
        """The columns of a file that are read."""
        return [name for name in (*self.required, *self.optional) if name in schema.names]

    def check(self, schema: pa.Schema, where: str) -> None:
        """Raises ValueError at a column of the wrong type."""
        for name in self.columns(schema):
            expected = {**self.required, **self.optional}[name]
            given = schema.field(name).type
            if not expected.fits(_value_type(given)):
                raise ValueError(f"{where}: column {name}: expected {expected.words}; got {given}")


def detect_layout(schema: pa.Schema, where: str) -> Layout:
    """The layout of a file.

    Raises:
        ValueError: Columns are missing for each, or one has the wrong type.
    """
    for layout in (VERL, EASYR1):
        if not layout.missing(schema):
            layout.check(schema, where)
            return layout
    lacking = "; ".join(
        f"for the layout of {layout.name} it lacks {', '.join(layout.missing(schema))}"
        for layout in (VERL, EASYR1)
    )
    raise ValueError(f"{where}: its columns are {', '.join(schema.names)}: {lacking}")


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
        fields_a, fields_b = ({field.name: field.type for field in kind} for kind in (a, b))
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


def _is_messages(kind: pa.DataType) -> bool:
    if not _is_list(kind) or not pa.types.is_struct(kind.value_type):
        return False
    fields = {field.name: field.type for field in kind.value_type}
    return {"role", "content"} <= fields.keys() and _is_text(fields["content"])


def _is_example(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind):
        return False
    fields = {field.name: field.type for field in kind}
    return {"id", "options", "metadata"} <= fields.keys() and (
        _is_text(fields["id"])
        and _is_text(fields["metadata"])
        and _is_list(fields["options"])
        and _is_text(fields["options"].value_type)
    )


def _is_truth(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and kind.get_field_index("ground_truth") >= 0


def _is_image(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind):
        return _is_binary(kind) or _is_text(kind) or pa.types.is_null(kind)
    fields = {field.name: field.type for field in kind}
    nothing = pa.types.is_null
    return {"bytes", "path"} <= fields.keys() and all(
        is_(fields[name]) or nothing(fields[name])
        for name, is_ in (("bytes", _is_binary), ("path", _is_text))
    )


def _or_null(fits: Callable[[pa.DataType], bool]) -> Callable[[pa.DataType], bool]:
    return lambda kind: fits(kind) or pa.types.is_null(kind)


_TEXT = _Type("text", _is_text)
_TEXT_OR_NULL = _Type("text", _or_null(_is_text))
_IMAGES = _Type(
    "a list of images, each a struct of bytes and path, or bytes, or a path",
    lambda kind: _is_image(kind.value_type) if _is_list(kind) else _is_image(kind),
)
_ANYTHING = _Type("anything", lambda kind: True)
_COMMON = {
    "change_needed": _ANYTHING,
    "question_type": _TEXT_OR_NULL,
    "response": _TEXT_OR_NULL,
}


def _text(value: Any, name: str, row: str) -> str:
    if value is None:
        raise BadRow(f"{name}_null", row, f"{name} is null")
    return value


def _answer(value: Any, row: str) -> str:
    """The ground truth as it is graded."""
    try:
        return answer_text(value)
    except TypeError as error:
        raise BadRow("answer_null" if value is None else "bad_answer", row, str(error)) from error
    except ValueError as error:
        raise BadRow("bad_answer", row, str(error)) from error


def _question(text: str | None, options: RowOptions, row: str) -> str:
    if not (text or "").strip():
        raise BadRow("empty_prompt", row, "the question is empty")
    assert text is not None
    if "<video>" in text:
        raise BadRow("video", row, "the question shows a <video>; only images are read")
    return text + options.prompt_suffix


def _images(value: Any, options: RowOptions, row: str) -> tuple[bytes, ...]:
    images = value if isinstance(value, list) else [] if value is None else [value]
    return tuple(encoded_image(image, options.image_root, row) for image in images)


def _common(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in _COMMON if row.get(name) is not None}


def _metadata(text: str | None, row: str) -> dict[str, Any]:
    try:
        values = json.loads(text or "{}")
    except ValueError as error:
        raise BadRow("bad_metadata", row, f"example.metadata is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise BadRow("bad_metadata", row, "example.metadata is not a JSON object")
    return values


def _scalars(extra: Row) -> dict[str, Any]:
    return {
        name: value for name, value in extra.items() if isinstance(value, str | int | float | bool)
    }


def _read_verl(row: Row, name: str, stem: str, options: RowOptions) -> Example:
    messages = row["prompt"] or []
    roles = [message["role"] for message in messages]
    if not messages:
        raise BadRow("empty_prompt", name, "there is no message")
    if roles != ["user"]:
        raise BadRow(
            "bad_prompt",
            name,
            f"expected one message, the user's; got {', '.join(map(str, roles))} (what a system "
            "message says belongs into the question or prompt_suffix)",
        )
    example = row.get("example") or {}
    return Example(
        id=_verl_id(row, name),
        source=options.source or _text(row["data_source"], "data_source", name),
        question=_question(messages[0]["content"], options, name),
        images=_images(row["images"], options, name),
        answer=_answer((row["reward_model"] or {}).get("ground_truth"), name),
        options=tuple(example.get("options") or ()),
        metadata={
            **_scalars(row.get("extra_info") or {}),
            **_metadata(example.get("metadata"), name),
            **_common(row),
        },
    )


def _verl_id(row: Row, name: str) -> str:
    if row.get("example"):
        return row["example"]["id"]
    extra = row.get("extra_info") or {}
    if extra.get("index") is None:
        return name
    parts = (row["data_source"], extra.get("split"), extra["index"])
    return "/".join(str(part) for part in parts if part is not None)


def _read_easyr1(row: Row, name: str, stem: str, options: RowOptions) -> Example:
    column = next((column for column in ("source", "data_source") if column in row), None)
    source = options.source or (_text(row[column], column, name) if column else stem)
    return Example(
        id=name,
        source=source,
        question=_question(row["problem"], options, name),
        images=_images(row["images"], options, name),
        answer=_answer(row["answer"], name),
        metadata=_common(row),
    )


VERL = Layout(
    "verl",
    {
        "data_source": _TEXT,
        "prompt": _Type("a list of messages, each a struct of role and content", _is_messages),
        "images": _IMAGES,
        "reward_model": _Type("a struct with a ground_truth", _is_truth),
    },
    {
        "extra_info": _Type("a struct", _or_null(pa.types.is_struct)),
        # What the layout has no place for: `perl_jax.data.shard_writer` writes it.
        "example": _Type("a struct of id, options and metadata", _is_example),
        **_COMMON,
    },
    (
        "example.id",
        "data_source",
        "extra_info.split",
        "extra_info.index",
        "reward_model.ground_truth",
    ),
    _read_verl,
    _verl_id,
)
EASYR1 = Layout(
    "EasyR1",
    {"problem": _TEXT, "answer": _ANYTHING, "images": _IMAGES},
    {"source": _TEXT, "data_source": _TEXT, **_COMMON},
    ("answer",),
    _read_easyr1,
    lambda row, name: name,
)
