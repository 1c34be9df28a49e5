"""Filters of rows. Filtered rows are not bad rows: they are counted apart."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from annotated_types import Len

from perl_jax.data.sources.source import BadRow
from perl_jax.legible import brief
from perl_jax.settings import Checked, CountOrZero, Expects
from perl_jax.types import Example

_Sources = Annotated[tuple[str, ...], Len(1), Expects("at least one")]
_Bound = Annotated[CountOrZero, Expects("an integer of at least 0")]
_BOUNDS = (("min_images", "max_images"), ("min_prompt_tokens", "max_prompt_tokens"))


class FilteredRow(BadRow):
    """A filter refuses a row: it is left out and counted, but does not count as bad."""


@dataclass(frozen=True)
class RowFilter(Checked):
    """The conditions for a row to be read. Fields left at their defaults ask nothing.

    Attributes:
        sources: The allowed values of the row's ``source``.
        min_images: The fewest images.
        max_images: The most images.
        min_prompt_tokens: The shortest prompt, image tokens included.
        max_prompt_tokens: The longest prompt.
        only: Allowed values per metadata column. A row without the column is left out.
        without: Forbidden values per metadata column.
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
        """Whether there are bounds on the prompt's length."""
        return (self.min_prompt_tokens, self.max_prompt_tokens) != (None, None)

    def check(self, example: Example) -> None:
        """Raises `FilteredRow`: ``source``, ``image_count`` or ``metadata.COLUMN``."""
        if self.sources is not None and example.source not in self.sources:
            raise FilteredRow.of(example, "source", f"it is of {brief(example.source)}")
        count = len(example.images)
        if not _within(count, self.min_images, self.max_images):
            raise FilteredRow.of(example, "image_count", f"{count} images")
        for expected, columns in ((True, self.only), (False, self.without)):
            for column, values in columns.items():
                value = example.metadata.get(column)
                if (column in example.metadata and value in values) is not expected:
                    message = f"{column} is {brief(value)}"
                    raise FilteredRow.of(example, f"metadata.{column}", message)

    def check_prompt(self, example: Example, tokens: int) -> None:
        """Checks the prompt's length; raises `FilteredRow` with the reason ``prompt_tokens``."""
        if not _within(tokens, self.min_prompt_tokens, self.max_prompt_tokens):
            raise FilteredRow.of(example, "prompt_tokens", f"{tokens} tokens")


def _within(value: int, low: int | None, high: int | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)
