"""What a data source is, how a configuration opens it, and how it says that a row is bad."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

from perl_jax.settings import Checked
from perl_jax.types import Example


class Source(Protocol):
    """Rows by number. Worker processes hold a copy, so it must survive pickling.

    Faults of the whole, such as a missing column or an id that stands twice, are errors when a
    source is made; faults of one row are a `BadRow` when that row is asked for.
    """

    def __len__(self) -> int:
        """The number of rows."""
        ...

    def __getitem__(self, index: int) -> Example:
        """The row of that number, from 0.

        Raises:
            BadRow: This row cannot be used.
        """
        ...

    def fingerprint(self) -> str:
        """A hexadecimal digest that changes with the content.

        A checkpoint keeps it, so that a run is never resumed on other data. It is cheap: it need
        not read everything.
        """
        ...


@dataclass(frozen=True)
class SourceKind(Checked, ABC):
    """The configuration of one kind of source: a field of `perl_jax.data.config.SourceConfig`."""

    @abstractmethod
    def open(self) -> Source:
        """Opens the source.

        Raises:
            ValueError: A file is not what it should be; names it.
            FileNotFoundError: A file is missing.
        """


class BadRow(ValueError):
    """One row cannot be used; it is skipped, counted and named.

    Attributes:
        reason: A short fixed word, by which such rows are counted.
        row: Names the row, as in ``train.parquet:17``.
        message: What is wrong with it.
    """

    def __init__(self, reason: str, row: str, message: str):
        super().__init__(reason, row, message)
        self.reason = reason
        self.row = row
        self.message = message

    def __str__(self) -> str:
        return f"{self.row}: {self.reason}: {self.message}"
