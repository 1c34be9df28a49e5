"""The numbered tags of images in published questions: ``<image1>``, ``<image_1>``."""

from collections.abc import Callable

from perl_jax.evaluation.sets.files import PublishedRow
from perl_jax.processing import Slot, find_slots, split_placeholders


def numbers_of(text: str) -> list[int]:
    """The numbers of the tags of a text, in reading order; a plain ``<image>`` is 0."""
    return [slot.number or 0 for slot in find_slots(text)]


def check_tags(row: PublishedRow, text: str, num_images: int, *, complete: bool) -> None:
    """Raises `BadRow` ``image_count`` for a tag without an image.

    With ``complete``, an image without a tag is an error too.
    """
    numbers = set(numbers_of(text))
    expected = set(range(1, num_images + 1))
    if numbers - expected or (complete and expected - numbers):
        tags = ", ".join(map(str, sorted(numbers))) or "none"
        raise row.bad("image_count", f"{num_images} images, and tags of the images {tags}")


def in_reading_order(text: str, num_images: int) -> str:
    """A text with ``<image>`` for its tags, if they show all images once and in their order.

    Otherwise the tags keep their numbers, which say the image that each of them shows.
    """
    if numbers_of(text) != list(range(1, num_images + 1)):
        return text
    return replace_tags(text, lambda _: "<image>")


def replace_tags(text: str, new: Callable[[int], str]) -> str:
    """A text in which ``new`` says what stands for the tag of each number."""
    return "".join(
        new(piece.number or 0) if isinstance(piece, Slot) else piece
        for piece in split_placeholders(text)
    )
