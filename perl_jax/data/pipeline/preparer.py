"""Prepares a row for a step: preprocesses its images and checks that its prompt fits."""

import re
from dataclasses import dataclass, field, replace
from typing import Annotated

from perl_jax.data.pipeline.prompt import PromptConfig
from perl_jax.data.pipeline.row_filter import RowFilter
from perl_jax.data.sources.source import BadRow
from perl_jax.permutation.answers import letter_of
from perl_jax.permutation.reading.options import find_options
from perl_jax.permutation.refusal import CannotPermute
from perl_jax.processing import ImageError, Processor, PromptError, find_slots
from perl_jax.processing.conversation import MAX_CHARACTERS
from perl_jax.settings import Checked, Count, Expects
from perl_jax.types import Example, ImagePatches, conversation_text, prompt_of, prompt_text

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
        prompt: The text around every question.
        max_pixels_total: The most pixels of an example's distinct images after resizing; None: any.
    """

    processor: Processor
    max_prompt_tokens: _PositiveInteger = field(kw_only=True)
    prompt: PromptConfig = field(default_factory=PromptConfig, kw_only=True)
    max_pixels_total: _PositiveInteger | None = field(default=None, kw_only=True)

    def __call__(self, example: Example, filters: RowFilter | None = None) -> Example:
        """Returns the example with its images preprocessed and `prompt` around its question.

        Raises:
            FilteredRow: The filters refuse the prompt's length; their other fields are not used.
            BadRow: The example cannot be used.
            ValueError: The model directory is at fault, not the row.
        """
        example = self.prompt.around(example)
        check_text(example)
        prepared = replace(example, images=self._preprocess(example))
        try:
            prompt = self.processor.encode(prompt_of(prepared), prepared.images)
        except PromptError as error:
            raise BadRow.of(example, "bad_prompt", str(error)) from error
        if filters is not None:
            filters.check_prompt(example, len(prompt.tokens))
        if (tokens := len(prompt.tokens)) > (most := self.max_prompt_tokens):
            raise BadRow.of(example, "too_long", f"{tokens} tokens; at most {most} are read")
        return prepared

    def _preprocess(self, example: Example) -> tuple[ImagePatches, ...]:
        shown: list[ImagePatches] = []
        pixels = 0
        for number, image in enumerate(example.images, 1):
            try:
                patches = self.processor.preprocess(image, name=f"image {number}", known=shown)
            except ImageError as error:
                raise BadRow.of(example, "bad_image", str(error)) from error
            if all(patches is not other for other in shown):
                rows, columns = patches.grid
                pixels += rows * columns * self.processor.image_settings.patch_size**2
            if self.max_pixels_total is not None and pixels > self.max_pixels_total:
                place = f"image {number} of {len(example.images)}"
                most = f"at most {self.max_pixels_total} are read"
                raise BadRow.of(example, "too_many_pixels", f"{pixels} pixels by {place}; {most}")
            shown.append(patches)
        return tuple(shown)


def check_text(example: Example) -> None:
    """Raises `BadRow` ``too_long``, ``image_count`` or ``letter_outside_options``.

    No image is decoded.
    """
    text = conversation_text(example)
    if len(text) > MAX_CHARACTERS:
        raise BadRow.of(example, "too_long", f"{len(text)} characters of text")
    shown = [turn.text for turn in example.turns if turn.role != "assistant"]
    slots = find_slots("\n".join((*shown, prompt_text(example))))
    numbered = any(slot.number is not None for slot in slots)
    if not numbered and len(slots) != len(example.images):
        raise BadRow.of(example, "image_count", _miscounted(len(slots), len(example.images)))
    letter = letter_of(example.answer)
    if letter is not None and not letter_is_possible(letter, example):
        message = f"the answer {letter} is none of the options"
        raise BadRow.of(example, "letter_outside_options", message)


def _miscounted(slots: int, images: int) -> str:
    """What is wrong, and what to do, where placeholders and images differ in number."""
    counts = f"{slots} image placeholders for {images} images"
    if not images:
        return f"{counts}; the row has none: name their column in columns.images"
    if slots > images:
        return f"{counts}; each placeholder shows one image of the row"
    return (
        f"{counts}; write <image> where an image is shown, or set columns.prepend_missing_images "
        "to put those without one before the question"
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
    named = re.search(rf"\b{letter}\b", conversation_text(example))
    return not letters or letter in letters or named is not None
