"""Collects a step's batch: draws, permutes, samples, grades and filters until it is full."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import numpy as np

from perl_jax.activity import Activity, silent
from perl_jax.buckets import Ladder
from perl_jax.data.pipeline.pipeline import Taken
from perl_jax.experience.album import Album
from perl_jax.experience.config import GroupFilterConfig, PermutationConfig, RolloutConfig
from perl_jax.experience.draws import Draw, concatenate, padded, rollout_metrics
from perl_jax.experience.records import digests, outcomes_of, records_of
from perl_jax.experience.rewarded import decode_rollouts, reward_rollouts
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
from perl_jax.rollout import Group, Sampler
from perl_jax.types import (
    Example,
    ImagePatches,
    Responses,
    TrainBatch,
    conversation_text,
    prompt_of,
)
from perl_jax.update.exchange import gather_groups


@dataclass(frozen=True, eq=False)
class Collected:
    """The result of one step's draws.

    Attributes:
        batch: The batch for the update; None if no group informs.
        metrics: Metrics by their names in the logs.
        operations: The least floating-point operations of the draws.
        records: What was asked and said, as JSON: a row for each group.
    """

    batch: TrainBatch | None
    metrics: dict[str, float]
    operations: int
    records: list[dict[str, Any]]


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
        recorded: The most groups of a step that this host makes records of; None: all.
        album: Keeps copies of the pictures of the first groups of a step; None: nothing does.
        pictured: The number of these groups; None: all.
        activity: Hears what a step is at.
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
    recorded: int | None = None
    album: Album | None = None
    pictured: int | None = None
    activity: Activity = silent

    @cached_property
    def _rules(self) -> Rules:
        return rules_from_config(self.permutation.rules)

    def collect(self, model: Policy, step: int, key: jax.Array) -> Collected:
        """Draws groups until enough of them inform. The key is the step's; steps count from 0."""
        rate = permutation_rate(step, self.total_steps, self.permutation.schedule)
        refill = self.filtering.refill(self.rollout.groups)
        draws: list[Draw] = []
        while not refill.done:
            self.activity("waiting for rows")
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
        advantages = (
            {} if batch is None else dict(zip(indices[real], batch.advantages, strict=False))
        )
        outcomes, decode = outcomes_of(drawn, refill), self.sampler.processor.decode
        records = records_of(drawn, outcomes, advantages, decode, self.recorded)
        if self.album is not None:
            self.album.write()
        responses = Responses(drawn.rollouts.tokens, drawn.rollouts.lengths)
        return Collected(batch, metrics, self.operations(drawn.groups, responses), records)

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
        if self.album is not None:
            pictured = len(groups) if self.pictured is None else max(0, self.pictured - first)
            for group in groups[:pictured]:
                self.album.add(group.images)
        rollouts = self.sampler.sample(
            model,
            groups,
            num_rollouts=self.rollout.num_rollouts,
            max_new_tokens=self.rollout.max_new_tokens,
            strategy=self.rollout.strategy(),
            key=key,
            most_orders=self.rollout.groups * (1 + self.permutation.num_orders),
            activity=self.activity,
        )
        ladder = Ladder("response_lengths", self.response_lengths)
        length = ladder.fit(rollouts.tokens.shape[-1], "response length")
        rollouts = padded(rollouts, 1 + self.permutation.num_orders, length)
        sampled = time.perf_counter()
        sharding = self.sharding
        here = [sharding.is_leader and group.feed in (None, sharding.own_feed) for group in groups]
        self.activity("grading")
        texts = decode_rollouts(self.sampler.processor.decode, rollouts, np.array(here))
        rewards = reward_rollouts(self.rewarder, orders, rollouts, texts)
        seconds = {
            "perf/rollout_seconds": sampled - start,
            "perf/reward_seconds": time.perf_counter() - sampled,
        }
        return Draw(orders, groups, rollouts, rewards, texts, seconds)


def batch_of(
    drawn: Draw, indices: np.ndarray, real: np.ndarray, objective: Objective
) -> TrainBatch:
    """The batch of the drawn groups with these indices, int ``[B]``.

    Groups that are not ``real``, bool ``[B]``, and rollouts without a grade have no tokens in the
    mask and do not count in the advantages of their group.
    """
    rollouts, reward = drawn.rollouts, drawn.rewards.reward[indices]
    counts = drawn.rewards.scored[indices] & real[:, None, None]
    advantages = objective.advantages(jax.device_put(reward), jax.device_put(counts))
    return TrainBatch(
        groups=tuple(drawn.groups[n] for n in indices),
        tokens=rollouts.tokens[indices],
        lengths=rollouts.lengths[indices],
        logprobs=rollouts.logprobs[indices],
        rewards=reward,
        advantages=np.asarray(advantages),
        mask=rollouts.mask[indices] & counts[..., None],
    )


def _pooled(values: np.ndarray) -> np.ndarray:
    """Flattens ``[b, K, N]`` to ``[b, G]``."""
    return values.reshape(len(values), -1)


def encode_group(id: str, orders: Orders, processor: Processor) -> Group:
    """Encodes an example under its orders."""
    prompts = [processor.encode(prompt_of(one), one.images) for one in orders.examples]
    return Group.of(id, prompts)


def _note(one: Orders) -> str:
    """The facts about an example that all hosts need besides prompts, as JSON.

    The texts are for the record, and shorter than the prompts that are sent with them.
    """
    own = one.examples[0]
    asked = [[conversation_text(example), example.answer] for example in one.examples]
    facts = [own.id, own.source, digests(own), asked, one.orders.tolist(), one.drawn, one.reason]
    return json.dumps(facts)


def _of_note(note: str) -> Orders:
    """The orders of an example of another host; its images have names alone."""
    id, source, names, asked, orders, drawn, reason = json.loads(note)
    images = tuple(ImagePatches(np.empty((0, 0), np.float32), (0, 0), digest=n) for n in names)
    examples = tuple(Example(id, source, text, images, answer) for text, answer in asked)
    return Orders(np.array(orders, np.int64), examples, drawn, reason)
