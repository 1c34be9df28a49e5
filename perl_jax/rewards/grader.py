"""Grades responses: a score, a zero with its reason, or no score if grading failed."""

import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from perl_jax.legible import brief
from perl_jax.rewards.answers import answer_text
from perl_jax.rewards.extract import last_boxed
from perl_jax.rewards.matching import Match, match
from perl_jax.rewards.normalise import clean
from perl_jax.rewards.numeric import Tolerance
from perl_jax.rewards.sequences import read_items
from perl_jax.rewards.workers import GradingError, Result, Task, WorkerPool

Outcome = Literal["scored", "zero", "unscored"]

_MAX_WORKERS = 8
_CACHED = 65536
# A larger share of rows on which our own program fails stops grading.
_FAILURES_TOLERATED = 0.01


@dataclass(frozen=True)
class Grade:
    r"""The grade of one response.

    Attributes:
        score: Accuracy, 1.0 or 0.0; None if ``unscored``.
        outcome: ``scored``: a verdict on an answer. ``zero``: the response gives nothing to
            compare, and scores 0.0. ``unscored``: grading failed; leave the response out of every
            mean, deviation and loss.
        detail: A short fixed word. Scored: what decided (``exact``, ``letter``, ``number``,
            ``list``, ``text``, ``symbolic``). Zero: ``no_box``, ``unclosed_box``, ``empty_box``,
            ``too_long``, ``invisible_characters``, ``malformed`` or ``undefined`` (0/0). Unscored:
            ``deadline``, ``memory``, ``crashed`` (two workers died), ``undecided`` (math-verify
            raised) or ``failed`` (our own program raised).
        message: Details of an unscored grade, for a log.
    """

    score: float | None
    outcome: Outcome
    detail: str
    message: str = ""


