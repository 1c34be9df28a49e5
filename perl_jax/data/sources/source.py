"""The interface of data sources, their configurations, and bad rows."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol, Self

from perl_jax.legible import field_name
from perl_jax.settings import Checked
from perl_jax.types import Example

_LONGEST_MESSAGE = 1000


class Source(Protocol):
    """Rows by number. It must survive pickling, as worker processes hold a copy.

    Faults of the whole, such as a missing column or a repeated id, are errors when the source is
    made. A fault of one row raises `BadRow` when that row is read.
    """

    def __len__(self) -> int:
        """The number of rows."""
        ...

    def __getitem__(self, index: int) -> Example:
        """The row of that number, from 0; raises `BadRow` if it cannot be used."""
        ...

    def fingerprint(self) -> str:
        """A hexadecimal digest that changes with the content, without having to read all of it.

        A checkpoint keeps it, so that a run never resumes on other data.
        """
        ...


@dataclass(frozen=True)
class SourceKind(Checked, ABC):
    """The configuration of one kind of source: a field of `perl_jax.data.config.SourceConfig`."""

    @abstractmethod
    def open(self) -> Source:
        """Opens the source.

        Raises:
            ValueError: A file is damaged or of another form; names it.
            FileNotFoundError: A file is missing.
        """


class BadRow(ValueError):
    """A row cannot be used; it is skipped, named and counted.

    Attributes:
        reason: A short fixed word under which such rows are counted.
        row: Where the row stands, as in ``train.parquet:17``; or its id, if that is unknown.
        message: What is wrong with it, and what to do.
        row_id: The row's id, if it is known and not ``row`` itself.
    """

    def __init__(self, reason: str, row: str, message: str, row_id: str = ""):
        # A message may quote the row, which may hold anything.
        message = field_name(message, _LONGEST_MESSAGE)
        super().__init__(reason, row, message, row_id)
        self.reason, self.row, self.message = reason, row, message
        self.row_id = "" if row_id == row else row_id

    @classmethod
    def of(cls, example: Example, reason: str, message: str) -> Self:
        """The error of a row that was read as an example."""
        return cls(reason, example.place or example.id, message, example.id)

    def __str__(self) -> str:
        return f"{row_name(self.row, self.row_id)}: {self.reason}: {self.message}"


def row_name(row: str, id: str) -> str:
    """A row's name in messages: where it stands, and its id."""
    return f"{field_name(row)} ({field_name(id)})" if id else field_name(row)
