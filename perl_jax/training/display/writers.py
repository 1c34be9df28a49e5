"""Writers of metrics: always ``metrics.jsonl``, on request TensorBoard and Weights & Biases."""

import importlib
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from perl_jax.files import ResumableLog, write_whole
from perl_jax.legible import brief, field_name
from perl_jax.settings import Checked, Count, Expects
from perl_jax.training.display.metrics import reduce_metrics
from perl_jax.training.display.rollout_log import IMAGES, RolloutLogConfig, Row
from perl_jax.training.display.wandb_table import table_of

METRICS_FILE = "metrics.jsonl"
_WANDB_ID_FILE = "wandb_run_id"
# The table of rollouts is uploaded after the first step and every tenth one.
_STEPS_BETWEEN_TABLES = 10
_FLUSH_SECONDS = 5.0


@dataclass(frozen=True)
class _Sink:
    """Three functions: for the finite metrics of a step, for the rows of a step, and to close."""

    write: Callable[[int, Mapping[str, float]], None]
    close: Callable[[], None]
    show: Callable[[int, Sequence[Row]], None] = lambda step, rows: None


@dataclass(frozen=True)
class LoggingConfig(Checked):
    """The outputs of a run: its logs and its progress bar.

    Attributes:
        every: TensorBoard and Weights & Biases get one point for this many steps, reduced as the
            table of metrics says. ``metrics.jsonl`` has every step.
        tensorboard: Whether event files are written, into ``tensorboard/``.
        wandb: Whether the run is logged to Weights & Biases, which must be installed.
        wandb_project: The project in Weights & Biases.
        console: Whether the progress is shown on standard error. Warnings always are.
        rollouts: The log of what was asked and said.
    """

    every: Annotated[Count, Expects("an integer of at least 1")] = 1
    tensorboard: bool = True
    wandb: bool = False
    wandb_project: str = "perl_jax"
    console: bool = True
    rollouts: RolloutLogConfig = field(default_factory=RolloutLogConfig)

    def _check_together(self) -> None:
        if self.wandb and not self.wandb_project:
            raise ValueError("wandb_project: expected a name; got ''")


class MetricsWriter(AbstractContextManager["MetricsWriter"]):
    """Writes the metrics of a run, each step once, no matter how often the run is resumed.

    It is a context manager that closes itself.

    Args:
        directory: The run's directory; made if it is missing.
        config: Selects the outputs besides ``metrics.jsonl``.
        run_name: The name of the run in Weights & Biases.
        settings: The run's settings, shown with it; nested mappings of plain values.
        resume_step: The step that the run resumes from. Later steps and a truncated line are
            removed. None: the run starts, and everything is removed.
        active: False on all hosts but one: nothing is read, made or written.

    Raises:
        ImportError: Weights & Biases is asked for and not installed.
    """

    def __init__(
        self,
        directory: Path,
        config: LoggingConfig,
        *,
        run_name: str,
        settings: Mapping[str, Any],
        resume_step: int | None = None,
        active: bool = True,
    ) -> None:
        self._active = active
        if not active:
            return
        directory.mkdir(parents=True, exist_ok=True)
        last = -1 if resume_step is None else resume_step
        self._sinks: list[_Sink] = []
        if config.wandb:
            fresh = resume_step is None
            self._sinks.append(_wandb(directory, config.wandb_project, run_name, settings, fresh))
        if config.tensorboard:
            self._sinks.append(_tensorboard(directory / "tensorboard", settings, last + 1))
        path = directory / METRICS_FILE
        path.touch()
        self._log = ResumableLog(path, "step")
        self._log.take_back(last)
        rows = read_metrics(path)
        self._last = rows[-1]["step"] if rows else -1
        # The metrics that the last row of an earlier process has.
        self._had = set(rows[-1]) if rows else None
        self._every = config.every
        # The open interval resumes with the steps that it held when the run stopped.
        closed = last - last % config.every
        self._interval = [
            {n: math.nan if x is None else x for n, x in row.items() if n != "step"}
            for row in rows
            if row["step"] > closed
        ]
        self._closed = False

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes all metrics of a step.

        ``metrics.jsonl`` is handed to the system before this returns, so a killed process loses
        nothing: write a step before its checkpoint. Event files may then lack the last seconds. NaN
        and infinities are null in the line, and left out elsewhere. A resumed run may first add
        metrics to the step that it resumes from, such as those of an evaluation.

        Raises:
            ValueError: This step or a later one was written before.
            TypeError: A value is not a number.
        """
        if not self._active:
            return
        if self._closed:
            raise ValueError(f"{METRICS_FILE}: step {step} comes too late: this is a closed file")
        adds = step == self._last and self._had is not None and not self._had & metrics.keys()
        if step <= self._last and not adds:
            raise ValueError(f"step: expected more than {self._last}, which is written; got {step}")
        numbers = {name: _number(name, value) for name, value in metrics.items()}
        row = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        self._log.amend(step, row) if adds else self._log.add(step, row)
        self._last, self._had = step, None
        self._interval.append(numbers)
        if step % self._every == 0:
            self._end_interval()

    def show(self, step: int, rows: Sequence[Row]) -> None:
        """Shows what was asked and said in a step where it can be shown, before its metrics."""
        if self._active and rows and (step == 1 or step % _STEPS_BETWEEN_TABLES == 0):
            for sink in self._sinks:
                sink.show(step, rows)

    def close(self) -> None:
        """Writes the open interval and closes all files; a second call does nothing."""
        if not self._active or self._closed:
            return
        self._closed = True
        self._end_interval()
        for sink in self._sinks:
            sink.close()

    def __exit__(self, *error: object) -> None:
        self.close()

    def _end_interval(self) -> None:
        reduced = reduce_metrics(self._interval)
        finite = {name: value for name, value in reduced.items() if math.isfinite(value)}
        self._interval = []
        if finite:
            for sink in self._sinks:
                sink.write(self._last, finite)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a ``metrics.jsonl``, oldest first: ``step``, and a number or None by metric name.

    A line that was truncated when the process died is left out.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A metric is something else; names the file, the step and the metric.
    """
    rows = {row["step"]: row for row in ResumableLog(path, "step").rows()}
    for step, row in rows.items():
        for name, value in row.items():
            if not _is_number(value):
                raise ValueError(
                    f"{path}: step {step}: {field_name(name)}: expected a number or null; "
                    f"got {brief(value)}"
                )
    return [rows[step] for step in sorted(rows)]