class Grader(AbstractContextManager["Grader"]):
    r"""Grades responses by their last ``\boxed{}``.

    Strings decide first: equal text, option letters, plain numbers, lists, orders, words. Only the
    rest, one expression against another, is compared symbolically, by math-verify in worker
    processes with a memory limit and a deadline that kills. A killed one affects no other grade.

    Use it as a context manager, or call ``close()``. It is thread-safe.

    Args:
        num_workers: Worker processes; None: one per processor, at most 8.
        deadline: Seconds for one symbolic comparison.
        memory_bytes: Address space of one worker.
        absolute_tolerance: Numbers may differ from the true one by this much ...
        relative_tolerance: ... or by this share of its magnitude, whichever is more. With both at
            zero, numbers must agree exactly.

    Raises:
        ValueError: A setting is out of its range.
        GradingError: Workers cannot start; names the cause.
    """

    def __init__(
        self,
        *,
        num_workers: int | None = None,
        deadline: float = 2.0,
        memory_bytes: int = 2 * 1024**3,
        absolute_tolerance: float = 0.0,
        relative_tolerance: float = 0.0,
    ) -> None:
        if num_workers is None:
            num_workers = min(os.cpu_count() or 1, _MAX_WORKERS)
        for name, value, least in (
            ("num_workers", num_workers, 1),
            ("deadline", deadline, 0.01),
            ("memory_bytes", memory_bytes, 128 * 1024**2),
            ("absolute_tolerance", absolute_tolerance, 0),
            ("relative_tolerance", relative_tolerance, 0),
        ):
            # NaN fails this too.
            if not value >= least:
                raise ValueError(f"Grader: {name} must be at least {least}; got {brief(value)}")
        self._tolerance = Tolerance(absolute_tolerance, relative_tolerance)
        self._cache: OrderedDict[Task, Result] = OrderedDict()
        self._lock = threading.Lock()
        self._pool: WorkerPool | None = WorkerPool(num_workers, deadline, memory_bytes)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker processes; may be called twice."""
        with self._lock:
            if self._pool is not None:
                self._pool.close()
            self._pool = None

    def grade(self, responses: Sequence[str], answers: Sequence[Any]) -> list[Grade]:
        """Grades each response against the answer of the same row.

        For the types of answers see ``answer_text``.

        Raises:
            ValueError: The lengths differ, or an answer can never be matched; names the row.
            TypeError: A response is no text, or an answer has a wrong type; names the row.
            GradingError: The grader is closed, or its workers fail on more than 1% of the rows.
        """
        if isinstance(responses, str) or len(responses) != len(answers):
            raise ValueError(
                "grade: expected a list of responses and as many answers; "
                f"got {type(responses).__name__} of {len(responses)} and {len(answers)}"
            )
        truths = [_truth(row, answer) for row, answer in enumerate(answers)]
        for row, response in enumerate(responses):
            if not isinstance(response, str):
                raise TypeError(f"responses[{row}]: expected str; got {type(response).__name__}")
        boxes = [last_boxed(response) for response in responses]
        graded: dict[tuple[str, str], Match] = {}
        for key in zip((box.text for box in boxes), truths, strict=True):
            if key[0] and key not in graded:
                graded[key] = match(*key, self._tolerance)
        results = self._symbolic([self._task(m.pairs) for m in graded.values() if m.pairs])
        grades = [
            _zero(box.problem) if box.problem else self._grade(graded[box.text, truth], results)
            for box, truth in zip(boxes, truths, strict=True)
        ]
        _stop_at_failures(grades)
        return grades

    def check_gold(self, answers: Sequence[Any]) -> list[str]:
        """Returns why each answer cannot serve as ground truth; ``""`` if it can.

        A good answer matches itself, and the symbolic comparison can read it if it is mathematics:
        otherwise no equivalent form would be accepted.
        """
        problems, texts = [""] * len(answers), [""] * len(answers)
        for row, answer in enumerate(answers):
            try:
                texts[row] = answer_text(answer)
            except (TypeError, ValueError) as error:
                problems[row] = str(error)
        tasks = {row: self._self_task(text) for row, text in enumerate(texts) if text}
        results = self._symbolic([task for task in tasks.values() if task is not None])
        for row, task in tasks.items():
            if task is not None and results[task].verdict != "equal":
                problems[row] = (
                    f"{brief(texts[row])} does not match itself: {results[task].verdict}"
                )
        return problems

    def _self_task(self, text: str) -> Task | None:
        """The symbolic comparison of a text with itself; None if strings decide it."""
        items = read_items(clean(text))
        # No truth equals this name, so strings decide only what never becomes symbolic.
        pairs = [pair for item in items for pair in match("z_{1}", item, self._tolerance).pairs]
        return self._task(tuple((true, true) for _, true in pairs)) if pairs else None

    def _task(self, pairs: tuple[tuple[str, str], ...]) -> Task:
        return Task(pairs, self._tolerance.absolute, self._tolerance.relative)

    def _symbolic(self, tasks: Sequence[Task]) -> dict[Task, Result]:
        """Results by task: distinct tasks run once in the workers, and verdicts are cached."""
        with self._lock:
            if self._pool is None:
                raise GradingError("this grader is closed: grade within its `with` block")
            known = {task: self._cache[task] for task in tasks if task in self._cache}
            new = [task for task in dict.fromkeys(tasks) if task not in known]
            results = dict(zip(new, self._pool.run(new), strict=True))
            # Failures are not cached: a grade lost on a busy machine gets another chance.
            self._cache.update({t: r for t, r in results.items() if r.verdict in _SCORES})
            while len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
            return known | results

    def _grade(self, found: Match, results: dict[Task, Result]) -> Grade:
        if found.equal is not None:
            return Grade(float(found.equal), "scored", found.how)
        result = results[self._task(found.pairs)]
        if result.verdict in ("malformed", "undefined"):
            return _zero(result.verdict)
        if result.verdict in _SCORES:
            # A truth that is not mathematics was compared as text, and differed.
            how = "text" if result.verdict == "bad_truth" else "symbolic"
            return Grade(_SCORES[result.verdict], "scored", how)
        return Grade(None, "unscored", result.verdict, result.message)


_SCORES = {"equal": 1.0, "different": 0.0, "bad_truth": 0.0, "malformed": 0.0, "undefined": 0.0}


def grade_arrays(grades: Sequence[Grade]) -> tuple[np.ndarray, np.ndarray]:
    """Returns ``(scores, mask)``: float32 scores, and False (score 0) where a grade is unscored."""
    mask = np.array([grade.score is not None for grade in grades], dtype=bool)
    scores = np.array([grade.score or 0.0 for grade in grades], dtype=np.float32)
    return scores, mask


def count_grades(grades: Sequence[Grade]) -> dict[str, int]:
    """Counts grades per outcome (``zero``) and per reason (``zero/no_box``), for metrics."""
    outcomes = Counter({"scored": 0, "zero": 0, "unscored": 0})
    outcomes.update(grade.outcome for grade in grades)
    reasons = Counter(f"{grade.outcome}/{grade.detail}" for grade in grades)
    return dict(outcomes) | dict(sorted(reasons.items()))


def _zero(reason: str) -> Grade:
    return Grade(0.0, "zero", reason)


def _truth(row: int, answer: Any) -> str:
    try:
        return answer_text(answer)
    except (TypeError, ValueError) as error:
        raise type(error)(f"answers[{row}]: {error}") from error


def _stop_at_failures(grades: Sequence[Grade]) -> None:
    failed = [grade for grade in grades if grade.detail == "failed"]
    if len(failed) > max(1, _FAILURES_TOLERATED * len(grades)):
        raise GradingError(
            f"the symbolic grader failed on {len(failed)} of {len(grades)} rows: "
            f"{failed[-1].message}"
        )
