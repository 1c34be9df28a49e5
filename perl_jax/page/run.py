"""What a run is: its configuration, metrics, summary and evaluations, read from its directory."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from perl_jax.evaluation.records import Record
from perl_jax.evaluation.results import Evaluation
from perl_jax.files import parse_json
from perl_jax.legible import brief
from perl_jax.page.run_files import RunFiles
from perl_jax.rewards import Grade
from perl_jax.settings import check_value, finite_number
from perl_jax.training.display.rollout_log import EVALUATIONS
from perl_jax.training.display.writers import METRICS_FILE, read_metrics
from perl_jax.training.earlier import CONFIG, SUMMARY

# Of the fields of a record, but for its grade, and of those of the grade.
_KINDS = {kind: get_type_hints(kind) for kind in (Record, Grade)}
_EVALUATION = re.compile(rf"{EVALUATIONS}/step_(\d+)\.jsonl")


@dataclass(frozen=True)
class RunRecord:
    """The files of a run, as far as they were written.

    Attributes:
        name: That of its work directory.
        config: The content of ``config.json``.
        metrics: A row for each step, oldest first.
        seconds: How long its steps took; None: not finished.
        evaluations: By step.
    """

    name: str
    config: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    seconds: float | None
    evaluations: Mapping[int, Evaluation]

    @property
    def step(self) -> int:
        """The last step that was logged; 0: none."""
        return max((row["step"] for row in self.metrics), default=0)

    @property
    def finished(self) -> bool:
        """Whether it has ended, and was not extended since."""
        return self.seconds is not None


def read_run(files: RunFiles) -> RunRecord:
    """Reads a run that has ended, was stopped, or still runs.

    Raises:
        ValueError: It is no work directory of a run, or a file is damaged; names it.
    """
    config = _config(files)
    file = files.find(METRICS_FILE)
    metrics = read_metrics(file) if file else []
    evaluations = {}
    for name in files.names(EVALUATIONS):
        if match := _EVALUATION.fullmatch(name):
            evaluations[int(match[1])] = Evaluation.of(_records(files, name))
    step = max((row["step"] for row in metrics), default=0)
    seconds = _seconds(files, step)
    return RunRecord(files.name, config, metrics, seconds, dict(sorted(evaluations.items())))


def _config(files: RunFiles) -> Mapping[str, Any]:
    config = _json(files, CONFIG)
    if config is None:
        raise ValueError(
            f"{files.place}: expected the work directory of a run, which has a {CONFIG}"
        )
    if not isinstance(config, dict) or not {"steps", "logging", "checkpoint"} <= config.keys():
        raise ValueError(
            f"{files.place}: expected the work directory of a run; its {CONFIG} is not one of a "
            "run, but perhaps that of a model"
        )
    if not isinstance(config["steps"], int):
        raise ValueError(
            f"{files.place}: {CONFIG}: steps: expected a whole number; got {brief(config['steps'])}"
        )
    return config


def _seconds(files: RunFiles, step: int) -> float | None:
    """How long the steps took, if the run ended at this step: an extended one goes on after it."""
    summary = _json(files, SUMMARY)
    if not isinstance(summary, dict) or summary.get("steps") != step:
        return None
    return finite_number(f"{files.place}: {SUMMARY}: seconds", summary.get("seconds"))


def _json(files: RunFiles, name: str) -> Any:
    """The content of a file; None if it is missing."""
    file = files.find(name)
    if file is None:
        return None
    try:
        return parse_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{files.place}: {name}: expected JSON: {error}") from error


def _records(files: RunFiles, name: str) -> list[Record]:
    file = files.find(name)
    lines = file.read_bytes().splitlines() if file else []
    return [_record(line, f"{name}, line {number}") for number, line in enumerate(lines, 1)]


def _record(line: bytes, where: str) -> Record:
    try:
        row = parse_json(line)
        values = {one.name: row[one.name] for one in fields(Record) if one.name in row}
        values |= {"order": tuple(row["order"]), "grade": Grade(**row["grade"])}
        record = Record(**values)
        for one in (record, record.grade):
            for name, kind in _KINDS[type(one)].items():
                if kind is not Grade:
                    check_value(kind, getattr(one, name), name)
        return record
    except (ValueError, TypeError, KeyError) as error:
        said = error if isinstance(error, ValueError) else repr(error)
        raise ValueError(f"{where}: expected a record of an evaluation: {said}") from error
