"""Evaluates one benchmark into a folder, and goes on where an earlier evaluation was interrupted.

First the rows are asked, and `PREDICTIONS` grows by whole lines, scored by the rules alone. When
all rows are there, everything is scored anew from the responses, with the judge.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from perl_jax.data.sources.source import BadRow
from perl_jax.endpoint import EndpointConfig
from perl_jax.evaluation.answerer import Answerer, GivenAnswers
from perl_jax.evaluation.benchmark import Benchmark
from perl_jax.evaluation.judging import open_judge
from perl_jax.evaluation.predictions import PREDICTIONS, Answers, JsonLines, answers_of
from perl_jax.evaluation.rows import BenchmarkRows, read_rows, without_images
from perl_jax.evaluation.scoring import score_answers, scores_of
from perl_jax.evaluation.tables import results_table
from perl_jax.files import lock, read_object, write_whole
from perl_jax.legible import brief, legible
from perl_jax.types import Example

SETTINGS = "settings.json"
SCORES = "scores.json"
TABLE = "table.md"
SKIPPED = "skipped.jsonl"
# More lines of this kind tell nothing new.
_MOST_TOLD = 10


def tell(message: str) -> None:
    """Prints a message above the progress bars; its text may be from the data."""
    tqdm.write(legible(message), file=sys.stderr)


@dataclass(frozen=True)
class Task:
    """One benchmark to evaluate.

    Attributes:
        benchmark: The benchmark.
        data: Its files.
        out: The folder of the results.
        label: The name of our row in tables.
        settings: All that the responses depend on, as JSON values.
        limit: How many rows are asked; None: all.
        batch: How many rows are asked together; changes memory and speed, never the result.
        orders: Whether other orders are asked.
        seed: Of the order statistics' intervals.
        judge: The endpoint of the judge; None: none.
        given: The responses, where they are given.
    """

    benchmark: Benchmark
    data: Path
    out: Path
    label: str
    settings: Mapping[str, Any]
    limit: int | None = None
    batch: int = 64
    orders: bool = False
    seed: int = 0
    judge: EndpointConfig | None = None
    given: GivenAnswers | None = None


def run(task: Task, answerer: Callable[[], Answerer]) -> dict[str, Any]:
    """Evaluates a benchmark and returns its scores.

    Args:
        task: What to evaluate.
        answerer: Opens who answers; only called if there are rows to ask.

    Raises:
        ValueError: The folder holds results of other settings, no row can be used, or no given
            response is to a row.
    """
    name = task.benchmark.name
    rows = BenchmarkRows.read(task.benchmark, task.data, task.limit)
    _tell_all(name, [str(row) for row in rows.bad], "row skipped")
    if task.given is not None and not any(row.id in task.given.responses for row in rows.rows):
        raise ValueError(
            f"{task.data}: expected responses to its rows, such as {brief(rows.rows[0].id)}; got "
            f"{len(task.given.responses)} to others"
        )
    with lock(task.out, "the folder of results"), ExitStack() as stack:
        check_settings(task.out, task.settings)
        found = _Found(task.out, rows)
        if len(found.done) < len(rows.rows):
            _ask(task, rows, found, answerer())
            found = _Found(task.out, rows)
        skipped = rows.unreadable + found.skipped
        if not found.answers:
            raise ValueError(
                f"{task.data}: none of {skipped.total()} rows can be asked: "
                + ", ".join(f"{reason} {count}" for reason, count in sorted(skipped.items()))
            )
        judge = open_judge(task.judge, task.out, tell)
        if judge is not None:
            stack.enter_context(judge)
        scored = score_answers(task.benchmark, found.answers, judge)
        lines = [row.as_json() for row in scored]
        if lines != found.lines:
            found.predictions.replace(lines)
        scores = scores_of(task.benchmark, scored, skipped, with_orders=task.orders, seed=task.seed)
        if task.given is not None:
            scores |= _matched(name, rows, task.given)
        write_whole(task.out / SCORES, json.dumps(scores, indent=2, allow_nan=False) + "\n")
        table = results_table([task.benchmark], {name: scores}, task.label)
        write_whole(task.out / TABLE, table)
    if scores["unjudged"]:
        told = f"{name}: {scores['unjudged']} of {scores['examples']} rows are unjudged"
        hint = "" if task.judge else ": only a judge can say, see --judge_url"
        tell(told + hint)
    return scores


def check_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """Records the settings of a folder of results.

    Raises:
        ValueError: It has results of other settings; says what differs.
    """
    path = out / SETTINGS
    has_results = any((out / name).exists() for name in (PREDICTIONS, SKIPPED))
    if has_results and not path.exists():
        raise ValueError(f"{out}: expected {SETTINGS} beside {PREDICTIONS}; there is none")
    if not has_results:
        write_whole(path, json.dumps(settings, indent=2) + "\n")
        return
    recorded = read_object(path)
    differ = [
        f"{name} was {json.dumps(recorded.get(name))}, and is {json.dumps(settings.get(name))}"
        for name in dict.fromkeys((*recorded, *settings))
        if recorded.get(name) != settings.get(name)
    ]
    if differ:
        raise ValueError(
            f"{out}: it holds results of other settings: {'; '.join(differ)}. Give these settings "
            "or another --out"
        )


class _Found:
    """What a folder of results has of the rows.

    Attributes:
        predictions: The file of predictions.
        lines: Its lines.
        answers: The rows with the answers of these lines.
        skipped: How many rows cannot be asked, by reason.
        done: The ids of both.
    """

    def __init__(self, out: Path, rows: BenchmarkRows) -> None:
        self.predictions = JsonLines(out / PREDICTIONS)
        self.skips = JsonLines(out / SKIPPED)
        self.lines = self.predictions.read()
        skips = self.skips.read()
        if unclear := [n for n, line in enumerate(skips, 1) if "reason" not in line]:
            raise ValueError(f"{self.skips.path}:{unclear[0]}: expected a reason")
        self.skipped = Counter[str](line["reason"] for line in skips)
        self.done = {line["id"] for line in (*self.lines, *skips)}
        self.answers: list[tuple[Example, Answers]] = []
        waiting = iter(rows.rows)
        for number, line in enumerate(self.lines, 1):
            row = next((row for row in waiting if row.id == line["id"]), None)
            if row is None:
                raise ValueError(
                    f"{self.predictions.path}:{number}: expected an id of the data, in its order; "
                    f"got {brief(line['id'])}: the data changed, or the file is of another place"
                )
            try:
                self.answers.append((row, answers_of(line)))
            except (AttributeError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{self.predictions.path}:{number}: expected a line that an evaluation wrote; "
                    f"got {json.dumps(line)[:80]}"
                ) from error


def _ask(task: Task, rows: BenchmarkRows, found: _Found, answerer: Answerer) -> None:
    """Asks the rows that are left, and appends their lines."""
    total, start = len(rows.rows), len(found.done)
    with tqdm(total=total, initial=start, desc=task.benchmark.name, unit="row") as bar:
        waiting: list[Example] = []
        for row in read_rows(task.benchmark, task.data, task.limit):
            if isinstance(row, BadRow) or row.id in found.done:
                continue
            waiting.append(row)
            if len(waiting) == task.batch:
                _ask_batch(task, waiting, found, answerer, bar)
                waiting = []
        if waiting:
            _ask_batch(task, waiting, found, answerer, bar)


def _ask_batch(
    task: Task, rows: Sequence[Example], found: _Found, answerer: Answerer, bar: "tqdm[Any]"
) -> None:
    before = bar.n

    def tell_bar(what: str, done: int = 0, of: int = 0) -> None:
        bar.update(before + len(rows) * done // max(of, 1) - bar.n)

    outcomes = answerer(rows, tell_bar)
    bad = [(row, one) for row, one in zip(rows, outcomes, strict=True) if isinstance(one, BadRow)]
    good = [
        (without_images(row), one)
        for row, one in zip(rows, outcomes, strict=True)
        if not isinstance(one, BadRow)
    ]
    _tell_all(task.benchmark.name, [str(one) for _, one in bad], "row skipped")
    found.skips.add(
        {"id": row.id, "reason": one.reason, "message": one.message} for row, one in bad
    )
    scored = score_answers(task.benchmark, good, judge=None)
    found.predictions.add(one.as_json() for one in scored)
    bar.update(before + len(rows) - bar.n)


def _matched(name: str, rows: BenchmarkRows, given: GivenAnswers) -> dict[str, int]:
    """How many rows have no given response, and how many responses no row; tells of both."""
    unanswered = sum(row.id not in given.responses for row in rows.rows)
    unknown = [id for id in given.responses if id not in rows.ids]
    if unanswered:
        tell(f"{name}: {unanswered} of {len(rows.rows)} rows have no response and score 0")
    if unknown:
        tell(
            f"{name}: {len(unknown)} responses are to no row that was read, "
            f"such as {brief(unknown[0])}"
        )
    return {"unanswered": unanswered, "unknown_responses": len(unknown)}


def _tell_all(name: str, messages: Sequence[str], what: str) -> None:
    for message in messages[:_MOST_TOLD]:
        tell(f"{name}: {what}: {message}")
    if len(messages) > _MOST_TOLD:
        tell(f"{name}: {what}: and {len(messages) - _MOST_TOLD} more")
