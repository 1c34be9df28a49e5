"""Reading rows: bad ones become values, which are counted and replaced."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from perl_jax.data.pipeline.mixture import Mixture
from perl_jax.data.pipeline.preparer import Preparer
from perl_jax.data.pipeline.row_filter import FilteredRow
from perl_jax.data.sources.source import BadRow, Source, row_name
from perl_jax.legible import legible
from perl_jax.types import Example

_log = logging.getLogger(__name__)

# Within an epoch, the share of bad rows varies by chance. It ends a run only after this many rows,
# and only when it exceeds the allowed share by this many standard deviations.
_ROWS_BEFORE_JUDGING = 200
_DEVIATIONS = 3.0
_MAX_LOGGED = 20
_MAX_CHARACTERS = 300


@dataclass(frozen=True)
class Skipped:
    """A row that cannot be used, with the fields of `BadRow`."""

    reason: str
    row: str
    message: str
    row_id: str = ""

    @classmethod
    def of(cls, error: BadRow) -> Self:
        """The row of an error."""
        return cls(error.reason, error.row, error.message, error.row_id)

    @property
    def name(self) -> str:
        """Where the row stands, and its id."""
        return row_name(self.row, self.row_id)

    def __str__(self) -> str:
        text = legible(f"{self.name}: {self.message}")
        return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."


class PipelineError(RuntimeError):
    """Rows cannot be read on: a worker ended or failed, or hosts do not read the same."""


class Filtered(Skipped):
    """A row that a filter refuses; it does not count as bad."""


@dataclass(frozen=True)
class RowReader:
    """Reads and prepares a row by its number, in worker processes too.

    ValueError if a part is filtered by prompt length but ``prepare`` is not a `Preparer`.
    """

    source: Source
    prepare: Callable[[Example], Example]

    def __post_init__(self) -> None:
        parts = self.source.parts if isinstance(self.source, Mixture) else ()
        unmeasured = [part.name for part in parts if part.filters.measures_prompts]
        if unmeasured and not isinstance(self.prepare, Preparer):
            raise ValueError(
                f"filters by the length of the prompt, of {unmeasured}: expected prepare to be a "
                f"Preparer; got {type(self.prepare).__name__}"
            )

    def __call__(self, index: int) -> Example | Skipped:
        """The prepared row, or why not; raises OSError and MemoryError, which may pass."""
        row, id = f"row {index} of the source", ""
        try:
            example = self.source[index]
            row, id = (example.place, example.id) if example.place else (row, id)
            return self._prepared(index, example)
        except BadRow as error:
            return (Filtered if isinstance(error, FilteredRow) else Skipped).of(error)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            return Skipped(type(error).__name__, row, str(error), id)

    def _prepared(self, index: int, example: Example) -> Example:
        if isinstance(self.source, Mixture) and isinstance(self.prepare, Preparer):
            return self.prepare(example, self.source.parts[self.source.part_of(index)].filters)
        return self.prepare(example)


class SkipCount:
    """Counts rows, and stops a run that skips too many.

    Args:
        max_fraction: The largest share of the wanted rows that may be skipped.
        epoch_rows: The rows of an epoch.
        parts: The rows of an epoch of each part, by name.

    ``rows`` counts all rows; ``skipped`` and ``filtered`` count those left out, by reason.
    """

    def __init__(self, max_fraction: float, epoch_rows: int, parts: Mapping[str, int]):
        self._max_fraction, self._epoch_rows, self._parts = max_fraction, epoch_rows, parts
        self._example: dict[tuple[type[Skipped], str], Skipped] = {}
        self.restore(0, {}, {})

    def restore(self, rows: int, skipped: Mapping[str, int], filtered: Mapping[str, int]) -> None:
        """Continues from these counts."""
        self.rows = rows
        self.skipped = Counter(dict(skipped))
        self.filtered = Counter(dict(filtered))
        self._in_a_row = Counter[str]()

    def add(self, row: Example | Skipped | None, part: str, *, log: bool = True) -> None:
        """Counts a row of a part; None is an example that another host holds.

        With ``log``, this host logs the row if it is skipped.

        Raises:
            ValueError: Too many rows are skipped, or a whole epoch; tells how many by reason.
        """
        self.rows += 1
        self._in_a_row[part] = self._in_a_row[part] + 1 if isinstance(row, Skipped) else 0
        if isinstance(row, Skipped):
            self._note(row, log)
        if self._in_a_row[part] >= self._parts[part]:
            of = f" of {part!r}" if part else ""
            raise ValueError(f"no row of a whole epoch{of} can be used:\n{self._table()}")
        total = self.skipped.total()
        if total > self._allowed():
            raise ValueError(
                f"{total} of {self._wanted} rows cannot be used, which is more than "
                f"max_bad_fraction = {self._max_fraction}:\n{self._table()}"
            )

    def in_a_row(self, part: str) -> int:
        """How many rows of a part were skipped since its last usable one."""
        return self._in_a_row[part]

    def take_back(self, row: Example | Skipped | None, part: str, in_a_row: int) -> None:
        """Un-counts the last row, of a part of which ``in_a_row`` were skipped before it."""
        self.rows -= 1
        self._in_a_row[part] = in_a_row
        if isinstance(row, Skipped):
            counts = self.filtered if isinstance(row, Filtered) else self.skipped
            counts[row.reason] -= 1
            # A reason that is not counted has no entry, in states as in logs.
            if not counts[row.reason]:
                del counts[row.reason]

    @property
    def _wanted(self) -> int:
        return self.rows - self.filtered.total()

    def _allowed(self) -> float:
        """The number of rows that may have been skipped so far."""
        expected = self._max_fraction * self._wanted
        if self.rows % self._epoch_rows == 0:
            return expected
        if self._wanted < _ROWS_BEFORE_JUDGING:
            return math.inf
        return expected + _DEVIATIONS * math.sqrt(expected)

    def _note(self, row: Skipped, log: bool) -> None:
        self._example.setdefault((type(row), row.reason), row)
        if isinstance(row, Filtered):
            self.filtered[row.reason] += 1
            return
        self.skipped[row.reason] += 1
        total = self.skipped.total()
        if log and total <= _MAX_LOGGED:
            _log.warning("skipped %s: %s", row.reason, row)
        if total == _MAX_LOGGED:
            _log.warning("further skipped rows are only counted")

    def _table(self) -> str:
        counted = [(Skipped, "", self.skipped), (Filtered, "filtered: ", self.filtered)]
        return "\n".join(
            f"  {name + reason:<32}{count:>8}  {self._example.get((kind, reason), '')}".rstrip()
            for kind, name, counts in counted
            for reason, count in counts.most_common()
        )
