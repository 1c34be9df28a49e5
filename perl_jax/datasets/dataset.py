"""What is known of a published data set, and how its files become examples."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from perl_jax.data.sources.source import BadRow
from perl_jax.types import Example


@dataclass(frozen=True)
class DataSet:
    """One published data set, or one subset of it.

    Attributes:
        name: What commands call it: lower case, digits and underscores, such as ``mantis_nlvr2``.
        source: The `Example.source` of its rows, which selects the permutation rule.
        licence: An SPDX identifier, or in words.
        description: What its rows ask, in a few sentences.
        splits: The reader of each: given the directory with the published files, it yields every
            row in file order, an `Example` with images as encoded bytes, or the `BadRow` that says
            why there is none. It raises ValueError where a file is not what it should be, and
            FileNotFoundError where it is missing; both name the file.
        files: Patterns of the published files that it needs, relative to that directory.
    """

    name: str
    source: str
    title: str
    homepage: str
    licence: str
    description: str
    splits: Mapping[str, Callable[[Path], Iterator[Example | BadRow]]]
    files: tuple[str, ...]


def by_split(
    read: Callable[[str, Path], Iterator[Example | BadRow]], *names: str
) -> dict[str, Callable[[Path], Iterator[Example | BadRow]]]:
    """The splits that one function reads, given a split's name and the directory."""
    return {name: partial(read, name) for name in names}
