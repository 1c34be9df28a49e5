"""The result of an evaluation: statistics over all examples and by source, and records."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perl_jax.evaluation.records import Record
from perl_jax.evaluation.statistics import STATISTICS, Scores, compute


@dataclass(frozen=True)
class Evaluation(Scores):
    """The result of `evaluate`: the scores over all examples, and more.

    Attributes:
        by_source: The scores of each ``source``, and of each ``source/kind``.
        records: One record for each response.
    """

    by_source: Mapping[str, Scores]
    records: tuple[Record, ...] = field(repr=False)

    @classmethod
    def of(cls, records: Sequence[Record]) -> "Evaluation":
        """Computes all numbers from the records."""
        parts: dict[str, list[Record]] = {}
        for record in records:
            parts.setdefault(record.source, []).append(record)
            if record.kind is not None:
                parts.setdefault(f"{record.source}/{record.kind}", []).append(record)
        by_source = {name: Scores(**compute(parts[name])) for name in sorted(parts)}
        return cls(**compute(records), by_source=by_source, records=tuple(records))

    def metrics(self) -> dict[str, float]:
        """The metrics by their names in the logs, without undefined ones."""
        values = {f"eval/{name}": float(getattr(self, name)) for name in STATISTICS}
        for source, scores in self.by_source.items():
            for name, statistic in STATISTICS.items():
                if statistic.by_source:
                    values[f"eval/{name}/{source}"] = float(getattr(scores, name))
        return {name: value for name, value in values.items() if not math.isnan(value)}

    def summary(self) -> dict[str, float]:
        """The few numbers that a run is judged by, without undefined ones."""
        names = [name for name, statistic in STATISTICS.items() if statistic.summary]
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if not math.isnan(value)}

    def table(self) -> str:
        """A text table of the scores over all examples and of every source, in percent."""
        rows: dict[str, Scores] = {**self.by_source, "all": self}
        columns = {name: one.column for name, one in STATISTICS.items() if one.column}
        lines = [["", *columns.values()]] + [
            [row, *(_shown(getattr(scores, name)) for name in columns)]
            for row, scores in rows.items()
        ]
        widths = [max(8, len(heading)) for heading in columns.values()]
        first = max(map(len, rows))
        return "\n".join(
            "  ".join([line[0].ljust(first), *map(str.rjust, line[1:], widths)]) for line in lines
        )

    def records_as_jsonl(self) -> bytes:
        """The records as lines of JSON, in the order of the examples."""
        rows = (json.dumps(one.as_json(), ensure_ascii=False) + "\n" for one in self.records)
        # Half of a surrogate pair is not UTF-8; it is written as JSON's own escape.
        return "".join(rows).encode("utf-8", "backslashreplace")

    def write_records(self, path: str | Path) -> None:
        """Writes `records_as_jsonl`."""
        Path(path).write_bytes(self.records_as_jsonl())


def _shown(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
