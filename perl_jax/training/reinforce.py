"""A step of reinforcement learning: collect a batch, update on it."""

import time
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from perl_jax.data.pipeline.pipeline import Pipeline
from perl_jax.experience.collect import Collector
from perl_jax.experience.rollout_copy import RolloutCopy
from perl_jax.models import Policy
from perl_jax.training.loop import StepResult
from perl_jax.update.learner import Learner
from perl_jax.update.state import TrainState


class Reinforce:
    """The stepper of reinforcement learning.

    Args:
        learner: Updates the policy.
        collector: Makes batches.
        pipeline: What the collector draws its examples from.
        copy: Copies the policy to the mesh of rollouts; None where they use the update's.
    """

    def __init__(
        self,
        learner: Learner,
        collector: Collector,
        pipeline: Pipeline,
        copy: RolloutCopy | None = None,
    ) -> None:
        self.learner = learner
        self.collector = collector
        self.pipeline = pipeline
        self.copy = copy

    def policy(self, state: TrainState) -> Policy:
        """The policy of a state, on the mesh of rollouts."""
        model = self.learner.model(state)
        return model if self.copy is None else self.copy(model)

    def step(self, number: int, state: TrainState) -> StepResult:
        """Collects and updates; a batch in which nothing informs changes nothing."""
        policy, seconds = self._timed_policy(state)
        key = jax.random.fold_in(state.key, number)
        collected = self.collector.collect(policy, number, key)
        # A copy must not lie beside what the update needs.
        del policy
        stats: Mapping[str, jax.Array] = {}
        operations = collected.operations
        if collected.batch is not None:
            operations += self.learner.operations(collected.batch)
            state, stats = self.learner.reinforce(state, collected.batch)
        metrics = collected.metrics | seconds | self.pipeline.metrics()
        return StepResult(state, metrics, stats, operations, collected.record)

    def _timed_policy(self, state: TrainState) -> tuple[Policy, dict[str, float]]:
        """The policy for rollouts, and how long its copy took."""
        if self.copy is None:
            return self.policy(state), {}
        jax.block_until_ready(state)
        start = time.perf_counter()
        policy = self.policy(state)
        jax.block_until_ready(nnx.state(policy))
        return policy, {"perf/reshard_seconds": time.perf_counter() - start}

    def host_state(self) -> dict[str, Any]:
        """The position in the data."""
        return {"data": self.pipeline.state()}

    def restore(self, host: dict[str, Any]) -> None:
        """Goes on from there."""
        self.pipeline.restore(host["data"])