def _is_number(value: Any) -> bool:
    """Whether a value of a file is missing, or a number that a float holds, if not finite."""
    if isinstance(value, int):
        return abs(value) <= sys.float_info.max
    return value is None or isinstance(value, float)


class _EventFile:
    """An event file of TensorBoard, which is written at once, and flushed every few seconds.

    The writer of tensorboardX hands events to a thread. That ends where a disk is full, and who
    writes more would then wait for it for ever.

    Raises:
        OSError: At any call: it cannot be written.
    """

    def __init__(self, directory: Path, settings: Mapping[str, Any], first_step: int) -> None:
        # Imported here: the import is slow, and not every host needs it.
        from tensorboardX import summary
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        directory.mkdir(parents=True, exist_ok=True)
        # File names have a resolution of a second; the suffix tells files of a quick restart apart.
        self._file = EventsWriter(str(directory / "events"), f".from_{first_step}")
        self._event, self._summary, self._scalar = Event, summary.Summary, summary.scalar
        # Readers drop what an earlier process wrote of this step and later ones.
        self._add(first_step, session_log=SessionLog(status=SessionLog.START))
        text = json.dumps(settings, indent=2, default=str)
        self._add(first_step, summary=summary.text("settings", f"```\n{text}\n```"))
        self._file.flush()
        self._due = time.monotonic() + _FLUSH_SECONDS

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds the metrics of a step."""
        values = [v for name, x in metrics.items() for v in self._scalar(name, x).value]
        self._add(step, summary=self._summary(value=values))
        if time.monotonic() >= self._due:
            self._file.flush()
            self._due = time.monotonic() + _FLUSH_SECONDS

    def close(self) -> None:
        """Writes what is left."""
        self._file.close()

    def _add(self, step: int, **content: Any) -> None:
        self._file.write_event(self._event(wall_time=time.time(), step=step, **content))


def _tensorboard(directory: Path, settings: Mapping[str, Any], first_step: int) -> _Sink:
    # Where PyTorch is installed, the import takes seconds, in which the first programs compile.
    pool = ThreadPoolExecutor(1, "tensorboard")
    opening = pool.submit(_EventFile, directory, settings, first_step)

    def close() -> None:
        pool.shutdown()
        opening.result().close()

    return _Sink(lambda step, metrics: opening.result().write(step, metrics), close)


def _wandb(
    directory: Path, project: str, run_name: str, settings: Mapping[str, Any], fresh: bool
) -> _Sink:
    try:
        wandb = importlib.import_module("wandb")
    except ImportError as error:
        raise ImportError(
            "wandb: Weights & Biases is not installed; run `pip install wandb`, or set wandb to "
            "False"
        ) from error
    file = directory / _WANDB_ID_FILE
    known = file.read_text().strip() if file.exists() and not fresh else None
    # Weights & Biases refuses steps that it already has, which are the same as the new ones.
    run = wandb.init(
        project=project,
        name=run_name,
        config=dict(settings),
        dir=str(directory),
        id=known,
        resume="allow" if known else None,
    )
    write_whole(file, run.id + "\n")

    def show(step: int, rows: Sequence[Row]) -> None:
        run.log({"rollouts": table_of(wandb, step, rows, directory / IMAGES)}, step=step)

    return _Sink(lambda step, metrics: run.log(dict(metrics), step=step), run.finish, show)


def _number(name: str, value: Any) -> float:
    """Converts any scalar to a Python number."""
    number = value.item() if hasattr(value, "item") else value
    if not isinstance(number, int | float):
        raise TypeError(f"{name}: expected a number; got {brief(value)}")
    return number
