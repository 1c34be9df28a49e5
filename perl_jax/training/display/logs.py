"""All logs of a run, on the host that writes them."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from perl_jax.evaluation.results import Evaluation
from perl_jax.training.display.rollout_log import EVALUATIONS, RolloutLog, Row, StepFiles
from perl_jax.training.display.writers import LoggingConfig, MetricsWriter


class RunLogs(AbstractContextManager["RunLogs"]):
    """Metrics, rollouts and answers of evaluations, each step once however often a run resumes.

    Args:
        workdir: The run's work directory, which is the name of the run.
        config: The outputs.
        settings: The run's settings, shown with it.
        resume_step: The step that the run resumes from; what is of later steps is removed. None:
            the run starts, and everything is removed.
        active: False on all hosts but one: nothing is read, made or written.
    """

    def __init__(
        self,
        workdir: Path,
        config: LoggingConfig,
        *,
        settings: Mapping[str, Any],
        resume_step: int | None,
        active: bool,
    ) -> None:
        self._active = active
        self._metrics = MetricsWriter(
            workdir,
            config,
            run_name=workdir.name,
            settings=settings,
            resume_step=resume_step,
            active=active,
        )
        self._rollouts = RolloutLog(workdir, config.rollouts)
        self._evaluations = StepFiles(workdir / EVALUATIONS, ".jsonl")
        if active:
            last = -1 if resume_step is None else resume_step
            self._rollouts.take_back(last)
            self._evaluations.take_back(last)

    def __exit__(self, *error: object) -> None:
        self._metrics.close()

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes the metrics of a step; see `MetricsWriter.write`."""
        self._metrics.write(step, metrics)

    def record(self, step: int, rows: Sequence[Row]) -> None:
        """Writes what was asked and said in a step, before its metrics."""
        if self._active:
            self._rollouts.add(step, rows)
            self._metrics.show(step, rows)

    def keep(self, step: int, evaluation: Evaluation) -> None:
        """Writes the answers of the evaluation after a step."""
        if self._active:
            self._evaluations.write(step, evaluation.records_as_jsonl())
