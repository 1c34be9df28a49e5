"""The groups of a run, read from its log of rollouts in any of its formats."""

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from perl_jax.files import ResumableLog, parse_json
from perl_jax.legible import brief, field_name
from perl_jax.page.run_files import RunFiles
from perl_jax.training.display.rollout_log import ROLLOUTS

# By order and response.
Numbers = Sequence[Sequence[float | None]]

_STEP_FILE = re.compile(rf"{ROLLOUTS}/step_(\d+)\.(jsonl\.gz|parquet)")


@dataclass(frozen=True)
class Group:
    """One example under its orders, and the responses to each; see docs/logging.md.

    The fields are those of the log.
    """

    step: int
    group: int
    id: str
    source: str
    outcome: str
    unpermuted: str | None
    images: Sequence[str]
    orders: Sequence[Sequence[int]]
    questions: Sequence[str]
    truths: Sequence[str]
    responses: Sequence[Sequence[str]]
    lengths: Sequence[Sequence[int]]
    stopped: Sequence[Sequence[bool]]
    accuracy: Numbers
    rewards: Mapping[str, Numbers]
    reward: Numbers
    advantages: Numbers

    @classmethod
    def of(cls, row: Mapping[str, Any], place: str) -> "Group":
        """Reads a row of the log.

        Raises:
            ValueError: It lacks a field, or its lists have different lengths; names ``place``.
        """
        step, number = (field_name(row.get(name)) for name in ("step", "group"))
        where = f"{place}, step {step}, group {number}"
        missing = [name for name in cls.__dataclass_fields__ if name not in row]
        if missing:
            raise ValueError(f"{where}: expected the fields of a group; {missing[0]} is missing")
        group = cls(**{name: row[name] for name in cls.__dataclass_fields__})
        try:
            group._check_kinds()
            group._check_lengths(where)
        except (TypeError, AttributeError, KeyError) as error:
            raise ValueError(f"{where}: expected the fields of a group: {error!r}") from error
        return group

    def _check_kinds(self) -> None:
        """Raises TypeError for a value of another kind than a run writes."""
        texts = [self.id, self.source, self.outcome, *self.images, *self.questions, *self.truths]
        texts += [text for of_order in self.responses for text in of_order]
        numbers = [self.accuracy, self.reward, self.advantages, self.lengths, self.stopped]
        values = [
            value for one in (*numbers, *self.rewards.values()) for row in one for value in row
        ]
        _check_all(texts, str)
        _check_all([self.step, self.group, *(slot for order in self.orders for slot in order)], int)
        _check_all(values, int | float | None)
        _check_all([self.unpermuted], str | None)

    def _check_lengths(self, where: str) -> None:
        count = len(self.orders)
        for name in ("questions", "truths", "responses"):
            if len(getattr(self, name)) != count:
                raise ValueError(f"{where}: expected {count} {name}, one for each order")
        shape = [len(of_order) for of_order in self.responses]
        each = {"lengths": self.lengths, "stopped": self.stopped, "accuracy": self.accuracy}
        each |= {"reward": self.reward, "advantages": self.advantages}
        each |= {f"rewards.{name}": values for name, values in self.rewards.items()}
        for name, values in each.items():
            if [len(of_order) for of_order in values] != shape:
                raise ValueError(f"{where}: expected {name} of each response, {shape}")
        slots = list(range(len(self.images)))
        for order in self.orders:
            if sorted(order) != slots:
                raise ValueError(
                    f"{where}: expected orders of {len(slots)} images; got {brief(order)}"
                )

    @property
    def permuted(self) -> bool:
        """Whether it has an order besides its own; otherwise its own is repeated."""
        return any(list(order) != list(self.orders[0]) for order in self.orders)

    @property
    def mean_reward(self) -> float | None:
        """Over its responses with a reward; None if there is none."""
        known = [value for of_order in self.reward for value in of_order if value is not None]
        return sum(known) / len(known) if known else None

    def right(self, order: int) -> tuple[float, int]:
        """The sum of the grades under an order, and their number."""
        known = [value for value in self.accuracy[order] if value is not None]
        return sum(known), len(known)

    @property
    def flips(self) -> bool:
        """Whether most answers are right under one of its orders, and not under another."""
        if not self.permuted:
            return False
        graded = [self.right(order) for order in range(len(self.orders))]
        return len({2 * total > count for total, count in graded if count}) == 2


def _check_all(values: Sequence[Any], kind: Any) -> None:
    for value in values:
        if not isinstance(value, kind):
            raise TypeError(f"got {brief(value)}")


def read_groups(files: RunFiles) -> Iterator[Group]:
    """All groups that a run logged, one after another, in whatever formats it wrote them.

    Raises:
        ValueError: A file is damaged, or a row is not one of a group; names it.
    """
    name = f"{ROLLOUTS}.jsonl"
    file = files.find(name)
    if file is not None:
        for row in ResumableLog(file, "step").rows():
            yield Group.of(row, name)
    names = files.names(ROLLOUTS)
    found = {name: match for name in names if (match := _STEP_FILE.fullmatch(name))}
    for name, match in sorted(found.items(), key=lambda item: int(item[1][1])):
        file = files.find(name)
        if file is not None:
            for one in (_from_parquet if match[2] == "parquet" else _from_gzip)(file, name):
                yield Group.of(one, name)


def _from_gzip(file: Path, name: str) -> Iterator[Mapping[str, Any]]:
    try:
        with gzip.open(file, "rb") as lines:
            for line in lines:
                yield parse_json(line)
    except (EOFError, gzip.BadGzipFile, zlib.error, ValueError) as error:
        raise ValueError(f"{name}: expected compressed lines of JSON: {error}") from error


def _from_parquet(file: Path, name: str) -> Iterator[Mapping[str, Any]]:
    try:
        yield from pq.read_table(file).to_pylist()
    except ValueError as error:
        raise ValueError(f"{name}: expected a parquet file: {error}") from error
