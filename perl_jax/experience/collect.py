"""Collects a step's batch: draws, permutes, samples, grades and filters until it is full."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import numpy as np

from perl_jax.buckets import Ladder
from perl_jax.data.pipeline.pipeline import Taken
from perl_jax.experience.config import GroupFilterConfig, PermutationConfig, RolloutConfig
from perl_jax.experience.draws import Draw, concatenate, padded, record_of, rollout_metrics
from perl_jax.experience.rewarded import reward_rollouts
from perl_jax.mesh import BatchSharding
from perl_jax.models import Policy
from perl_jax.objectives import Objective
from perl_jax.permutation import (
    Orders,
    Rules,
    orders_for,
    permutation_metrics,
    permutation_rate,
    rule_for,
    rules_from_config,
)
from perl_jax.processing import Processor
from perl_jax.rewards import Rewarder
from perl_jax.rollout import Group, Sampler, Strategy
from perl_jax.types import Example, Responses, TrainBatch, prompt_of
from perl_jax.update.exchange import gather_groups


@dataclass(frozen=True, eq=False)
class Collected:
    """The result of one step's draws.

    Attributes:
        batch: The batch for the update; None if no group informs.
        metrics: Metrics by their names in the logs.
        operations: The least floating-point operations of the draws.
        record: What was drawn, as JSON.
    """

    batch: TrainBatch | None
    metrics: dict[str, float]
    operations: int
    record: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Collector:
    """Makes the batches of a run.

    Attributes:
        sampler: Draws responses; has the processor.
        take: Gives the next n prepared examples, see `Pipeline.take`.
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
    """

    sampler: Sampler
    take: Callable[[int], Taken]
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

    @cached_property
    def _rules(self) -> Rules:
        return rules_from_config(self.permutation.rules)

    def collect(self, model: Policy, step: int, key: jax.Array) -> Collected:
        """Draws groups until enough of them inform. The key is the step's; steps count from 0."""
        rate = permutation_rate(step, self.total_steps, self.permutation.schedule)
        refill = self.filtering.refill(self.rollout.groups)
        draws: list[Draw] = []
        while not refill.done:
            taken = self.take(refill.next_draw)
            draw = self._draw(model, step, rate, key, refill.drawn, taken)
            refill = refill.add(_pooled(draw.rewards.accuracy), _pooled(draw.rewards.scored))
            draws.append(draw)
        drawn = concatenate(draws)
        indices, real = refill.batch()
        batch = batch_of(drawn, indices, real, self.objective) if real.any() else None
        metrics = {
            "permutation/rate": rate,
            **permutation_metrics(drawn.orders),
            **refill.metrics(),
            **rollout_metrics(drawn),
        }
        if batch is not None:
            metrics["advantage/std"] = float(batch.advantages[batch.mask.any(-1)].std())
        rollouts, record = drawn.rollouts, record_of(drawn, indices[real])
        first = rollouts.tokens[0, 0, 0, : rollouts.lengths[0, 0, 0]]
        record["first_response"] = self.sampler.processor.decode(first)
        operations = self.operations(drawn.groups, Responses(rollouts.tokens, rollouts.lengths))
        return Collected(batch, metrics, operations, record)

    def _groups(
        self, step: int, rate: float, first: int, taken: Taken
    ) -> tuple[list[Orders], list[Group]]:
        """The orders and prompts of all examples of a draw, on all hosts.

        ``first`` is the number of examples that the step has drawn before.
        """
        held = [None if one is None else self._orders(step, rate, one) for one in taken.examples]
        # An example may come twice in one step; its number keeps its streams apart.
        encoded = [
            None
            if one is None
            else encode_group(f"{first + n}/{one.examples[0].id}", one, self.sampler.processor)
            for n, one in enumerate(held)
        ]
        told = [None if one is None else _note(one) for one in held]
        groups, notes = gather_groups(encoded, told, self.sharding, taken.feeds)
        return [one or _of_note(note) for one, note in zip(held, notes, strict=True)], groups

    def _orders(self, step: int, rate: float, example: Example) -> Orders:
        return orders_for(
            example,
            rule_for(example, rules=self._rules, unknown=self.permutation.unknown),
            seed=self.seed,
            step=step,
            rate=rate if self.permutation.num_orders else 0.0,
            num_orders=self.permutation.num_orders,
        )

    def _draw(
        self, model: Policy, step: int, rate: float, key: jax.Array, first: int, taken: Taken
    ) -> Draw:
        start = time.perf_counter()
        orders, groups = self._groups(step, rate, first, taken)
        rollouts = self.sampler.sample(
            model,
            groups,
            num_rollouts=self.rollout.num_rollouts,
            max_new_tokens=self.rollout.max_new_tokens,
            strategy=Strategy(temperature=self.rollout.temperature),
            key=key,
        )
        ladder = Ladder("response_lengths", self.response_lengths)
        length = ladder.fit(rollouts.tokens.shape[-1], "response length")
        rollouts = padded(rollouts, 1 + self.permutation.num_orders, length)
        sampled = time.perf_counter()
        sharding = self.sharding
        here = [sharding.is_leader and group.feed in (None, sharding.own_feed) for group in groups]
        rewards = reward_rollouts(
            self.rewarder, self.sampler.processor.decode, orders, rollouts, np.array(here)
        )
        seconds = {
            "perf/rollout_seconds": sampled - start,
            "perf/reward_seconds": time.perf_counter() - sampled,
        }
        return Draw(orders, groups, rollouts, rewards, seconds)


def batch_of(
    drawn: Draw, indices: np.ndarray, real: np.ndarray, objective: Objective
) -> TrainBatch:
    """The batch of the drawn groups with these indices, int ``[B]``.

    Groups that are not ``real``, bool ``[B]``, and rollouts without a grade have no tokens in the
    mask and do not count in the advantages of their group.
    """
    rollouts, reward = drawn.rollouts, drawn.rewards.reward[indices]
    counts = drawn.rewards.scored[indices] & real[:, None, None]
    advantages = objective.advantages(
        jax.device_put(_pooled(reward)), jax.device_put(_pooled(counts))
    )
    return TrainBatch(
        groups=tuple(drawn.groups[n] for n in indices),
        tokens=rollouts.tokens[indices],
        lengths=rollouts.lengths[indices],
        logprobs=rollouts.logprobs[indices],
        advantages=np.asarray(advantages).reshape(reward.shape),
        mask=rollouts.mask[indices] & counts[..., None],
    )


def _pooled(values: np.ndarray) -> np.ndarray:
    """Flattens ``[b, K, N]`` to ``[b, G]``."""
    return values.reshape(len(values), -1)


def encode_group(id: str, orders: Orders, processor: Processor) -> Group:
    """Encodes an example under its orders."""
    prompts = [processor.encode(prompt_of(one), one.images) for one in orders.examples]
    return Group.of(id, prompts)


def _note(one: Orders) -> list[Any]:
    """The facts about an example that all hosts need besides prompts, as JSON."""
    example = one.examples[0]
    return [example.id, example.source, one.orders.tolist(), one.drawn, one.reason]


def _of_note(note: Sequence[Any]) -> Orders:
    """The orders of an example of another host, without text and images."""
    id, source, orders, drawn, reason = note
    named = Example(id, source, question="", images=(), answer="")
    return Orders(np.array(orders, np.int64), (named,) * len(orders), drawn, reason)
