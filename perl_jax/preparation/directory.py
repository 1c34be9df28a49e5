"""The output directory of a stage: shards, counts and dropped rows; complete or absent."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from perl_jax.data.pipeline.rows import SkipCount, Skipped
from perl_jax.data.sources.source import BadRow
from perl_jax.files import parse_json, whole_directory
from perl_jax.preparation.shard_writer import ShardWriter
from perl_jax.preparation.stage import DroppedRow, KeptRow, Outcome

COUNTS = "counts.json"
DROPPED = "dropped.jsonl"
_WHOLE = ""  # the parts of a mixture are counted together


def read_counts(directory: Path) -> dict[str, Any] | None:
    """Reads a stage's ``counts.json``; None if it has not run. ValueError if it is damaged."""
    path = directory / COUNTS
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON; {error}. Delete {directory}") from error


def write_outcomes(
    outcomes: Iterable[Outcome],
    directory: Path,
    identity: Mapping[str, Any],
    rows: int,
    max_bad_fraction: float,
) -> None:
    """Writes a stage's outcomes into a directory, which appears when it is complete.

    ``part-*.parquet`` holds the kept rows, ``dropped.jsonl`` a line for each other row, and
    ``counts.json`` the counts and the identity, which is everything that the result depends on. An
    earlier directory is replaced.

    Raises:
        ValueError: Too many rows are bad, or none is kept; the message counts the reasons.
    """
    kept = 0
    reasons = {name: Counter[str]() for name in ("kept_as", "dropped", "bad")}
    bad = SkipCount(max_bad_fraction, rows, {_WHOLE: rows})
    with whole_directory(directory, replace=True) as unfinished:
        with ExitStack() as stack:
            writers: dict[str, ShardWriter] = {}
            lost = stack.enter_context((unfinished / DROPPED).open("w", encoding="utf-8"))
            for outcome in outcomes:
                if isinstance(outcome, KeptRow):
                    if outcome.folder not in writers:
                        folder = unfinished / outcome.folder
                        folder.mkdir(exist_ok=True)
                        writers[outcome.folder] = stack.enter_context(ShardWriter(folder))
                    outcome = _written(outcome, writers[outcome.folder])
                if isinstance(outcome, KeptRow):
                    kept += 1
                    reasons["kept_as"].update([outcome.note] if outcome.note else ())
                    bad.add(outcome.example, _WHOLE)
                    continue
                lost.write(json.dumps(_lost(outcome)) + "\n")
                if isinstance(outcome, DroppedRow):
                    reasons["dropped"][outcome.reason] += 1
                else:
                    reasons["bad"][outcome.reason] += 1
                    bad.add(outcome, _WHOLE)
        if not kept:
            table = "\n".join(
                f"  {reason:<24}{count:>8}"
                for reason, count in (reasons["dropped"] + reasons["bad"]).most_common()
            )
            raise ValueError(f"{directory.name}: no row is kept of {rows}:\n{table}")
        sorted_reasons = {name: dict(sorted(of.items())) for name, of in reasons.items()}
        counts = {"in": rows, "kept": kept, **sorted_reasons, **identity}
        (unfinished / COUNTS).write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")


def _written(kept: KeptRow, writer: ShardWriter) -> KeptRow | Skipped:
    try:
        writer.add(kept.example)
    except BadRow as error:
        return Skipped.of(error)
    return kept


def _lost(outcome: DroppedRow | Skipped) -> dict[str, str]:
    if isinstance(outcome, DroppedRow):
        return vars(outcome)
    return {
        "reason": outcome.reason,
        "bad_row": outcome.row,
        "detail": outcome.message,
        **({"id": outcome.row_id} if outcome.row_id else {}),
    }
