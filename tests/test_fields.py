"""What is told of the fields of configurations: paths, types in words, defaults, meanings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Le, MinLen

from perl_jax.buckets import Rungs
from perl_jax.config import TrainConfig, WarmstartConfig
from perl_jax.fields import (
    REQUIRED,
    default_of,
    fields_of,
    meanings,
    section_in,
    summary,
    type_text,
)
from perl_jax.preparation.config import PrepareConfig
from perl_jax.settings import Checked, Count, Expects, Fraction, Positive


@dataclass(frozen=True)
class Inner(Checked):
    """An inner section.

    Attributes:
        rate: The rate,
            over two lines: with a colon.
        nested: More of the same.
    """

    rate: Positive
    nested: "tuple[Inner, ...]" = ()


@dataclass(frozen=True)
class Base(Checked):
    """The base.

    Attributes:
        count: From the base.
        other: Also from the base.
    """

    count: Count = 1
    other: int = 2


@dataclass(frozen=True)
class Sample(Base):
    """A sample.

    More of it.

    Attributes:
        count: From the sample.
        inner: A section.

    Raises:
        ValueError: Not a field.
    """

    inner: Inner = field(default_factory=lambda: Inner(0.5))
    closed: Inner | None = None


def test_fields_follow_their_section_with_the_defaults_that_it_has_there():
    told = {one.path: one.default for one in fields_of(Sample)}
    assert list(told) == [
        "count", "other", "inner", "inner.rate", "inner.nested", "closed", "closed.rate",
        "closed.nested",
    ]  # fmt: skip
    assert told["inner"] == Inner(0.5)
    assert told["inner.rate"] == 0.5
    assert told["closed.rate"] is REQUIRED
    assert default_of(Inner, "rate") is REQUIRED
    assert default_of(Base, "count") == 1


def test_meanings_are_those_of_the_docstring_and_of_the_classes_below():
    assert meanings(Inner)["rate"] == "The rate, over two lines: with a colon."
    told = {one.path: one.meaning for one in fields_of(Sample)}
    assert told["count"] == "From the sample."
    assert told["other"] == "Also from the base."
    assert told["closed"] == ""
    assert "ValueError" not in meanings(Sample)
    assert summary(Sample) == "A sample.\n\nMore of it."


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "a whole number"),
        (Annotated[int, Ge(2), Le(4)], "a whole number of at least 2 and at most 4"),
        (float, "a finite number"),
        (Positive | None, "a positive number or None"),
        (Fraction, "a share from 0 to 1"),
        (bool, "true or false"),
        (str | None, "text or None"),
        (Literal["a", "b", "c"], "a, b or c"),
        (Literal["a", "b"] | None, "a or b, or None"),
        (tuple[Count, ...], "a list; each: a whole number of at least 1"),
        (tuple[int, str], "a list of 2: a whole number, text"),
        (Annotated[tuple[str, ...], MinLen(1), Expects("at least one")], "a list: at least one"),
        (Literal["auto"] | Rungs, "auto or a list: rising positive sizes"),
        (Mapping[str, float], "names with values; each: a finite number"),
        (Any, "any value"),
        (Inner | None, "a section or None"),
        (tuple[Inner, ...] | None, "a list of sections or None"),
    ],
    ids=str,
)
def test_a_type_is_told_in_words(hint, words):
    assert type_text(hint) == words


def test_the_section_of_an_annotation_is_found_in_unions_and_lists():
    hints = (Inner, Inner | None, tuple[Inner, ...], tuple[Inner, ...] | None, Literal["x"] | Inner)
    assert [section_in(hint) for hint in hints] == [Inner] * 5
    assert section_in(tuple[int, ...] | None) is None


@pytest.mark.parametrize("kind", [TrainConfig, WarmstartConfig, PrepareConfig])
def test_every_field_has_a_meaning(kind):
    silent = {f"{one.owner.__name__}.{one.name}" for one in fields_of(kind) if not one.meaning}
    assert not silent, "tell what these mean under Attributes: in the docstring of their class"
