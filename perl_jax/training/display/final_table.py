"""The table at the end of a run, and its best evaluation."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any


def final_table(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """A table of the changes that a run made, as plain text.

    Each name in either mapping has a row: before, after, and the difference; ``-`` for a missing
    value.
    """
    rows = [["", "before", "after", "change"]]
    for name in dict.fromkeys([*before, *after]):
        values = [_shown_number(numbers.get(name)) for numbers in (before, after)]
        both = name in before and name in after
        change = _shown_number(after[name] - before[name], "+") if both else "-"
        rows.append([name, *values, change])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def _shown_number(value: float | None, sign: str = "") -> str:
    if value is None:
        return "-"
    return format(value, f"{sign}d" if isinstance(value, Integral) else f"{sign}.3f")


def best_evaluation(rows: Sequence[Mapping[str, Any]]) -> tuple[int, float] | None:
    """The first step whose held-out accuracy no other step exceeds, and this accuracy.

    None if nothing was evaluated. ``rows`` are the metrics of all steps, see `read_metrics`.
    """
    known = [row for row in rows if row.get("eval/accuracy") is not None]
    if not known:
        return None
    best = max(known, key=lambda row: (row["eval/accuracy"], -row["step"]))
    return best["step"], best["eval/accuracy"]
