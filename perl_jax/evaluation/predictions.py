"""The file of an evaluation's predictions: a line a row, in the data's order.

It grows by whole lines, so that an evaluation goes on where it was interrupted.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perl_jax.evaluation.benchmark import Scored, task_of
from perl_jax.files import parse_json, write_whole
from perl_jax.types import Example

PREDICTIONS = "predictions.jsonl"

Order = tuple[int, ...]


@dataclass(frozen=True)
class Answers:
    """The responses to one row.

    Attributes:
        responses: For each of the K orders, its N responses; None where there is none.
        orders: The K orders, the row's own first; None: other orders were not asked for.
        again: One more response to the own order, drawn by another seed; None: there is none.
    """

    responses: tuple[tuple[str | None, ...], ...]
    orders: tuple[Order, ...] | None = None
    again: str | None = None


@dataclass(frozen=True)
class ScoredAnswers:
    """The same with its scores.

    Attributes:
        example: The row, without its images.
        answers: The responses.
        scored: How each of the K x N responses was scored.
        again: How the other response to the own order was scored.
    """

    example: Example
    answers: Answers
    scored: tuple[tuple[Scored, ...], ...]
    again: Scored | None = None

    @property
    def score(self) -> float | None:
        """The mean score under the own order; None if one of its responses has none."""
        return mean_score(self.scored[0])

    def as_json(self) -> dict[str, Any]:
        """The line of the file; see docs/evaluation.md."""
        own = _told(self.answers.responses[0], self.scored[0])
        line = {"id": self.example.id, "task": task_of(self.example), **own}
        if self.answers.orders is not None:
            line["orders"] = [
                {"order": list(order), **_told(responses, scored)}
                for order, responses, scored in zip(
                    self.answers.orders, self.answers.responses, self.scored, strict=True
                )
            ]
            if self.again is not None:
                line["again"] = _told([self.answers.again], [self.again])
        return line


def mean_score(scored: Sequence[Scored]) -> float | None:
    """The mean score; None if one is unknown."""
    known = [one.score for one in scored if one.score is not None]
    return sum(known) / len(known) if len(known) == len(scored) else None


def _told(responses: Sequence[str | None], scored: Sequence[Scored]) -> dict[str, Any]:
    """The fields of one order: of its first response, the mean score, and all if it has several."""
    each = [
        {"response": response, "prediction": one.prediction, "score": one.score}
        for response, one in zip(responses, scored, strict=True)
    ]
    first = {**each[0], "score": mean_score(scored)}
    return {**first, "samples": each} if len(each) > 1 else first


def answers_of(line: Mapping[str, Any]) -> Answers:
    """The responses of a line of the file.

    Raises:
        AttributeError, KeyError, TypeError: It is not such a line.
    """
    if "orders" not in line:
        return Answers((_responses(line),))
    if not line["orders"]:
        raise TypeError("there are no orders")
    again = line.get("again")
    return Answers(
        tuple(_responses(one) for one in line["orders"]),
        tuple(tuple(one["order"]) for one in line["orders"]),
        None if again is None else again["response"],
    )


def _responses(line: Mapping[str, Any]) -> tuple[str | None, ...]:
    found = tuple(one["response"] for one in line.get("samples", [line]))
    if not all(isinstance(response, str | None) for response in found):
        raise TypeError("a response is no text")
    return found


class JsonLines:
    """A file of JSON lines that grows; a line that was cut off by a kill is removed.

    Args:
        path: The file, made with its first line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """The whole lines; what follows the last of them is cut off.

        Raises:
            ValueError: A line is no object with an ``id``.
        """
        if not self.path.exists():
            return []
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with self.path.open("r+b") as file:
                file.truncate(whole)
        rows = []
        for number, line in enumerate(content[:whole].split(b"\n")[:-1], 1):
            try:
                row = parse_json(line)
            except ValueError as error:
                raise ValueError(f"{self.path}:{number}: expected JSON ({error})") from error
            if not isinstance(row, dict) or "id" not in row:
                raise ValueError(f"{self.path}:{number}: expected an object with an id")
            rows.append(row)
        return rows

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Appends lines, and waits until they are on the disk."""
        text = _text(rows)
        if text:
            with self.path.open("ab") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())

    def replace(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes the file anew; it is whole at any moment."""
        write_whole(self.path, _text(rows))


def _text(rows: Iterable[Mapping[str, Any]]) -> bytes:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    # Half of a surrogate pair is not UTF-8; it is written as JSON's own escape.
    return lines.encode("utf-8", "backslashreplace")
