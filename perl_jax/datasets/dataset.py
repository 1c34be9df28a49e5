"""The description of a published data set."""

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
        name: Its name in commands: lower case, digits and underscores, such as ``mantis_nlvr2``.
        source: The `Example.source` of its rows, which selects the permutation rule.
        licence: An SPDX identifier, or words.
        splits: A reader for each split. Given the directory of the published files, it yields for
            every row in file order an `Example` (images as encoded bytes) or a `BadRow`. It raises
            ValueError for a broken file and FileNotFoundError for a missing one, with its path.
        files: Patterns of the published files, relative to that directory.
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
    """Splits that share one reader, which takes the split's name and the directory."""
    return {name: partial(read, name) for name in names}
