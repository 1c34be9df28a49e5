"""Who answers the rows of a benchmark; here, a file of another system's responses.

`perl_jax.evaluation.asking` asks a policy. It is a module of its own because it imports jax.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from perl_jax.activity import Activity, silent
from perl_jax.data.sources.source import BadRow
from perl_jax.evaluation.predictions import Answers
from perl_jax.legible import brief
from perl_jax.types import Example

Outcome = Answers | BadRow

Answerer = Callable[[Sequence[Example], Activity], list[Outcome]]
"""Answers rows with their images; a row that cannot be asked is bad."""


class GivenAnswers:
    """The responses of another system, from a file; see `read_responses`."""

    def __init__(self, responses: Mapping[str, str]) -> None:
        self.responses = responses

    def __call__(self, rows: Sequence[Example], activity: Activity = silent) -> list[Outcome]:
        """Answers rows; a row without a response gets None."""
        return [Answers(((self.responses.get(row.id),),)) for row in rows]


def read_responses(path: Path) -> dict[str, str]:
    """Reads a file with ``id`` and ``response`` a line.

    Raises:
        ValueError: The file is not in UTF-8, a line is not such an object, or two have the same
            id; names the file and the line.
    """
    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected lines of JSON in UTF-8 ({error})") from error
    # Not splitlines, which also splits at separators that JSON strings may hold, such as U+2028.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}: expected JSON ({error})") from error
        if not isinstance(row, dict) or not isinstance(row.get("response"), str):
            raise ValueError(f"{where}: expected an object with id and response; got {line[:80]}")
        if not isinstance(row.get("id"), str | int) or isinstance(row["id"], bool):
            raise ValueError(f"{where}: id: expected a text or a whole number; got {line[:80]}")
        id = str(row["id"])
        if id in found:
            raise ValueError(f"{where}: id {brief(id)} is that of line {lines[id]} too")
        found[id], lines[id] = row["response"], number
    return found
