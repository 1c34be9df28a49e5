"""Converts the fields of published rows to examples; a field that cannot be used is a `BadRow`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from perl_jax.data.sources.columns import Row, read_answer
from perl_jax.data.sources.source import BadRow
from perl_jax.datasets.files import Columns, read_files
from perl_jax.datasets.image_store import ImageStore
from perl_jax.processing import find_slots
from perl_jax.types import Example


def read_examples(
    root: Path,
    pattern: str,
    fields: Callable[[Row, str, int], dict[str, Any]],
    *,
    source: str,
    columns: Columns,
    archives: Iterable[Path] = (),
) -> Iterator[Example | BadRow]:
    """Like `read_files`, with images from ``root`` and the zip files ``archives``.

    ``fields`` returns the arguments of `read_example` for a row, its name and its number.
    """
    with closing(ImageStore(root, archives)) as store:

        def read(row: Row, name: str, number: int) -> Example:
            return read_example(name, store, source=source, **fields(row, name, number))

        yield from read_files(root, pattern, read, columns)


def read_example(
    row: str,
    store: ImageStore,
    *,
    id: str,
    source: str,
    question: Any,
    images: Any,
    answer: Any,
    options: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
) -> Example:
    """Makes an `Example` of published fields.

    ``row`` names the row in errors. ``images`` is what ``store.read`` takes, a list of it, or None.

    Raises:
        BadRow: A field cannot be used (see the functions below and `ImageStore.read`).
        OSError: The storage fails.
    """
    shown = listed(images)
    return Example(
        id=id,
        source=source,
        question=_with_image_tags(read_question(question, row), len(shown), row, options),
        images=tuple(store.read(image, row) for image in shown),
        answer=read_answer(answer, row),
        options=tuple(options),
        metadata=dict(metadata or {}),
    )


def read_question(value: Any, row: str) -> str:
    """Checks a question; raises `BadRow`: ``empty_prompt``, ``bad_prompt`` or ``bad_text``."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise BadRow("empty_prompt", row, "the question is empty")
    if not isinstance(value, str):
        raise BadRow("bad_prompt", row, f"expected text; got {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadRow("bad_text", row, f"the question is no Unicode: {error}") from error
    return value


def read_id(value: Any, split: str, row: str) -> str:
    """Makes a row's id unique over the splits; raises `BadRow`: ``id_null``."""
    if value is None or value == "":
        raise BadRow("id_null", row, "the row has no id")
    return f"{split}/{value}"


def listed(value: Any) -> list[Any]:
    """The values of a column that holds one, several or none."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _with_image_tags(question: str, num_images: int, row: str, options: Sequence[str]) -> str:
    """Puts a single image that has no placeholder first; raises `BadRow`: ``image_count``."""
    tags = sum(len(find_slots(text)) for text in (question, *options))
    if num_images == 1 and not tags:
        return f"<image>{question}"
    if tags != num_images:
        raise BadRow("image_count", row, f"{tags} image placeholders for {num_images} images")
    return question
