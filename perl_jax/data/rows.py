"""Rows on their way to the consumer: the bad ones are values, which are counted and replaced."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from perl_jax.data.source import BadRow, Source
from perl_jax.types import Example

_log = logging.getLogger(__name__)

# Within an epoch chance has its part in the share of bad rows, and must not end a run: only from so
# many rows on, and by so many standard deviations more than allowed, is it too high.
_ROWS_BEFORE_JUDGING = 200
_DEVIATIONS = 3.0
_MAX_LOGGED = 20
_MAX_CHARACTERS = 300


@dataclass(frozen=True)
class Skipped:
    """A row that cannot be used. ``reason``, ``row`` and ``message`` are those of `BadRow`."""

    reason: str
    row: str
    message: str

    def __str__(self) -> str:
        text = f"{self.row}: {self.message}"
        return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."


@dataclass(frozen=True)
class RowReader:
    """Reads and prepares a row by its number; it is what worker processes hold."""

    source: Source
    prepare: Callable[[Example], Example]

    def __call__(self, index: int) -> Example | Skipped:
        """The prepared row, or why there is none.

        Raises:
            OSError: The storage fails; the same row may be good at the next run.
            MemoryError: As above.
        """
        try:
            return self.prepare(self.source[index])
        except BadRow as error:
            return Skipped(error.reason, error.row, error.message)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            return Skipped(type(error).__name__, f"row {index} of the source", str(error))


class SkipCount:
    """Counts rows, skipped ones by reason, and stops a run that skips too many.

    Attributes:
        rows: All rows so far.
        skipped: The skipped ones, by reason.
    """

    def __init__(self, max_fraction: float, epoch_rows: int):
        self._max_fraction = max_fraction
        self._epoch_rows = epoch_rows
        self._example: dict[str, Skipped] = {}
        self.restore(0, {})

    def restore(self, rows: int, skipped: Mapping[str, int]) -> None:
        """Goes on from other counts."""
        self.rows = rows
        self.skipped = Counter(dict(skipped))
        self._in_a_row = 0

    def add(self, row: Example | Skipped) -> None:
        """Counts a row.

        Raises:
            ValueError: The share of skipped rows is too high, or a whole epoch was skipped; the
                message has a table of the reasons.
        """
        self.rows += 1
        self._in_a_row = self._in_a_row + 1 if isinstance(row, Skipped) else 0
        if isinstance(row, Skipped):
            self._note(row)
        if self._in_a_row >= self._epoch_rows:
            raise ValueError(f"no row of a whole epoch can be used:\n{self._table()}")
        total = self.skipped.total()
        if total > self._allowed():
            raise ValueError(
                f"{total} of {self.rows} rows cannot be used, which is more than max_bad_fraction "
                f"= {self._max_fraction}:\n{self._table()}"
            )

    def _allowed(self) -> float:
        """How many of the rows so far may have been skipped."""
        expected = self._max_fraction * self.rows
        if self.rows % self._epoch_rows == 0:
            return expected
        if self.rows < _ROWS_BEFORE_JUDGING:
            return math.inf
        return expected + _DEVIATIONS * math.sqrt(expected)

    def _note(self, row: Skipped) -> None:
        self.skipped[row.reason] += 1
        self._example.setdefault(row.reason, row)
        total = self.skipped.total()
        if total <= _MAX_LOGGED:
            _log.warning("skipped %s: %s", row.reason, row)
        if total == _MAX_LOGGED:
            _log.warning("further skipped rows are only counted")

    def _table(self) -> str:
        return "\n".join(
            f"  {reason:<24}{count:>8}  {self._example.get(reason, '')}".rstrip()
            for reason, count in self.skipped.most_common()
        )
