"""The loop of a run, for both kinds of training: step, log, evaluate, save, stop."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Protocol, Self

import jax
from annotated_types import Interval

from perl_jax.data.pipeline.pipeline import Pipeline
from perl_jax.device_memory import explained_memory
from perl_jax.evaluation.results import Evaluation
from perl_jax.host_memory import give_back_memory
from perl_jax.hosts import gather
from perl_jax.models import Policy
from perl_jax.settings import Checked, Count, Expects
from perl_jax.training.checkpoint import Checkpoints
from perl_jax.training.display.compilations import CompilationCounter
from perl_jax.training.display.console import Console
from perl_jax.training.display.throughput import Throughput
from perl_jax.training.health import Health
from perl_jax.training.workdir import Preemption
from perl_jax.update.learner import Learner
from perl_jax.update.state import TrainState

logger = logging.getLogger(__name__)

_Accuracy = Annotated[float, Interval(gt=0, le=1), Expects("a share above 0 or None")]


@dataclass(frozen=True)
class EarlyStop(Checked):
    """Conditions that end a run before its last step.

    Attributes:
        accuracy: The held-out accuracy at which the run ends; None: never.
        patience: The number of evaluations without a new best after which it ends; None: never.
        ruined: The run fails after this many steps in a row whose policy is ruined: parameters that
            exploded, no entropy, only responses that are cut off, or only groups whose rewards are
            alike; None: never.
    """

    accuracy: _Accuracy | None = None
    patience: Count | None = None
    ruined: Count | None = 50

    def is_reached(self, progression: "Progression") -> bool:
        """Whether a run that came this far ends."""
        return (self.accuracy is not None and progression.best >= self.accuracy) or (
            self.patience is not None and progression.since_best >= self.patience
        )


@dataclass(frozen=True, eq=False)
class StepResult:
    """The result of one step.

    Attributes:
        state: The state after the step.
        metrics: Metrics known to the host, by their names in the logs.
        stats: Metrics on the device, by their names in the logs; reading them waits for the update.
            ``tokens`` is not logged.
        operations: The number of floating-point operations that the step required.
        records: What was asked and said, for the log of rollouts: a row for each group.
    """

    state: TrainState
    metrics: dict[str, float]
    stats: Mapping[str, jax.Array]
    operations: int
    records: Sequence[Mapping[str, Any]] = ()


class Stepper(Protocol):
    """One kind of training."""

    learner: Learner
    pipeline: Pipeline

    def policy(self, state: TrainState) -> Policy:
        """The policy of a state, for evaluation. The next step may invalidate it."""
        return self.learner.model(state)

    def step(self, number: int, state: TrainState) -> StepResult:
        """Does step ``number``, from 0; ``state`` is donated."""
        raise NotImplementedError

    def check(self) -> None:
        """Raises an error if the run must end after this step, which is logged and not saved."""
        return

    def host_state(self) -> dict[str, Any]:
        """The part of a checkpoint besides the state, JSON-able: the position in the data."""
        return {"data": self.pipeline.state()}

    def restore(self, host: dict[str, Any]) -> None:
        """Resumes from a `host_state`; a change of the data that was allowed begins its order."""
        self.pipeline.restore(host["data"], or_begin=True)


@dataclass
class Progression:
    """The progress that the loop keeps over interruptions.

    Attributes:
        before: The summary of the evaluation before the first step, or before the first one since
            the run has evaluations.
        after: The summary of the latest evaluation.
        best: The best accuracy so far.
        since_best: The number of evaluations since the best one.
        seconds: Time of training, over all processes of the run.
        evaluated: The step of the latest evaluation.
        init_from: The run that this one started from, as ``InitFrom.record``; empty: none.
        health: What the last steps say about the policy.
    """

    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    best: float = -1.0
    since_best: int = 0
    seconds: float = 0.0
    evaluated: int = -1
    init_from: dict[str, Any] = field(default_factory=dict)
    health: Health = field(default_factory=Health)

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """Reads what `asdict` made; checkpoints of older versions lack some of it."""
        return cls(**{**state, "health": Health(**state.get("health", {}))})


@dataclass(frozen=True)
class Outcome:
    """The end of a run: last state, steps done, and whether it ended without a request to stop."""

    state: TrainState
    step: int
    finished: bool
    progression: Progression


@dataclass(frozen=True, eq=False)
class Loop:
    """The training loop.

    Attributes:
        write: Logs the metrics of a step.
        console: Shows what the run is doing.
        preemption: Whether the run was asked to stop; the same on all hosts.
        steps: The number of steps of the run.
        evaluate: Evaluates a policy; None if nothing is held out.
        evaluate_every: The number of steps between evaluations.
        record: Logs the rows of a step, JSON-able.
        keep: Keeps the answers of an evaluation after a step.
        max_skipped: The run fails after this many skipped updates in a row.
        max_logprob_gap: The run fails if sampler and trainer differ by more than this on a token.
    """

    stepper: Stepper
    checkpoints: Checkpoints
    write: Callable[[int, Mapping[str, float]], None]
    console: Console
    preemption: Preemption
    steps: int
    evaluate: Callable[[Policy], Evaluation] | None
    evaluate_every: int
    early_stop: EarlyStop
    record: Callable[[int, Sequence[Mapping[str, Any]]], None]
    keep: Callable[[int, Evaluation], None]
    max_skipped: int
    max_logprob_gap: float | None
    throughput: Throughput

    def run(self, state: TrainState, step: int, progression: Progression) -> Outcome:
        """Runs from a step to the end, or until asked to stop.

        Raises:
            FloatingPointError: Too many updates in a row were not finite.
            ValueError: Sampler and trainer disagree by more than allowed, or the stepper's `check`
                fails.
        """
        with CompilationCounter() as compilations:
            if self.evaluate and progression.evaluated < 0:
                self.console.begin(step)
                when = f"step {step + 1}" if step else "the first step"
                self.preemption.finishing = f"the evaluation before {when}"
                self._evaluate(state, step, {}, progression)
                progression.before = progression.after
            self.console.begin(step)
            if step and progression.health.is_sound:
                # The checkpoint that the run goes on from.
                progression.health.sound = step
            asked = self.preemption.agreed()
            # A run that was killed between its end and its summary has still ended.
            ended = step > 0 and self.early_stop.is_reached(progression)
            while not (asked or ended) and step < self.steps:
                state = self._step(state, step, progression, compilations)
                step += 1
                asked = self.preemption.agreed()
                ended = self.early_stop.is_reached(progression)
                last = asked or ended or step == self.steps
                self.console(f"saving step {step}")
                self._save(state, step, progression, force=last)
        self.console("waiting for the checkpoint to be written")
        self.checkpoints.wait()
        # A request that came during the last step changes nothing.
        return Outcome(state, step, ended or step >= self.steps, progression)

    def _step(
        self,
        state: TrainState,
        number: int,
        progression: Progression,
        compilations: CompilationCounter,
    ) -> TrainState:
        """Does, logs and checks step ``number``, from 0, and evaluates after it if due."""
        self.preemption.finishing = f"step {number + 1}"
        start = time.perf_counter()
        step = number + 1
        # What no program's call has told; reading the statistics waits for the update.
        with explained_memory(f"step {step}"):
            result = self.stepper.step(number, state)
            state = result.state
            stats, skipped = jax.device_get((dict(result.stats), state.skipped_in_a_row))
        seconds = time.perf_counter() - start
        progression.seconds += seconds
        metrics = {
            **result.metrics,
            **{name: float(value) for name, value in stats.items() if name != "tokens"},
            **self._speed(result, seconds),
            "perf/compilations": compilations.take(),
        }
        self.record(step, result.records)
        if self.evaluate and (step % self.evaluate_every == 0 or step == self.steps):
            self._evaluate(state, step, metrics, progression)
        else:
            self.write(step, metrics)
        self.console.step(step, metrics)
        self._check(step, int(skipped), metrics.get("policy/logprob_gap_max", 0.0))
        progression.health.see(metrics)
        # Checkpoints must hold the same values on all hosts.
        told = [progression.seconds, asdict(progression.health)]
        progression.seconds, health = gather(told, f"the end of step {step}")[0]
        progression.health = Health(**health)
        progression.health.check(step, self.early_stop.ruined)
        return state

    def _evaluate(
        self, state: TrainState, step: int, metrics: dict[str, float], progression: Progression
    ) -> None:
        """Evaluates, and logs the result with the other metrics of the step."""
        assert self.evaluate is not None
        start = time.perf_counter()
        self.console("evaluating")
        report = self.evaluate(self.stepper.policy(state))
        self.keep(step, report)
        metrics |= report.metrics()
        metrics["perf/evaluation_seconds"] = time.perf_counter() - start
        progression.after, progression.evaluated = report.summary(), step
        self._compare(step, metrics.get("eval/accuracy"), progression)
        self.write(step, metrics)

    def _compare(self, step: int, accuracy: float | None, progression: Progression) -> None:
        """Compares an evaluation with the best one so far."""
        if accuracy is None:
            logger.warning(
                "step %d: no held-out answer could be graded (eval/unscored), so that the "
                "evaluation has no accuracy and does not count; look at reward.deadline, and at "
                "the answers of data.held_out",
                step,
            )
            return
        better = accuracy > progression.best
        progression.since_best = 0 if better else progression.since_best + 1
        progression.best = max(accuracy, progression.best)

    def _save(self, state: TrainState, step: int, progression: Progression, *, force: bool) -> None:
        host = {"stepper": self.stepper.host_state(), "progression": asdict(progression)}
        # An older evaluation does not describe this step, and one without grades has no accuracy.
        metric = progression.after.get("accuracy") if progression.evaluated == step else None
        health = progression.health
        protected = () if health.is_sound or health.sound is None else (health.sound,)
        saved = self.checkpoints.save(
            step, state, host, metric=metric, force=force, protected=protected
        )
        if saved and health.is_sound:
            health.sound = step
        if saved:
            give_back_memory()

    def _check(self, step: int, skipped: int, gap: float) -> None:
        if skipped >= self.max_skipped:
            raise FloatingPointError(
                f"step {step}: {skipped} updates in a row were not finite "
                "(optimizer.max_skipped); the last checkpoint is from before them, or holds the "
                "parameters that they left as they were"
            )
        if self.max_logprob_gap is not None and not gap <= self.max_logprob_gap:
            raise ValueError(
                f"step {step}: sampler and trainer disagree on a token's log-probability by {gap}, "
                f"more than learner.max_logprob_gap = {self.max_logprob_gap}"
            )
        self.stepper.check()

    def _speed(self, result: StepResult, seconds: float) -> dict[str, float]:
        tokens = result.metrics["rollout/tokens"]
        drawn = ("perf/rollout_seconds", "perf/reward_seconds", "perf/reshard_seconds")
        return {
            "perf/step_seconds": seconds,
            "perf/update_seconds": seconds - sum(result.metrics.get(n, 0.0) for n in drawn),
            **self.throughput.metrics(tokens, result.operations, seconds),
        }
