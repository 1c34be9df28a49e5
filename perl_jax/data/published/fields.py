"""The fields of published rows, as examples hold them; what cannot be used is a `BadRow`."""

from collections.abc import Sequence
from typing import Any

from perl_jax.data.source import BadRow
from perl_jax.processing import Slot, split_placeholders
from perl_jax.rewards.answers import answer_text


def read_answer(value: Any, row: str) -> str:
    """The ground truth as it is graded.

    Raises:
        BadRow: ``answer_null`` or ``bad_answer``.
    """
    try:
        return answer_text(value)
    except TypeError as error:
        raise BadRow("answer_null" if value is None else "bad_answer", row, str(error)) from error
    except ValueError as error:
        raise BadRow("bad_answer", row, str(error)) from error


def read_question(value: Any, row: str) -> str:
    """The question as it stands.

    Raises:
        BadRow: ``empty_prompt`` or ``bad_prompt``.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise BadRow("empty_prompt", row, "the question is empty")
    if not isinstance(value, str):
        raise BadRow("bad_prompt", row, f"expected text; got {type(value).__name__}")
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


def image_tags(texts: Sequence[str]) -> int:
    """How many image placeholders texts have, numbered ones included."""
    return sum(isinstance(piece, Slot) for text in texts for piece in split_placeholders(text))


def check_image_count(texts: Sequence[str], num_images: int, row: str) -> None:
    """Refuses a row whose placeholders are not as many as its images.

    Raises:
        BadRow: ``image_count``.
    """
    tags = image_tags(texts)
    if tags != num_images:
        raise BadRow("image_count", row, f"{tags} image placeholders for {num_images} images")


def with_images_first(question: str, num_images: int) -> str:
    """The question with a placeholder for every image before it, where it has none at all.

    So sets are prompted whose rows hold images and text apart.
    """
    return question if image_tags([question]) else "<image>" * num_images + question
