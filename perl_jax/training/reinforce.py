"""A step of reinforcement learning: collect a batch, update on it."""

import hashlib
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from perl_jax.data.pipeline.pipeline import Pipeline
from perl_jax.experience.collect import Collector
from perl_jax.experience.rollout_copy import RolloutCopy
from perl_jax.training.loop import StepResult
from perl_jax.update.learner import Learner
from perl_jax.update.state import TrainState

_TOTALS = ("filter/drawn", "filter/kept", "filter/too_easy", "filter/too_hard", "filter/unscored")


class Reinforce:
    """The stepper of reinforcement learning.

    Args:
        learner: Updates the policy.
        collector: Makes batches.
        pipeline: What the collector draws its examples from.
        copy: Puts the policy where rollouts want it; None: it lies right.
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
        self.totals: Counter[str] = Counter()

    def start(self, state: TrainState) -> None:
        """Gives the sampler the policy of a state."""
        model = self.learner.model(state)
        self.collector.sampler.model = model if self.copy is None else self.copy(model)

    def step(self, number: int, state: TrainState) -> StepResult:
        """Collects and updates; a batch in which nothing informs changes nothing."""
        collected = self.collector.collect(number, jax.random.fold_in(state.key, number))
        stats: Mapping[str, jax.Array] = {}
        operations = collected.operations
        if collected.batch is not None:
            operations += self.learner.operations(collected.batch)
            # A copy that was drawn with makes room.
            self.collector.sampler.model = self.learner.model(state)
            state, stats = self.learner.reinforce(state, collected.batch)
        metrics = collected.metrics | self._hand_over(state)
        self.totals.update({name: int(metrics[name]) for name in _TOTALS})
        metrics |= self.pipeline.metrics()
        return StepResult(state, metrics, stats, operations, _as_json(collected.record))

    def _hand_over(self, state: TrainState) -> dict[str, float]:
        """Gives the sampler the new policy; how long the copy took."""
        if self.copy is None:
            self.start(state)
            return {}
        jax.block_until_ready(state)
        start = time.perf_counter()
        self.start(state)
        jax.block_until_ready(nnx.split(self.collector.sampler.model)[1])
        return {"perf/reshard_seconds": time.perf_counter() - start}

    def host_state(self) -> dict[str, Any]:
        """The position in the data, and what the filter has done so far."""
        return {"data": self.pipeline.state(), "filter": dict(self.totals)}

    def restore(self, host: dict[str, Any]) -> None:
        """Goes on from there."""
        self.pipeline.restore(host["data"])
        self.totals = Counter(host["filter"])


def _as_json(record: dict[str, Any]) -> dict[str, Any]:
    """The record of a step: what was drawn, tokens as a digest."""
    tokens = np.ascontiguousarray(record["tokens"])
    held = np.arange(tokens.shape[-1]) < record["lengths"][..., None]
    digest = hashlib.sha256(np.where(held, tokens, -1).tobytes()).hexdigest()
    return {
        "ids": record["ids"],
        "orders": record["orders"],
        "kept": record["kept"],
        "reward": np.round(record["reward"].astype(float), 6).tolist(),
        "tokens_sha256": digest,
        "first_response": record["first_response"],
    }
