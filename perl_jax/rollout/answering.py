"""Answers one question on the screen, or a file of questions into a file."""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from perl_jax.files import parse_json
from perl_jax.legible import brief
from perl_jax.processing import Processor
from perl_jax.rollout.sampler import Sampler
from perl_jax.types import Group, Rollouts

# `Sampler.sample` with all arguments bound except groups and on_tokens.
Sample = Callable[..., Rollouts]


@dataclass(eq=False)
class TextStream:
    """Prints tokens as text; holds back an incomplete multi-byte character."""

    processor: Processor
    tokens: list[int] = field(default_factory=list)
    shown: str = ""

    def __call__(self, group: int, order: int, rollout: int, tokens: np.ndarray) -> None:
        """Prints the next tokens of the response."""
        self.tokens += tokens.tolist()
        text = self.processor.decode(self.tokens).rstrip("\N{REPLACEMENT CHARACTER}")
        print(text[len(self.shown) :], end="", flush=True)
        self.shown = text

    def finish(self) -> None:
        """Prints what was held back, and ends the line."""
        print(self.processor.decode(self.tokens)[len(self.shown) :])


def answer_file(
    sampler: Sampler, sample: Sample, questions: Path, answers: Path, *, batch: int
) -> Counter[str]:
    """Answers every line of a JSONL file; counts ``answered``, ``skipped`` and ``tokens``.

    A line is an object with ``prompt`` and optionally ``images`` (paths relative to the file) and
    ``id``. The answered line adds ``responses``, each with ``text``, ``tokens`` and
    ``finish_reason``, or ``error`` if the prompt cannot be encoded or is too large. ``batch``
    questions are sampled together.

    Raises:
        ValueError: A line is not such an object.
    """
    rows = read_questions(questions)
    counts: Counter[str] = Counter()
    start = time.perf_counter()
    with answers.open("w", encoding="utf-8") as output, tqdm(total=len(rows)) as bar:

        def on_tokens(group: int, order: int, rollout: int, tokens: np.ndarray) -> None:
            counts["tokens"] += len(tokens)
            rate = counts["tokens"] / (time.perf_counter() - start)
            bar.set_postfix_str(f"{counts['tokens']} tokens, {rate:.0f} tokens/s")

        for first in range(0, len(rows), batch):
            part = rows[first : first + batch]
            groups, encoded = _encode(part, sampler, questions.parent)
            if groups:
                _add_responses(encoded, sample(groups, on_tokens=on_tokens), sampler.processor)
            output.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in part)
            counts["answered"] += len(encoded)
            counts["skipped"] += len(part) - len(encoded)
            bar.update(len(part))
    return counts


def read_questions(path: Path) -> list[dict[str, Any]]:
    """Reads a JSONL file of questions; a line without an ``id`` gets its line number.

    Raises:
        ValueError: A line has no string ``prompt``, two have the same id, or there are none.
    """
    rows: dict[str, dict[str, Any]] = {}
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected lines of JSON in UTF-8 ({error})") from error
    # Not splitlines, which also splits at separators that JSON strings may hold, such as U+2028.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = parse_json(line)
        except ValueError as error:
            raise ValueError(f"{where}: not JSON ({error})") from error
        if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
            raise ValueError(f"{where}: expected an object with a string 'prompt', got {line[:80]}")
        if not isinstance(row.get("images", []), list):
            raise ValueError(
                f"{where}: images: expected a list of paths, got {brief(row['images'])}"
            )
        id = str(row.get("id", number))
        if id in rows:
            raise ValueError(f"{where}: id {id!r} is that of an earlier line too")
        rows[id] = {**row, "id": id}
    if not rows:
        raise ValueError(f"{path}: expected at least one line, got none")
    return list(rows.values())


def _encode(
    rows: Sequence[dict[str, Any]], sampler: Sampler, directory: Path
) -> tuple[list[Group], list[dict[str, Any]]]:
    groups, encoded = [], []
    for row in rows:
        try:
            images = [directory / str(image) for image in row.get("images", [])]
            group = Group.of(row["id"], [sampler.processor.encode(row["prompt"], images)])
            sampler.check(group)
            groups.append(group)
            encoded.append(row)
        except ValueError as error:  # a PromptError, or too large for the ladders
            row["error"] = str(error)
            tqdm.write(f"skipped {row['id']}: {error}", file=sys.stderr)
    return groups, encoded


def _add_responses(
    rows: Sequence[dict[str, Any]], rollouts: Rollouts, processor: Processor
) -> None:
    for g, (row, texts) in enumerate(zip(rows, rollouts.texts(processor.decode), strict=True)):
        row["responses"] = [
            {
                "text": text,
                "tokens": int(rollouts.lengths[g, 0, n]),
                "finish_reason": "stop" if rollouts.stopped[g, 0, n] else "length",
            }
            for n, text in enumerate(texts[0])
        ]


def print_answers(rollouts: Rollouts, processor: Processor) -> None:
    """Prints the responses to the first prompt of the first group, numbered."""
    for number, text in enumerate(rollouts.texts(processor.decode)[0][0], start=1):
        print(f"--- {number}\n{text}")
