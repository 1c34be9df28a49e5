"""Collects a step's batch: draws, permutes, samples, grades and filters until it is full."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from perl_jax.activity import Activity, silent
from perl_jax.data.pipeline.pipeline import Taken
from perl_jax.experience.album import Album
from perl_jax.experience.config import GroupFilterConfig, PermutationConfig, RolloutConfig
from perl_jax.experience.draws import Draw, Graded, in_order, rollout_metrics
from perl_jax.experience.groups import GroupMaker
from perl_jax.experience.past import Past
from perl_jax.experience.records import outcomes_of, records_of
from perl_jax.experience.rewarded import decode_rollouts, reward_rollouts
from perl_jax.experience.stream import run_stream
from perl_jax.filtering import Refill
from perl_jax.mesh import BatchSharding
from perl_jax.models import Policy
from perl_jax.objectives import Objective
from perl_jax.permutation import Orders, permutation_metrics, permutation_rate
from perl_jax.rewards import Rewarder
from perl_jax.rollout import Group, Rollouts, Sampler
from perl_jax.types import Responses, TrainBatch


@dataclass(frozen=True, eq=False)
class Collected:
    """The result of one step's draw.

    Attributes:
        batch: The batch for the update, of the groups that inform; None if there is none.
        metrics: Metrics by their names in the logs.
        operations: The least floating-point operations of the draw, without surplus.
        records: What was asked and said, as JSON: a row for each group.
        past: What the next step has to know.
    """

    batch: TrainBatch | None
    metrics: dict[str, float]
    operations: int
    records: list[dict[str, Any]]
    past: Past


@dataclass(frozen=True, eq=False)
class Collector:
    """Makes the batches of a run.

    Attributes:
        sampler: Draws responses; has the processor.
        take: Gives the next n prepared examples, see `Pipeline.take_ahead`.
        put_back: Gives back the last n of them, see `Pipeline.put_back`.
        rewarder: Computes rewards.
        operations: Counts the operations of a forward pass over groups and responses.
        rollout: Sampling settings.
        permutation: Settings of the permuted orders.
        filtering: Settings of the group filter.
        objective: Turns rewards into advantages.
        response_lengths: The ladder that batches are padded to, in tokens.
        seed: The run's seed.
        total_steps: The run's number of steps.
        sharding: The hosts that hold each example; by default, a single one.
        recorded: The most groups of a step that this host makes records of; None: all.
        album: Keeps copies of the pictures of the first groups of a step; None: nothing does.
        pictured: The number of these groups; None: all.
        activity: Hears what a step is at.
    """

    sampler: Sampler
    take: Callable[[int], Taken]
    put_back: Callable[[int], None]
    rewarder: Rewarder
    operations: Callable[[Sequence[Group], Responses], int]
    rollout: RolloutConfig
    permutation: PermutationConfig
    filtering: GroupFilterConfig
    objective: Objective
    response_lengths: tuple[int, ...]
    seed: int
    total_steps: int
    sharding: BatchSharding = field(default_factory=BatchSharding)
    recorded: int | None = None
    album: Album | None = None
    pictured: int | None = None
    activity: Activity = silent

    @property
    def most_pictured(self) -> int:
        """The most groups of a step whose pictures are kept."""
        return sys.maxsize if self.pictured is None else self.pictured

    def collect(
        self, model: Policy, step: int, key: jax.Array, past: Past | None = None
    ) -> Collected:
        """Draws groups until enough of them inform; the next step begins after the last of these.

        The result is a function of the arguments, the data and the seed; only the times, the decode
        steps and the surplus depend on how the work is cut.

        Args:
            model: The policy.
            step: The number of the step, from 0.
            key: The step's key.
            past: What the steps before found; None: there were none.
        """
        past = past or Past()
        drawing = _Drawing(self, model, step, key)
        refill = drawing.run(past)
        self.put_back(refill.surplus)
        drawn = drawing.result(refill.drawn)
        batch = None
        if refill.kept:
            batch = batch_of(drawn, refill.indices, self.objective, self.rollout.groups)
        metrics = {
            "permutation/rate": drawing.rate,
            **permutation_metrics(drawn.orders),
            **refill.metrics(),
            "filter/pass_rate": past.pass_rate.mean,
            "filter/empty": float(batch is None),
            **rollout_metrics(drawn),
        }
        advantages = {}
        if batch is not None:
            metrics["advantage/std"] = float(batch.advantages[batch.mask.any(-1)].std())
            advantages = dict(zip(refill.indices, batch.advantages, strict=True))
        outcomes, decode = outcomes_of(refill), self.sampler.processor.decode
        records = records_of(drawn, outcomes, advantages, decode, self.recorded)
        if self.album is not None:
            for group in drawn.groups[: self.most_pictured]:
                self.album.add(group.images)
            self.album.write()
        responses = Responses(drawn.rollouts.tokens, drawn.rollouts.lengths)
        operations = self.operations(drawn.groups, responses)
        return Collected(batch, metrics, operations, records, past.after(refill))


class _Drawing:
    """The groups of one step, on their way through a collector's parts."""

    def __init__(self, collector: Collector, model: Policy, step: int, key: jax.Array) -> None:
        self._of, self._start = collector, time.perf_counter()
        rollout, permutation = collector.rollout, collector.permutation
        self.rate = permutation_rate(step, collector.total_steps, permutation.schedule)
        self._make = GroupMaker(
            collector.sampler.processor,
            permutation,
            collector.sharding,
            collector.seed,
            step,
            self.rate,
        )
        self._sampling = collector.sampler.start(
            model,
            num_rollouts=rollout.num_rollouts,
            max_new_tokens=rollout.max_new_tokens,
            strategy=rollout.strategy(),
            key=key,
            most_orders=rollout.groups * (1 + permutation.num_orders),
            activity=collector.activity,
        )
        self._orders: list[Orders] = []
        self._groups: list[Group] = []
        self._graded: list[Graded] = []
        self._reward_seconds = 0.0

    def run(self, past: Past) -> Refill:
        """Draws until the batch is known."""
        one = self._of
        refill = one.filtering.refill(one.rollout.groups)
        return run_stream(
            self._sampling, self._draw, self._judge, refill, past.pass_rate, one.activity
        )

    def result(self, count: int) -> Draw:
        """The first ``count`` groups; the others are surplus."""
        seconds = time.perf_counter() - self._start
        return in_order(
            self._graded,
            self._orders[:count],
            self._groups[:count],
            1 + self._of.permutation.num_orders,
            self._of.response_lengths,
            {
                "perf/decode_steps": self._sampling.stats.get("decode_steps", 0),
                "perf/rollout_seconds": seconds - self._reward_seconds,
                "perf/reward_seconds": self._reward_seconds,
            },
        )

    def _draw(self, first: int, count: int) -> Sequence[Group]:
        orders, groups = self._make(first, self._of.take(count))
        if self._of.album is not None:
            # Those that no draw ends before; their pictures are copied beside the decoding.
            sure = min(self._of.rollout.groups, self._of.most_pictured)
            for group in groups[: max(0, sure - first)]:
                self._of.album.add(group.images)
        self._orders += orders
        self._groups += groups
        return groups

    def _judge(self, refill: Refill, numbers: Sequence[int], rollouts: Rollouts) -> Refill:
        start, sharding = time.perf_counter(), self._of.sharding
        feeds = [self._groups[number].feed for number in numbers]
        here = [sharding.is_leader and feed in (None, sharding.own_feed) for feed in feeds]
        texts = decode_rollouts(self._of.sampler.processor.decode, rollouts, np.array(here))
        orders = [self._orders[number] for number in numbers]
        rewards = reward_rollouts(self._of.rewarder, orders, rollouts, texts)
        self._graded.append(Graded(numbers, rollouts, rewards, texts))
        self._reward_seconds += time.perf_counter() - start
        return refill.judge(numbers, _pooled(rewards.accuracy), _pooled(rewards.scored))


def batch_of(drawn: Draw, indices: Sequence[int], objective: Objective, most: int) -> TrainBatch:
    """The batch of the drawn groups with these indices, at most ``most``.

    Rollouts without a grade have no tokens in the mask and do not count in the advantages of their
    group.
    """
    chosen = list(indices)
    rollouts, rewards = drawn.rollouts, drawn.rewards.reward[chosen]
    scored = drawn.rewards.scored[chosen]
    # Of one shape, whatever the number of groups, so that this compiles once.
    padding = [(0, most - len(chosen)), (0, 0), (0, 0)]
    padded = (jax.device_put(np.pad(array, padding)) for array in (rewards, scored))
    advantages = np.asarray(objective.advantages(*padded))[: len(chosen)]
    return TrainBatch(
        groups=tuple(drawn.groups[number] for number in chosen),
        tokens=rollouts.tokens[chosen],
        lengths=rollouts.lengths[chosen],
        logprobs=rollouts.logprobs[chosen],
        rewards=rewards,
        advantages=advantages,
        mask=rollouts.mask[chosen] & scored[..., None],
    )


def _pooled(values: np.ndarray) -> np.ndarray:
    """Flattens ``[b, K, N]`` to ``[b, G]``."""
    return values.reshape(len(values), -1)
