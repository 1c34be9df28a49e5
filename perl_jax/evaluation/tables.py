"""Tables of benchmark results, ours beside the published ones."""

from collections.abc import Mapping, Sequence
from typing import Any

from perl_jax.evaluation.benchmark import Benchmark

_PAPER = "arXiv 2506.14907, table 1"


def results_table(
    columns: Sequence[Benchmark], scores: Mapping[str, Mapping[str, Any]], label: str
) -> str:
    """A Markdown table, in percent: a column a benchmark, a row a system, ours the last.

    Args:
        columns: The benchmarks.
        scores: The content of ``scores.json`` of each benchmark that was evaluated, by name.
        label: The name of our row.
    """
    systems = list(dict.fromkeys(name for column in columns for name in column.paper))
    rows = [
        [_cell(system), *(_percent(column.paper.get(system)) for column in columns)]
        for system in systems
    ]
    ours = [_percent(_of_hundred(scores.get(column.name))) for column in columns]
    rows.append([f"**{_cell(label)}**", *ours])
    head = [["system", *(column.name for column in columns)], ["---", *("---:" for _ in columns)]]
    lines = ["| " + " | ".join(row) + " |" for row in (*head, *rows)]
    notes = [f"Published rows: {_PAPER}."] if systems else []
    notes += [note for column in columns if (note := _note(column, scores.get(column.name)))]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]).rstrip() + "\n"


def paper_columns(benchmarks: Sequence[Benchmark], evaluated: Sequence[str]) -> list[Benchmark]:
    """The benchmarks of the published table, and the others that were evaluated."""
    return [one for one in benchmarks if one.paper or one.name in evaluated]


def _of_hundred(scores: Mapping[str, Any] | None) -> float | None:
    overall = None if scores is None else scores["overall"]
    return None if overall is None else 100 * overall


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _cell(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())


def _note(column: Benchmark, scores: Mapping[str, Any] | None) -> str:
    """What the number of a benchmark leaves out."""
    if scores is None:
        return ""
    skipped = sum(scores["skipped"].values())
    parts = [f"{scores['unjudged']} unjudged"] if scores["unjudged"] else []
    parts += [f"{skipped} skipped"] if skipped else []
    left = f" ({', '.join(parts)})" if parts else ""
    return f"{column.name}: {scores['judged']} rows{left}."
