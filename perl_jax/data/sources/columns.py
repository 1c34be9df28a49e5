"""Turns rows into examples: which column holds the question, the images, the answer."""

import itertools
import json
import re
import string
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from perl_jax.data.sources.image_files import encoded_image
from perl_jax.data.sources.messages import Asked, read_question
from perl_jax.data.sources.source import BadRow
from perl_jax.legible import brief, name_list, suggestion
from perl_jax.processing import find_slots
from perl_jax.rewards.answers import answer_text, check_truth
from perl_jax.settings import Checked
from perl_jax.types import PROMPT_SUFFIX, Example, Turn

Row = Mapping[str, Any]

_LABEL = re.compile(r"\s*(?:\(([A-Z])\)|([A-Z])[.):])")
_LETTERS = string.ascii_uppercase


@dataclass(frozen=True)
class ColumnsConfig(Checked):
    r"""The columns that make up an example. All that are named must exist.

    A field of a struct is named by its path, as in ``reward_model.ground_truth``.

    Attributes:
        question: A text; or messages with ``role`` and ``content``, of which the last one, the
            user's, asks. See `perl_jax.data.sources.messages.read_question`.
        answer: A text, a number or a list, made text by `perl_jax.rewards.answer_text`.
        images: A column of one image or a list of images; or several columns, such as ``image_1``
            to ``image_4``, where null is no image. An image is bytes, a path below
            ``image_root``, a ``data:`` URL, or a struct of ``bytes`` or ``path`` or both, in which
            bytes win. Images that stand in the messages need no column.
        options: A list of texts, or one text with an option on each line.
        label_options: Whether to put ``A. ``, ``B. ``, ... before options without letters.
        id: Columns that together tell rows apart; joined by ``/``, nulls left out. Without
            columns, or if the last one is null, the id is the row's file and place.
        source: The row's origin; it selects the permutation rule.
        metadata: Columns that are kept, under the last name of their paths; of a struct, its plain
            values under their own names.
        metadata_json: A column with a JSON object whose entries are kept too.
        answer_is: ``text``, graded as it is; or ``index``, an option's number from 0, which
            becomes its letter.
        prepend_missing_images: Whether to put an ``<image>`` before the question (the first one,
            if there are several) for each image without a placeholder.
    """

    question: str
    answer: str
    images: tuple[str, ...] = ()
    options: str | None = None
    label_options: bool = True
    id: tuple[str, ...] = ()
    source: str | None = None
    metadata: tuple[str, ...] = ()
    metadata_json: str | None = None
    answer_is: Literal["text", "index"] = "text"
    prepend_missing_images: bool = False

    def _check_together(self) -> None:
        names = [path.rpartition(".")[2] for path in self.metadata]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"metadata: expected different names; got {', '.join(twice)} twice")

    def paths(self) -> tuple[str, ...]:
        """The paths of all columns that are read, without repeats."""
        single = (self.options, self.source, self.metadata_json)
        paths = (self.question, self.answer, *self.images, *single, *self.id, *self.metadata)
        return tuple(dict.fromkeys(path for path in paths if path is not None))


@dataclass(frozen=True)
class RowOptions:
    """Settings for all rows of a source; for the fields see `RowsConfig`."""

    image_root: Path | str | None
    prompt_suffix: str
    source: str | None


def read_row(
    columns: ColumnsConfig, row: Row, name: str, stem: str, options: RowOptions
) -> Example:
    """Makes an example of a row called ``name``; ``stem`` is the source of rows that name none.

    Raises `BadRow`, or OSError if an image cannot be read.
    """
    try:
        return _read_row(columns, row, name, stem, options)
    except BadRow as error:
        id = row_id(columns, row, name)
        raise BadRow(error.reason, name, error.message, id) from error


def _read_row(
    columns: ColumnsConfig, row: Row, name: str, stem: str, options: RowOptions
) -> Example:
    choices = _options(columns, row, name)
    asked = read_question(value_at(row, columns.question), columns.question, name)
    suffix = {PROMPT_SUFFIX: options.prompt_suffix} if options.prompt_suffix else {}
    answer = _answer(columns, row, choices, name)
    found = _images(columns, row, asked, name)
    images = tuple(encoded_image(image, options.image_root, name) for image in found)
    if columns.prepend_missing_images:
        asked = _with_missing_images(asked, choices, len(images))
    return Example(
        id=row_id(columns, row, name),
        source=options.source or _source(columns, row, name, stem),
        question=asked.question,
        images=images,
        answer=answer,
        options=choices,
        metadata=_json_metadata(columns, row, name) | _metadata(columns, row) | suffix,
        turns=asked.turns,
        place=name,
    )


def row_id(columns: ColumnsConfig, row: Row, name: str) -> str:
    """The row's id."""
    values = [value_at(row, path) for path in columns.id]
    if not values or values[-1] is None:
        return name
    return "/".join(str(value) for value in values if value is not None)


def read_answer(value: Any, name: str) -> str:
    """The ground truth as it is graded; raises `BadRow`: ``answer_null`` or ``bad_answer``."""
    if (problem := check_truth(value)) is not None:
        raise BadRow("answer_null" if value is None else "bad_answer", name, problem)
    return answer_text(value)


