"""Compares two results of one benchmark, row by row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perl_jax.evaluation.bootstrap import Interval, interval_of, intervals, means_of_draws
from perl_jax.files import parse_json
from perl_jax.legible import brief

FILE = "predictions.jsonl"
_HEADINGS = ("", "rows", "A", "B", "B - A", "95 %", "wins", "losses", "ties")


@dataclass(frozen=True)
class Difference:
    """The difference of two mean scores over the same rows.

    Attributes:
        a: The mean score of A, from 0 to 1; None if there are no rows.
        b: That of B.
        difference: ``b - a``, with the interval of the paired bootstrap: rows are drawn, each with
            its two scores.
        wins: Rows in which B has the higher score.
        losses: Rows in which A has.
        ties: All others.
    """

    a: float | None
    b: float | None
    difference: Interval
    wins: int
    losses: int
    ties: int

    def as_json(self) -> dict[str, Any]:
        """The difference as plain values."""
        fields = ("a", "b", "wins", "losses", "ties")
        values = {name: getattr(self, name) for name in fields}
        return values | {"difference": self.difference.as_json()}


@dataclass(frozen=True)
class Comparison:
    """Two results, A and B, compared over the rows that were judged in both.

    Attributes:
        a: The file of A.
        b: The file of B.
        overall: Over all these rows, each weighing the same.
        over_tasks: The mean over tasks of the differences of ``by_task``, its rows drawn within
            each task; None if no row has a task. Its wins, losses and ties are tasks.
        by_task: Over the rows of each task.
        only_in_a: Rows of A alone, left out.
        only_in_b: Rows of B alone, left out.
        unjudged: Rows without a score in A, in B or in both, left out.
    """

    a: Path
    b: Path
    overall: Difference
    over_tasks: Difference | None
    by_task: Mapping[str, Difference]
    only_in_a: int
    only_in_b: int
    unjudged: int

    def as_json(self) -> dict[str, Any]:
        """The comparison as plain values."""
        return {
            "a": str(self.a),
            "b": str(self.b),
            "overall": self.overall.as_json(),
            "over_tasks": None if self.over_tasks is None else self.over_tasks.as_json(),
            "by_task": {task: one.as_json() for task, one in self.by_task.items()},
            "only_in_a": self.only_in_a,
            "only_in_b": self.only_in_b,
            "unjudged": self.unjudged,
        }

    def table(self) -> str:
        """A text table in percent, with what A and B are and which rows were left out."""
        rows = [_shown(task, one) for task, one in self.by_task.items()]
        if self.over_tasks is not None:
            rows.append(_shown("mean of tasks", self.over_tasks))
        rows.append(_shown("all rows", self.overall))
        widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows, strict=True)]
        lines = [
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
            for line in (_HEADINGS, *rows)
        ]
        left_out = (
            f"left out: {self.only_in_a} rows only in A, {self.only_in_b} only in B, "
            f"{self.unjudged} unjudged"
        )
        return "\n".join([f"A: {self.a}", f"B: {self.b}", *lines, left_out])


def compare(a: Path, b: Path, *, seed: int = 0) -> Comparison:
    """Compares the scores of two results, paired by the ids of their rows.

    The score of a row is that under its own order. Rows that only one result has, or that lack a
    score in one, are left out and counted. Differences are B minus A; their intervals hold 95 % of
    1,000 bootstrap draws.

    Args:
        a: A file of predictions, or a folder with a ``predictions.jsonl``.
        b: The other one.
        seed: Draws the rows of the bootstrap.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A line is not as it must be, an id stands twice, a row has two tasks, or no row
            is in both; names file and line.
    """
    files = [_file(Path(place)) for place in (a, b)]
    rows_a, rows_b = map(_read, files)
    common = [name for name in rows_a if name in rows_b]
    if not common:
        raise ValueError(
            f"{files[0]} and {files[1]}: expected results of the same rows; no id is in both"
        )
    pairs, tasks, unjudged = [], [], 0
    for name in common:
        one, other = rows_a[name], rows_b[name]
        if one.task != other.task:
            raise ValueError(
                f"{other.place}: expected task {brief(one.task)} as at {one.place}; "
                f"got {brief(other.task)}"
            )
        if one.score is None or other.score is None:
            unjudged += 1
        else:
            pairs.append((one.score, other.score))
            tasks.append(one.task)
    scores = np.array(pairs, np.float64).reshape(-1, 2)
    by_task = {
        task: scores[[number for number, other in enumerate(tasks) if other == task]]
        for task in sorted({task for task in tasks if task is not None})
    }
    return Comparison(
        a=files[0],
        b=files[1],
        overall=_difference(scores, seed),
        over_tasks=_over_tasks(list(by_task.values()), seed),
        by_task={task: _difference(of_task, seed) for task, of_task in by_task.items()},
        only_in_a=len(rows_a) - len(common),
        only_in_b=len(rows_b) - len(common),
        unjudged=unjudged,
    )


def _difference(scores_Rx2: NDArray[np.float64], seed: int) -> Difference:
    gains = scores_Rx2[:, 1] - scores_Rx2[:, 0]
    (interval,) = intervals(gains[:, None], seed)
    wins, losses, ties = _counts(gains)
    if not len(gains):
        return Difference(None, None, interval, wins, losses, ties)
    a, b = map(float, scores_Rx2.mean(axis=0))
    return Difference(a, b, interval, wins, losses, ties)


def _over_tasks(tasks: Sequence[NDArray[np.float64]], seed: int) -> Difference | None:
    if not tasks:
        return None
    means = np.array([scores.mean(axis=0) for scores in tasks])
    gains = means[:, 1] - means[:, 0]
    draws = [
        means_of_draws(
            (scores[:, 1] - scores[:, 0])[:, None], np.random.default_rng([seed, number])
        )
        for number, scores in enumerate(tasks)
    ]
    interval = interval_of(gains.mean(), np.mean(draws, axis=0)[:, 0], sum(map(len, tasks)))
    wins, losses, ties = _counts(gains)
    a, b = map(float, means.mean(axis=0))
    return Difference(a, b, interval, wins, losses, ties)


def _counts(gains: NDArray[np.float64]) -> tuple[int, int, int]:
    """Wins, losses and ties of B."""
    wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
    return wins, losses, len(gains) - wins - losses


def _shown(name: str, one: Difference) -> tuple[str, ...]:
    counts = (str(one.wins), str(one.losses), str(one.ties))
    found = one.difference
    if one.a is None or one.b is None or found.value is None:
        return (name, "0", "-", "-", "-", "-", *counts)
    return (
        name,
        str(found.examples),
        f"{100 * one.a:.1f}",
        f"{100 * one.b:.1f}",
        f"{100 * found.value:+.1f}",
        f"{100 * (found.low or 0):+.1f} to {100 * (found.high or 0):+.1f}",
        *counts,
    )


@dataclass(frozen=True)
class _Row:
    place: str
    task: str | None
    score: float | None


def _file(place: Path) -> Path:
    return place / FILE if place.is_dir() else place


def _read(file: Path) -> dict[str, _Row]:
    """The rows of a file by id, in its order."""
    rows: dict[str, _Row] = {}
    for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        place = f"{file}:{number}"
        try:
            values = parse_json(line)
        except ValueError as error:
            raise ValueError(f"{place}: expected an object in JSON ({error})") from error
        name, row = _row(values, place)
        if name in rows:
            raise ValueError(
                f"{place}: expected each id once; {brief(name)} is at {rows[name].place}"
            )
        rows[name] = row
    return rows


def _row(values: Any, place: str) -> tuple[str, _Row]:
    if not isinstance(values, dict):
        raise ValueError(f"{place}: expected an object; got {type(values).__name__}")
    missing = [name for name in ("id", "task", "score") if name not in values]
    if missing:
        raise ValueError(f"{place}: expected id, task and score; missing {', '.join(missing)}")
    name, task, score = values["id"], values["task"], values["score"]
    if not isinstance(name, str):
        raise ValueError(f"{place}: id: expected a text; got {brief(name)}")
    if not isinstance(task, str | None):
        raise ValueError(f"{place}: task: expected a text or null; got {brief(task)}")
    if score is not None and not _is_share(score):
        raise ValueError(
            f"{place}: score: expected a number from 0 to 1 or null; got {brief(score)}"
        )
    return name, _Row(place, task, score)


def _is_share(score: Any) -> bool:
    # NaN, infinities and numbers that no float holds fail the comparison.
    return isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 1
