"""A step of reinforcement learning: collect a batch, update on it."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
from flax import nnx

from perl_jax.activity import Activity, silent
from perl_jax.data.pipeline.pipeline import Pipeline
from perl_jax.experience.collect import Collector
from perl_jax.experience.past import Past
from perl_jax.experience.rollout_copy import RolloutCopy
from perl_jax.models import Policy
from perl_jax.training.loop import Stepper, StepResult
from perl_jax.types import TrainBatch
from perl_jax.update.learner import Learner
from perl_jax.update.state import TrainState

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Reinforce(Stepper):
    """The stepper of reinforcement learning.

    Attributes:
        pipeline: The source of the collector's examples.
        copy: Copies the policy to the mesh of rollouts; None if they use the update's mesh.
        activity: Hears what the update is at.
        past: What the steps so far tell the next one.
    """

    learner: Learner
    collector: Collector
    pipeline: Pipeline
    copy: RolloutCopy | None = None
    activity: Activity = silent
    past: Past = field(default_factory=Past)
    _told_of_fewer: bool = field(default=False, init=False)

    def policy(self, state: TrainState) -> Policy:
        """The policy of a state, on the mesh of rollouts."""
        model = super().policy(state)
        return model if self.copy is None else self.copy(model)

    def step(self, number: int, state: TrainState) -> StepResult:
        """Collects a batch and updates on it; a batch without a gradient changes nothing."""
        policy, seconds = self._timed_policy(state)
        key = jax.random.fold_in(state.key, number)
        collected = self.collector.collect(policy, number, key, self.past)
        self.past = collected.past
        # Frees the copy's memory for the update.
        del policy
        stats: Mapping[str, jax.Array] = {}
        operations = collected.operations
        if collected.batch is not None:
            operations += self.learner.operations(collected.batch)
            self._tell_of_fewer(number, collected.batch)
            state, stats = self.learner.reinforce(state, collected.batch, self.activity)
        metrics = collected.metrics | seconds | self.pipeline.metrics()
        if not stats:
            metrics["update/applied"] = 0.0
        return StepResult(state, metrics, stats, operations, collected.records)

    def check(self) -> None:
        """Raises ValueError if too many steps in a row had no informative group."""
        self.past.check(self.collector.filtering)

    def host_state(self) -> dict[str, Any]:
        """The position in the data, and what the next step has to know of the last ones."""
        return {**super().host_state(), "past": self.past.state()}

    def restore(self, host: dict[str, Any]) -> None:
        """Resumes from a `host_state`; an older checkpoint may lack the past."""
        super().restore(host)
        self.past = Past.of(host["past"]) if "past" in host else Past()

    def _timed_policy(self, state: TrainState) -> tuple[Policy, dict[str, float]]:
        """The policy for rollouts, and the time of its copy."""
        if self.copy is None:
            return self.policy(state), {}
        jax.block_until_ready(state)
        start = time.perf_counter()
        policy = self.policy(state)
        jax.block_until_ready(nnx.state(policy))
        return policy, {"perf/reshard_seconds": time.perf_counter() - start}

    def _tell_of_fewer(self, number: int, batch: TrainBatch) -> None:
        """Says, the first time, that a batch makes fewer updates than were asked for."""
        made, asked = self.learner.num_updates(batch), self.learner.config.updates_of_step
        if made < asked and not self._told_of_fewer:
            self._told_of_fewer = True
            logger.info(
                "step %d: %d of %d updates, as so few of its groups have a gradient; "
                "update/applied counts them, and this is said once",
                number + 1,
                made,
                asked,
            )
