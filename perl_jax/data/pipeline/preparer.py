"""Prepares a row for a step: preprocesses its images and checks that its prompt fits."""

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
    """Preprocesses an example's images and checks its prompt; nothing is ever truncated.

    The example comes back with `ImagePatches` as images. Equal images become one object, so that
    each is held and encoded once.

    Raises `BadRow` for the reasons ``too_long``, ``image_count`` (placeholders and images differ in
    number), ``bad_image``, ``too_many_pixels``, ``bad_prompt`` or ``letter_outside_options``.

    Attributes:
        processor: The model's processor.
        max_prompt_tokens: The longest prompt, image tokens included.
        max_pixels_total: The most pixels of an example's distinct images after resizing; None: any.
    """

    processor: Processor
    max_prompt_tokens: _PositiveInteger = field(kw_only=True)
    max_pixels_total: _PositiveInteger | None = field(default=None, kw_only=True)

    def __call__(self, example: Example, filters: RowFilter | None = None) -> Example:
        """Returns the example with its images preprocessed.

        Raises:
            FilteredRow: The filters refuse the prompt's length; their other fields are not used.
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
        if (tokens := len(prompt.tokens)) > (most := self.max_prompt_tokens):
            raise BadRow("too_long", example.id, f"{tokens} tokens; at most {most} are read")
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
                place = f"image {number} of {len(example.images)}"
                most = f"at most {self.max_pixels_total} are read"
                raise BadRow("too_many_pixels", example.id, f"{pixels} pixels by {place}; {most}")
            shown.append(patches)
        return tuple(shown)


def check_text(example: Example, text: str) -> None:
    """Raises `BadRow` ``too_long``, ``image_count`` or ``letter_outside_options``.

    ``text`` is the example's `prompt_text`; no image is decoded.
    """
    if len(text) > MAX_CHARACTERS:
        raise BadRow("too_long", example.id, f"{len(text)} characters of text")
    slots = find_slots(text)
    numbered = any(slot.number is not None for slot in slots)
    if not numbered and len(slots) != len(example.images):
        counts = f"{len(slots)} image placeholders for {len(example.images)} images"
        raise BadRow("image_count", example.id, counts)
    letter = letter_of(example.answer)
    if letter is not None and not letter_is_possible(letter, example):
        raise BadRow(
            "letter_outside_options", example.id, f"the answer {letter} is none of the options"
        )


def letter_is_possible(letter: str, example: Example) -> bool:
    """Whether an option has this letter, or the text names it.

    Some data sets say "if none is right, answer E" and list only A to D. Without readable options,
    any letter is possible.
    """
    try:
        letters = {option.letter for option in find_options(example)}
    except CannotPermute:
        return True
    named = re.search(rf"\b{letter}\b", prompt_text(example))
    return not letters or letter in letters or named is not None
