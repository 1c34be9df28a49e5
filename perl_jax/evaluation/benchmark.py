"""What a published benchmark is: how its files are read, how it asks, and how it scores."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perl_jax.data.sources.source import BadRow
from perl_jax.types import Example

Ask = Callable[[str], str]
"""Sends one message to a judge and returns its reply; see `perl_jax.endpoint.Endpoint.ask`."""


@dataclass(frozen=True)
class Scored:
    """How one response was scored.

    Attributes:
        prediction: The answer that was read from the response, such as a letter; None if none was.
        score: From 0 to 1; None where only a judge could say.
    """

    prediction: str | None
    score: float | None


ScoredRows = Sequence[tuple[Example, float]]
"""The rows that have a score, in the data's order, each with it."""


def mean_of_rows(rows: ScoredRows) -> float:
    """The mean over all rows; NaN if there are none."""
    return sum(score for _, score in rows) / len(rows) if rows else float("nan")


def mean_of_tasks(rows: ScoredRows) -> float:
    """The mean over tasks of the mean over their rows; NaN if there are none."""
    tasks: dict[str, list[float]] = {}
    for example, score in rows:
        tasks.setdefault(task_of(example) or "", []).append(score)
    means = [sum(scores) / len(scores) for scores in tasks.values()]
    return sum(means) / len(means) if means else float("nan")


def no_more(rows: ScoredRows) -> Mapping[str, float]:
    """No scores besides the overall one."""
    return {}


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    The examples that it reads hold the bare question, in the form that permutation reads: the
    instructions of the official prompt are added by ``official``, after an example was permuted.
    Reading, asking and scoring are functions of the example, so that the same code serves every
    order of its images.

    Attributes:
        name: Its name in commands.
        source: The `Example.source` of its rows, which selects the permutation rule.
        homepage: Where the files are published.
        read: Yields every row of a file or a folder (read recursively, paths sorted) in the data's
            order, as an `Example` (an id of its own, images as encoded bytes,
            ``metadata["task"]`` a text or absent, and the columns that the rule and the scores
            need) or a `BadRow`. It raises FileNotFoundError and ValueError as
            `perl_jax.datasets.files.read_files` does.
        official: The text of the benchmark's own prompt, with ``<image>`` where images are shown,
            in the order of ``example.images``.
        score: Scores a response to the example by rules. The response is as the policy gave it:
            thoughts and boxes are the scorer's concern, see `sets.responses.final`.
        judge: Scores by a judge what the rules left open; None where no judge is official. It may
            ask several times. Whatever ``ask`` raises passes through.
        overall: Averages as the official score does.
        more: Other official scores, by name.
        paper: The published results, in percent, by the system's name (arXiv 2506.14907, table 1).
    """

    name: str
    source: str
    homepage: str
    read: Callable[[Path], Iterator[Example | BadRow]]
    official: Callable[[Example], str]
    score: Callable[[Example, str], Scored]
    judge: Callable[[Example, str, Ask], Scored] | None = None
    overall: Callable[[ScoredRows], float] = mean_of_rows
    more: Callable[[ScoredRows], Mapping[str, float]] = no_more
    paper: Mapping[str, float] = field(default_factory=dict)


def task_of(example: Example) -> str | None:
    """The task that a row belongs to, or None."""
    task = example.metadata.get("task")
    return None if task is None else str(task)
