"""The loop of a run: step, log, evaluate, save, stop; the same for both kinds of training.

What a step does is the stepper's. The loop holds what makes a run one run, however often it is
interrupted: the state, the position in the data, and what was measured.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import jax

from perl_jax.hosts import gather
from perl_jax.models import Qwen2_5_VL
from perl_jax.training.checkpoint import Checkpoints
from perl_jax.training.display.compilations import CompilationCounter
from perl_jax.training.display.progress import ProgressBar
from perl_jax.training.display.throughput import Throughput
from perl_jax.training.display.writers import MetricsWriter
from perl_jax.training.workdir import Preemption
from perl_jax.update.learner import Learner
from perl_jax.update.state import TrainState

logger = logging.getLogger(__name__)

BEST_METRIC = "eval/accuracy"


@dataclass(frozen=True)
class EarlyStop:
    """When a run ends before its last step.

    Attributes:
        accuracy: At this accuracy on held-out examples; None: never.
        patience: After so many evaluations without a better one; None: never.
    """

    accuracy: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.accuracy is not None and not 0 < self.accuracy <= 1:
            raise ValueError(f"accuracy: expected a share above 0 or None; got {self.accuracy}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience: expected at least 1 or None; got {self.patience}")


@dataclass(frozen=True, eq=False)
class StepResult:
    """What one step did.

    Attributes:
        state: After it.
        metrics: Known on the host.
        stats: On the device: reading them waits for the update.
        operations: Floating-point operations that the step could not do without.
        record: What was drawn, for the log of rollouts; None where nothing is.
    """

    state: TrainState
    metrics: dict[str, float]
    stats: Mapping[str, jax.Array]
    operations: int
    record: dict[str, Any] | None = None


class Stepper(Protocol):
    """One kind of training."""

    learner: Learner

    def start(self, state: TrainState) -> None:
        """Gives the sampler the parameters that it draws with; `step` does so too at its end."""

    def step(self, number: int, state: TrainState) -> StepResult:
        """Does step ``number``, from 0; ``state`` is donated."""

    def host_state(self) -> dict[str, Any]:
        """What a checkpoint holds beside the state, JSON-able."""

    def restore(self, host: dict[str, Any]) -> None:
        """Goes on from there."""


class Report(Protocol):
    """What an evaluation found."""

    def metrics(self) -> dict[str, float]:
        """By their names in the logs."""

    def summary(self) -> dict[str, float]:
        """The few numbers that a run is judged by."""


@dataclass
class Progression:
    """What the loop remembers over interruptions.

    Attributes:
        before: The summary of the evaluation before the first step.
        after: Of the latest.
        best: The best accuracy so far.
        since_best: Evaluations since then.
        seconds: Of training, over all its runs.
        evaluated: The step of the latest evaluation.
    """

    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    best: float = -1.0
    since_best: int = 0
    seconds: float = 0.0
    evaluated: int = -1


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        state: The last.
        step: How many were done.
        finished: False where it was asked to stop.
        progression: What was measured.
    """

    state: TrainState
    step: int
    finished: bool
    progression: Progression


