"""The interface of data sources, their configurations, and bad rows."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

from perl_jax.settings import Checked
from perl_jax.types import Example


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
    """A row cannot be used; it is skipped, named (as in ``train.parquet:17``) and counted.

    ``reason`` is a short fixed word under which such rows are counted.
    """

    def __init__(self, reason: str, row: str, message: str):
        super().__init__(reason, row, message)
        self.reason, self.row, self.message = reason, row, message

    def __str__(self) -> str:
        return f"{self.row}: {self.reason}: {self.message}"
