"""The fields of published rows, as examples hold them; what cannot be used is a `BadRow`."""

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
    """Reads published files as `read_files` does, with what that yields and raises.

    Args:
        root: The directory with the published files.
        pattern: Of those with rows.
        fields: Given a row, its name and its number: the arguments of `read_example`.
        source: Of the examples.
        columns: Those of parquet files that are read.
        archives: The zip files with images.
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
    """An example of the fields of a row, as they are published.

    Args:
        row: Names the row.
        store: Reads the images.
        id: As in `Example`, like all that follow.
        source: See above.
        question: A text.
        images: What `ImageStore.read` takes, or a list of it; None: there are none.
        answer: The ground truth.
        options: As they are shown.
        metadata: What is kept beside.

    Raises:
        BadRow: A field cannot be used; those of the functions below and of `ImageStore.read`.
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
    """The question as it stands.

    Raises:
        BadRow: ``empty_prompt``, ``bad_prompt`` or ``bad_text``.
    """
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
    """The id of a row that has one, made unique over the splits.

    Raises:
        BadRow: ``id_null``.
    """
    if value is None or value == "":
        raise BadRow("id_null", row, "the row has no id")
    return f"{split}/{value}"


def listed(value: Any) -> list[Any]:
    """The images of a column that holds one, several or none."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _with_image_tags(question: str, num_images: int, row: str, options: Sequence[str]) -> str:
    """The question with a placeholder for every image of the row; else `BadRow`: ``image_count``.

    A single image without any is shown before the question: it can belong to no other place.
    """
    tags = sum(len(find_slots(text)) for text in (question, *options))
    if num_images == 1 and not tags:
        return f"<image>{question}"
    if tags != num_images:
        raise BadRow("image_count", row, f"{tags} image placeholders for {num_images} images")
    return question