@dataclass(frozen=True, eq=False)
class Loop:
    """A run.

    Attributes:
        stepper: What a step does.
        checkpoints: Where steps are saved.
        writer: Where metrics go.
        progress: What is shown.
        preemption: Whether the run was asked to stop.
        steps: How many steps there are.
        evaluate: Evaluates the policy that the stepper gave the sampler; None where nothing is held
            out.
        evaluate_every: Steps between evaluations.
        early_stop: When to end early.
        record: Takes the record of a step, as JSON.
        max_skipped: Updates that may be skipped in a row.
        max_logprob_gap: How far sampler and trainer may disagree on a token.
        throughput: What the devices can do.
    """

    stepper: Stepper
    checkpoints: Checkpoints
    writer: MetricsWriter
    progress: ProgressBar
    preemption: Preemption
    steps: int
    evaluate: Callable[[], Report] | None
    evaluate_every: int
    early_stop: EarlyStop
    record: Callable[[int, dict[str, Any]], None]
    max_skipped: int
    max_logprob_gap: float | None
    throughput: Throughput

    def run(self, state: TrainState, step: int, progression: Progression) -> Outcome:
        """Runs from a step to the end, or until asked to stop.

        Raises:
            FloatingPointError: Too many updates in a row were not finite.
            ValueError: Sampler and trainer disagree by more than allowed.
        """
        self.stepper.start(state)
        with CompilationCounter() as compilations:
            if self.evaluate and progression.evaluated < 0:
                self.progress.write("evaluating before the first step; compiling takes a while")
                self._evaluate(step, {}, progression)
                progression.before = progression.after
            # A run that was killed between its end and its summary has ended nevertheless.
            while step < self.steps and not (step and self._stops_early(progression)):
                start = time.perf_counter()
                result = self.stepper.step(step, state)
                state, step = result.state, step + 1
                # Reading the statistics waits for the update.
                stats = {
                    name: float(value) for name, value in jax.device_get(dict(result.stats)).items()
                }
                seconds = time.perf_counter() - start
                progression.seconds += seconds
                metrics = {**result.metrics, **_named(stats), **self._speed(result, seconds)}
                metrics["perf/compilations"] = compilations.take()
                if result.record is not None:
                    self.record(step, result.record)
                if self.evaluate and (step % self.evaluate_every == 0 or step == self.steps):
                    self._evaluate(step, metrics, progression)
                else:
                    self.writer.write(step, metrics)
                self.progress.update(step, metrics)
                self._check(step, stats)
                # What a checkpoint holds is the same on all hosts.
                progression.seconds = gather(progression.seconds, f"the end of step {step}")[0]
                stop, asked = self._stops_early(progression), self.preemption.agreed()
                self._save(state, step, progression, force=asked or stop or step == self.steps)
                if asked:
                    self.checkpoints.wait()
                    return Outcome(state, step, False, progression)
        self.checkpoints.wait()
        return Outcome(state, step, True, progression)

    def _evaluate(self, step: int, metrics: dict[str, float], progression: Progression) -> None:
        assert self.evaluate is not None
        start = time.perf_counter()
        report = self.evaluate()
        metrics |= report.metrics()
        metrics["perf/evaluation_seconds"] = time.perf_counter() - start
        progression.after = report.summary()
        progression.evaluated = step
        accuracy = metrics[BEST_METRIC]
        better = accuracy > progression.best
        progression.since_best = 0 if better else progression.since_best + 1
        progression.best = max(accuracy, progression.best)
        self.writer.write(step, metrics)

    def _save(self, state: TrainState, step: int, progression: Progression, *, force: bool) -> None:
        host = {"stepper": self.stepper.host_state(), "progression": asdict(progression)}
        metric = progression.after["accuracy"] if progression.evaluated == step else None
        self.checkpoints.save(step, state, host, metric=metric, force=force)

    def _check(self, step: int, stats: Mapping[str, float]) -> None:
        skipped = int(stats.get("skipped_in_a_row", 0))
        if skipped >= self.max_skipped:
            raise FloatingPointError(
                f"step {step}: {skipped} updates in a row were not finite "
                "(optimizer.max_skipped); the last checkpoint is from before them, or holds the "
                "parameters that they left as they were"
            )
        gap = stats.get("logprob_gap_max", 0.0)
        if self.max_logprob_gap is not None and not gap <= self.max_logprob_gap:
            raise ValueError(
                f"step {step}: sampler and trainer disagree on a token's log-probability by {gap}, "
                f"more than learner.max_logprob_gap = {self.max_logprob_gap}"
            )

    def _speed(self, result: StepResult, seconds: float) -> dict[str, float]:
        tokens = result.metrics["rollout/tokens"]
        drawn = ("perf/rollout_seconds", "perf/reward_seconds", "perf/reshard_seconds")
        return {
            "perf/step_seconds": seconds,
            "perf/update_seconds": seconds - sum(result.metrics.get(n, 0.0) for n in drawn),
            **self.throughput.metrics(tokens, result.operations, seconds),
        }

    def _stops_early(self, progression: Progression) -> bool:
        target, patience = self.early_stop.accuracy, self.early_stop.patience
        return (target is not None and progression.best >= target) or (
            patience is not None and progression.since_best >= patience
        )


_OPTIMIZER = ("grad_norm", "update_norm", "param_norm", "learning_rate", "skipped")
_SUPERVISED = {"loss": "supervised/loss", "likely": "supervised/likely"}


def _named(stats: Mapping[str, float]) -> dict[str, float]:
    """Statistics of the update by their names in the logs."""
    supervised = "likely" in stats
    names = {}
    for name, value in stats.items():
        if name in _OPTIMIZER:
            names[f"optimizer/{name}"] = value
        elif supervised and name in _SUPERVISED:
            names[_SUPERVISED[name]] = value
        elif name not in ("tokens", "skipped_in_a_row"):
            names[f"policy/{name}"] = value
    return names


def start_or_resume(
    checkpoints: Checkpoints,
    stepper: Stepper,
    model: Qwen2_5_VL,
    key: jax.Array,
) -> tuple[TrainState, int, Progression]:
    """The newest checkpoint that is whole, or a fresh state."""
    state = stepper.learner.init(model, key)
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state
    )
    # A repaired program may go on; the log says so.
    restored = checkpoints.restore(abstract, allow_changes=("code",))
    if restored is None:
        return state, 0, Progression()
    logger.info("going on from step %d", restored.step)
    stepper.restore(restored.host["stepper"])
    return restored.arrays, restored.step, Progression(**restored.host["progression"])
