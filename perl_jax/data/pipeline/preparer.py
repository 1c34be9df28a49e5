"""From a row to what a step needs of it: its images preprocessed, its prompt known to fit."""

import re
from dataclasses import dataclass, field, replace
from typing import Annotated

from perl_jax.data.pipeline.row_filter import RowFilter
from perl_jax.data.sources.source import BadRow
from perl_jax.permutation.answers import letter_of
from perl_jax.permutation.reading.options import find_options
from perl_jax.permutation.refusal import CannotPermute
from perl_jax.processing import ImageError, Processor, PromptError, find_slots
from perl_jax.processing.conversation import MAX_CHARACTERS
from perl_jax.settings import Checked, Count, Expects
from perl_jax.types import Example, ImagePatches, prompt_text

_PositiveInteger = Annotated[Count, Expects("a positive integer")]


@dataclass(frozen=True, eq=False)
class Preparer(Checked):
    """Preprocesses the images of an example and checks its prompt; nothing is ever truncated.

    The example that comes back shows `ImagePatches`, which every later step takes as images.
    Images that are alike become one object, so that each is held and encoded once.

    Rows that cannot be used raise `BadRow` with the reason ``too_long``, ``image_count`` (not as
    many placeholders as images), ``bad_image``, ``too_many_pixels``, ``bad_prompt`` or
    ``letter_outside_options``.

    Attributes:
        processor: Of the model.
        max_prompt_tokens: The longest prompt, image tokens included.
        max_pixels_total: The most pixels that the distinct images of an example may have together,
            after resizing; None: any number.
    """

    processor: Processor
    max_prompt_tokens: _PositiveInteger = field(kw_only=True)
    max_pixels_total: _PositiveInteger | None = field(default=None, kw_only=True)

    def __call__(self, example: Example, filters: RowFilter | None = None) -> Example:
        """The example with its images preprocessed.

        Args:
            example: The row.
            filters: How long its prompt should be; nothing else of them is looked at.

        Raises:
            FilteredRow: The prompt has another length than it should.
            BadRow: The example cannot be used.
            ValueError: The model directory is at fault, not the row.
        """
        text = prompt_text(example)
        check_text(example, text)
        prepared = replace(example, images=self._preprocess(example))
        try:
            prompt = self.processor.encode(text, prepared.images)
        except PromptError as error:
            raise BadRow("bad_prompt", example.id, str(error)) from error
        if filters is not None:
            filters.check_prompt(example, len(prompt.tokens))
        if len(prompt.tokens) > self.max_prompt_tokens:
            raise BadRow(
                "too_long",
                example.id,
                f"{len(prompt.tokens)} tokens; at most {self.max_prompt_tokens} are read",
            )
        return prepared

    def _preprocess(self, example: Example) -> tuple[ImagePatches, ...]:
        shown: list[ImagePatches] = []
        pixels = 0
        for number, image in enumerate(example.images, 1):
            try:
                patches = self.processor.preprocess(image, name=f"image {number}", known=shown)
            except ImageError as error:
                raise BadRow("bad_image", example.id, str(error)) from error
            if all(patches is not other for other in shown):
                rows, columns = patches.grid
                pixels += rows * columns * self.processor.image_settings.patch_size**2
            if self.max_pixels_total is not None and pixels > self.max_pixels_total:
                raise BadRow(
                    "too_many_pixels",
                    example.id,
                    f"{pixels} pixels by image {number} of {len(example.images)}; at most "
                    f"{self.max_pixels_total} are read",
                )
            shown.append(patches)
        return tuple(shown)


def check_text(example: Example, text: str) -> None:
    """Checks what can be told without looking at an image, and cheaply.

    Args:
        example: A row.
        text: Its `prompt_text`.

    Raises:
        BadRow: ``too_long``, ``image_count`` or ``letter_outside_options``.
    """
    if len(text) > MAX_CHARACTERS:
        raise BadRow("too_long", example.id, f"{len(text)} characters of text")
    slots = find_slots(text)
    numbered = any(slot.number is not None for slot in slots)
    if not numbered and len(slots) != len(example.images):
        raise BadRow(
            "image_count",
            example.id,
            f"{len(slots)} image placeholders for {len(example.images)} images",
        )
    letter = letter_of(example.answer)
    if letter is not None and not letter_is_possible(letter, example):
        raise BadRow(
            "letter_outside_options", example.id, f"the answer {letter} is none of the options"
        )


def letter_is_possible(letter: str, example: Example) -> bool:
    """Whether an answer may be this letter: an option has it, or the text speaks of it otherwise.

    Some data sets say "if none is right, answer E" and list only A to D. Where no options can be
    read, any letter is possible.
    """
    try:
        letters = {option.letter for option in find_options(example)}
    except CannotPermute:
        return True
    spoken = re.search(rf"\b{letter}\b", prompt_text(example))
    return not letters or letter in letters or spoken is not None
