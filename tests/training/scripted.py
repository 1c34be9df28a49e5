"""Scripted parts of a run: a stepper whose steps are written down, and what a loop writes to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from perl_jax.training.display.console import Console
from perl_jax.training.display.throughput import Throughput
from perl_jax.training.loop import EarlyStop, Loop, StepResult
from perl_jax.update.state import TrainState


def state_of(number: int, skipped: int = 0) -> TrainState:
    """The state after so many steps."""
    return TrainState({"number": np.array(number)}, (), jax.random.key(7), np.array(skipped))


def number_of(state: TrainState) -> int:
    return int(state.params["number"])


class Stepper:
    """Steps of which each adds 1 to the state.

    Attributes:
        stats: What a step's update says, by the number of the step from 0.
        skipped: How many updates in a row were skipped after it.
        fails_after: The steps after which its check fails.
    """

    def __init__(
        self,
        stats: Mapping[int, Mapping[str, float]] | None = None,
        skipped: Mapping[int, int] | None = None,
        fails_after: int | None = None,
    ) -> None:
        self.fails_after = fails_after
        self.stats, self.skipped = stats or {}, skipped or {}
        self.steps: list[int] = []

    def policy(self, state: TrainState) -> str:
        return f"policy {number_of(state)}"

    def step(self, number: int, state: TrainState) -> StepResult:
        assert number_of(state) == number
        self.steps.append(number)
        stats = {name: np.array(value) for name, value in self.stats.get(number, {}).items()}
        metrics = {"rollout/tokens": 10.0, "reward/mean": 0.5, "perf/rollout_seconds": 0.0}
        after = state_of(number + 1, self.skipped.get(number, 0))
        return StepResult(after, metrics, stats, 100, [{"id": str(number)}])

    def check(self) -> None:
        if len(self.steps) == self.fails_after:
            raise ValueError(f"{len(self.steps)} steps are enough")

    def host_state(self) -> dict[str, Any]:
        return {"data": len(self.steps)}


@dataclass
class Saved:
    """Takes what a loop saves."""

    steps: list[int] = field(default_factory=list)
    metrics: dict[int, float | None] = field(default_factory=dict)
    forced: list[int] = field(default_factory=list)
    hosts: dict[int, Any] = field(default_factory=dict)
    waited: int = 0
    protected: list[tuple[int, ...]] = field(default_factory=list)

    def save(
        self, step: int, arrays: Any, host: Any, *, metric: Any, force: bool, protected: Any
    ) -> bool:
        assert number_of(arrays) == step
        self.protected.append(tuple(protected))
        self.steps.append(step)
        self.metrics[step], self.hosts[step] = metric, host
        self.forced += [step] * force
        return True

    def wait(self) -> None:
        self.waited += 1


class Report:
    """An evaluation with this accuracy; None: nothing could be graded."""

    def __init__(self, accuracy: float | None) -> None:
        self._known = {} if accuracy is None else {"accuracy": accuracy}

    def metrics(self) -> dict[str, float]:
        return {f"eval/{name}": value for name, value in self._known.items()}

    def summary(self) -> dict[str, float]:
        return self._known


@dataclass
class Scripted:
    """A loop and all that it tells.

    Attributes:
        accuracies: What evaluations find, in turn, None: no grade; None: nothing is held out.
        stopped_after: The step after which the run is asked to stop.
        rows: The metrics that were logged, by step.
        evaluated: The policies that were evaluated.
        recorded: The steps whose records were written.
        kept: The steps after which answers of an evaluation were kept.
        finishing: What would be finished now if the run were asked to stop.
    """

    stepper: Stepper = field(default_factory=Stepper)
    accuracies: Sequence[float | None] | None = None
    stopped_after: int | None = None
    saved: Saved = field(default_factory=Saved)
    rows: dict[int, dict[str, float]] = field(default_factory=dict)
    evaluated: list[str] = field(default_factory=list)
    recorded: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    finishing: str = ""

    def loop(self, **changes: Any) -> Loop:
        """A loop of four steps, evaluated after every second one."""
        loop = Loop(
            stepper=self.stepper,
            checkpoints=self.saved,
            write=lambda step, metrics: self.rows.update({step: dict(metrics)}),
            console=Console(4, enabled=False),
            preemption=self,
            steps=4,
            evaluate=None if self.accuracies is None else self._evaluate,
            evaluate_every=2,
            early_stop=EarlyStop(),
            record=lambda step, rows: self.recorded.append(step),
            keep=lambda step, report: self.kept.append(step),
            max_skipped=3,
            max_logprob_gap=None,
            throughput=Throughput(1, 1e12),
        )
        return replace(loop, **changes)

    def agreed(self) -> bool:
        return len(self.stepper.steps) == self.stopped_after

    def _evaluate(self, policy: str) -> Report:
        assert self.accuracies is not None
        self.evaluated.append(policy)
        return Report(self.accuracies[len(self.evaluated) - 1])
