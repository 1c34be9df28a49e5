"""Which rows of a source are wanted. The others are no bad rows: they are counted apart."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Len

from perl_jax.data.sources.source import BadRow
from perl_jax.settings import Checked, CountOrZero, Expects
from perl_jax.types import Example

_Sources = Annotated[tuple[str, ...], Len(1), Expects("at least one")]
_Bound = Annotated[CountOrZero, Expects("an integer of at least 0")]
_BOUNDS = (("min_images", "max_images"), ("min_prompt_tokens", "max_prompt_tokens"))


class FilteredRow(BadRow):
    """One row is not wanted: it is left out and counted, but says nothing against the data."""


@dataclass(frozen=True)
class RowFilter(Checked):
    """What a row must be to be read. What is not given, is not asked.

    Attributes:
        sources: The data sets, of which it must come from one.
        min_images: The least images that it may show.
        max_images: The most.
        min_prompt_tokens: The shortest prompt, every image at as many tokens as it becomes.
        max_prompt_tokens: The longest.
        only: Columns of the metadata, and the values of which the row's must be one; a row without
            the column is left out.
        without: Columns of the metadata, and the values that the row's must not be.
    """

    sources: _Sources | None = None
    min_images: _Bound | None = None
    max_images: _Bound | None = None
    min_prompt_tokens: _Bound | None = None
    max_prompt_tokens: _Bound | None = None
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    without: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def _check_together(self) -> None:
        for names in _BOUNDS:
            low, high = (getattr(self, name) for name in names)
            if low is not None and high is not None and low > high:
                raise ValueError(f"{names[0]}: expected at most {names[1]} = {high}; got {low}")

    @property
    def measures_prompts(self) -> bool:
        """Whether rows are asked how long their prompts are."""
        return (self.min_prompt_tokens, self.max_prompt_tokens) != (None, None)

    def check(self, example: Example) -> None:
        """Looks at what can be told before images are decoded.

        Raises:
            FilteredRow: The row is not wanted, for the reason ``source``, ``image_count`` or
                ``metadata.COLUMN``.
        """
        if self.sources is not None and example.source not in self.sources:
            raise FilteredRow("source", example.id, f"it is of {example.source!r}")
        count = len(example.images)
        if not _within(count, self.min_images, self.max_images):
            raise FilteredRow("image_count", example.id, f"{count} images")
        for column, values in self.only.items():
            if column not in example.metadata or example.metadata[column] not in values:
                found = example.metadata.get(column)
                raise FilteredRow(f"metadata.{column}", example.id, f"{column} is {found!r}")
        for column, values in self.without.items():
            if column in example.metadata and example.metadata[column] in values:
                found = example.metadata[column]
                raise FilteredRow(f"metadata.{column}", example.id, f"{column} is {found!r}")

    def check_prompt(self, example: Example, tokens: int) -> None:
        """Looks at the length of the prompt.

        Raises:
            FilteredRow: The row is not wanted, for the reason ``prompt_tokens``.
        """
        if not _within(tokens, self.min_prompt_tokens, self.max_prompt_tokens):
            raise FilteredRow("prompt_tokens", example.id, f"{tokens} tokens")


def _within(value: int, low: int | None, high: int | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)