def value_at(row: Row, path: str) -> Any:
    """The value of a column, or of a field within one; None if missing."""
    if path in row:
        return row[path]
    head, _, rest = path.partition(".")
    inner = row.get(head)
    return value_at(inner, rest) if rest and isinstance(inner, Mapping) else None


def column_paths(row: Row, prefix: str = "") -> Iterator[str]:
    """The paths of a row's columns and of the fields within them."""
    for name, value in row.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from column_paths(value, f"{prefix}{name}.")


def check_columns(missing: Collection[str], names: Collection[str], where: str) -> None:
    """Raises ValueError if there are missing columns; ``names`` are those of the file ``where``."""
    if wrong := ", ".join(f"{path!r}{suggestion(path, names)}" for path in missing):
        raise ValueError(f"{where}: columns: expected some of {name_list(names)}; got {wrong}")


def _kind(value: Any) -> str:
    return f"{type(value).__name__} {str(value)[:50]!r}"


def _images(columns: ColumnsConfig, row: Row, asked: Asked, name: str) -> list[Any]:
    """The images of a row in reading order: those of its columns, and of its messages."""
    values = (value_at(row, path) for path in columns.images)
    lists = (value if isinstance(value, list) else [value] for value in values if value is not None)
    found = list(itertools.chain.from_iterable(lists))
    standing = sum(image is not None for image in asked.images)
    if not standing:
        return found
    if (places := len(asked.images) - standing) != len(found):
        message = (
            f"{standing} images stand in the messages, and {len(found)} in the columns "
            f"{name_list(columns.images)} for {places} other placeholders; give every image once "
            "(columns.images says which columns are read)"
        )
        raise BadRow("image_count", name, message)
    rest = iter(found)
    return [next(rest) if image is None else image for image in asked.images]


def _with_missing_images(asked: Asked, choices: tuple[str, ...], images: int) -> Asked:
    told = [turn.text for turn in asked.turns if turn.role != "assistant"]
    missing = images - len(find_slots("\n".join((*told, asked.question, *choices))))
    if missing <= 0:
        return asked
    for number, turn in enumerate(asked.turns):
        if turn.role == "user":
            first = Turn("user", "<image>" * missing + "\n" + turn.text)
            return replace(asked, turns=(*asked.turns[:number], first, *asked.turns[number + 1 :]))
    return replace(asked, question="<image>" * missing + "\n" + asked.question)


def _options(columns: ColumnsConfig, row: Row, name: str) -> tuple[str, ...]:
    value = None if columns.options is None else value_at(row, columns.options)
    if value is None:
        return ()
    if isinstance(value, str):
        value = [line.strip() for line in value.splitlines() if line.strip()]
    if not isinstance(value, list) or not all(
        isinstance(option, str | int | float) and not isinstance(option, bool) for option in value
    ):
        raise BadRow("bad_options", name, f"expected texts as options; got {_kind(value)}")
    if len(value) > len(_LETTERS):
        raise BadRow("bad_options", name, f"expected at most 26 options; got {len(value)}")
    texts = [str(option) for option in value]
    labels = [_LABEL.match(text) for text in texts]
    letters = [label and (label[1] or label[2]) for label in labels]
    if not columns.label_options or letters == list(_LETTERS[: len(texts)]):
        return tuple(texts)
    return tuple(f"{letter}. {text}" for letter, text in zip(_LETTERS, texts, strict=False))


def _answer(columns: ColumnsConfig, row: Row, choices: tuple[str, ...], name: str) -> str:
    text = read_answer(value_at(row, columns.answer), name)
    if columns.answer_is == "text":
        return text
    count = len(choices) if columns.options is not None else len(_LETTERS)
    if not re.fullmatch(r"[0-9]{1,2}", text) or int(text) >= count:
        expected = f"the index of an option, 0 to {count - 1}"
        raise BadRow("bad_answer", name, f"expected {expected}; got {brief(text)}")
    return _LETTERS[int(text)]


def _source(columns: ColumnsConfig, row: Row, name: str, stem: str) -> str:
    if columns.source is None:
        return stem
    value = value_at(row, columns.source)
    if value is None:
        raise BadRow(f"{columns.source}_null", name, f"{columns.source} is null")
    if not isinstance(value, str):
        raise BadRow("bad_source", name, f"{columns.source}: expected text; got {_kind(value)}")
    return value


def _json_metadata(columns: ColumnsConfig, row: Row, name: str) -> dict[str, Any]:
    path = columns.metadata_json
    text = None if path is None else value_at(row, path)
    if text is None:
        return {}
    try:
        values = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRow("bad_metadata", name, f"{path}: expected a JSON object: {error}") from error
    if not isinstance(values, dict):
        raise BadRow("bad_metadata", name, f"{path}: expected a JSON object; got {_kind(values)}")
    return values


def _metadata(columns: ColumnsConfig, row: Row) -> dict[str, Any]:
    kept = {}
    for path in columns.metadata:
        value = value_at(row, path)
        if isinstance(value, Mapping):
            kept.update({k: v for k, v in value.items() if isinstance(v, str | int | float | bool)})
        elif value is not None:
            kept[path.rpartition(".")[2]] = value
    return kept
