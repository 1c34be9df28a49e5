"""One step's rollouts: draw examples, permute, sample, grade, filter, until the batch is full."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import jax
import numpy as np

from perl_jax import hosts
from perl_jax.buckets import Ladder
from perl_jax.data.pipeline.pipeline import Taken
from perl_jax.experience.draws import Draw, concatenate, record_of, rollout_metrics
from perl_jax.filtering import Bounds, Refill
from perl_jax.mesh import Feeds, MeshConfig
from perl_jax.objectives import Objective
from perl_jax.permutation import (
    Orders,
    Schedule,
    orders_for,
    permutation_metrics,
    permutation_rate,
    rule_for,
    rules_from_config,
)
from perl_jax.processing import Processor
from perl_jax.rewards import Rewarder, Rewards
from perl_jax.rollout import Group, Rollouts, Sampler, SamplerConfig, Strategy
from perl_jax.rollout.config import Temperature
from perl_jax.settings import Checked, Count, CountOrZero, Expects
from perl_jax.types import Example, Responses, TrainBatch, prompt_text
from perl_jax.update.exchange import share
from perl_jax.update.operations import forward_operations


@dataclass(frozen=True)
class RolloutConfig(Checked):
    """How responses are drawn.

    Attributes:
        groups: B, the informative groups of a step.
        num_rollouts: N, of every order.
        max_new_tokens: The most tokens of a response.
        temperature: Divides the logits; the update does the same.
        sampler: How work is cut.
        mesh: How the devices are laid out for it, where not as for the update: for this the policy
            is copied once a step. A tensor axis that just fits the parameters and the caches, and
            ``data`` for the rest, is fast: nothing of the weights is sent between the devices.
    """

    groups: Count = 128
    num_rollouts: Count = 6
    max_new_tokens: Count = 2048
    temperature: Temperature = 1.0
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    mesh: MeshConfig | None = None


@dataclass(frozen=True)
class PermutationConfig(Checked):
    """In which orders examples are shown.

    Attributes:
        num_orders: Permuted orders beside an example's own; 0 is plain GRPO.
        schedule: The course of the rate at which examples get them.
        rules: The user's rules by source, as `rules_from_config` reads them; they come before the
            built-in ones.
        unknown: ``error``, or ``keep`` to leave examples of an undeclared source in order.
    """

    num_orders: CountOrZero = 1
    schedule: Schedule = field(default_factory=Schedule)
    rules: Mapping[str, Any] = field(default_factory=dict)
    unknown: Annotated[Literal["error", "keep"], Expects("error or keep")] = "error"

    def _check_together(self) -> None:
        rules_from_config(self.rules)


@dataclass(frozen=True)
class FilterConfig(Checked):
    """Which groups inform.

    Attributes:
        enabled: Whether groups that do not inform are dropped and replaced.
        bounds: The mean accuracies that are kept.
        max_draws: At most so many times ``groups`` are drawn for a step.
    """

    enabled: bool = True
    bounds: Bounds = field(default_factory=Bounds)
    max_draws: Count = 4

    def refill(self, groups: int) -> Refill:
        """The state of a step's draw."""
        bounds = self.bounds if self.enabled else Bounds(0.0, 1.0, inclusive=True)
        return Refill(groups, self.max_draws * groups if self.enabled else groups, bounds)


@dataclass(frozen=True, eq=False)
class Collected:
    """One step's rollouts.

    Attributes:
        batch: What the update takes; None where no group informs.
        metrics: By their names in the logs.
        operations: Floating-point operations that drawing could not do without.
        record: What was drawn: ids, orders, tokens and rewards.
    """

    batch: TrainBatch | None
    metrics: dict[str, float]
    operations: int
    record: dict[str, Any]


class Collector:
    """Makes the batches of a run.

    Args:
        sampler: Of the policy; its model is replaced by the caller after every update.
        take: Gives the next so many prepared examples, see `Pipeline.take`.
        rewarder: Computes rewards.
        rollout: How responses are drawn.
        permutation: In which orders examples are shown.
        filtering: Which groups inform.
        objective: How rewards become advantages.
        response_lengths: The ladder that batches are padded to, in tokens.
        seed: Of the run.
        total_steps: Of the run.
        feeds: Which hosts hold which examples; None: this one all of them.
    """

    def __init__(
        self,
        sampler: Sampler,
        take: Callable[[int], Taken],
        rewarder: Rewarder,
        *,
        rollout: RolloutConfig,
        permutation: PermutationConfig,
        filtering: FilterConfig,
        objective: Objective,
        response_lengths: tuple[int, ...],
        seed: int,
        total_steps: int,
        feeds: Feeds | None = None,
    ) -> None:
        self.sampler = sampler
        self.take = take
        self.feeds = feeds or Feeds.of(None)
        self.rewarder = rewarder
        self.rollout = rollout
        self.permutation = permutation
        self.rules = rules_from_config(permutation.rules)
        self.filtering = filtering
        self.objective = objective
        self.lengths = Ladder("response_lengths", response_lengths)
        self.seed = seed
        self.total_steps = total_steps

    def collect(self, step: int, key: jax.Array) -> Collected:
        """Draws groups until enough of them inform.

        Args:
            step: From 0.
            key: Of the step.
        """
        rate = permutation_rate(step, self.total_steps, self.permutation.schedule)
        refill = self.filtering.refill(self.rollout.groups)
        seconds = {"rollout": 0.0, "reward": 0.0}
        draws: list[Draw] = []
        while not refill.done:
            taken = self.take(refill.next_draw)
            draw = self._draw(step, rate, key, refill.drawn, taken, seconds)
            draws.append(draw)
            accuracy, scored = draw.rewards["accuracy"], draw.rewards["scored"]
            shape = (len(draw.groups), -1)
            refill = refill.add(accuracy.reshape(shape), scored.reshape(shape))
        drawn = concatenate(draws)
        indices, real = refill.batch()
        batch = self._batch(drawn, indices, real) if real.any() else None
        metrics = {
            "permutation/rate": rate,
            **permutation_metrics(drawn.orders),
            **_filter_metrics(refill),
            **rollout_metrics(drawn),
            **{f"perf/{name}_seconds": value for name, value in seconds.items()},
        }
        if batch is not None:
            metrics["advantage/std"] = float(batch.advantages[batch.mask.any(-1)].std())
        record = record_of(drawn, indices[real])
        record["first_response"] = self.sampler.processor.decode(
            drawn.rollouts.tokens[0, 0, 0, : drawn.rollouts.lengths[0, 0, 0]]
        )
        return Collected(batch, metrics, self._operations(drawn), record)

    def _operations(self, drawn: Draw) -> int:
        responses = Responses(drawn.rollouts.tokens, drawn.rollouts.lengths)
        return forward_operations(self.sampler.model.config, drawn.groups, responses).forward()

    def _draw(
        self,
        step: int,
        rate: float,
        key: jax.Array,
        first: int,
        taken: Taken,
        seconds: dict[str, float],
    ) -> Draw:
        start = time.perf_counter()
        held = [None if one is None else self._orders(step, rate, one) for one in taken.examples]
        # An example may come twice in one step; its number keeps its streams apart.
        processor = self.sampler.processor
        encoded = [
            None
            if one is None
            else encode_group(f"{first + n}/{one.examples[0].id}", one, processor)
            for n, one in enumerate(held)
        ]
        told = [None if one is None else _note(one) for one in held]
        groups, notes = share(encoded, told, self.feeds, taken.feeds)
        orders = [
            _of_note(note) if one is None else one for one, note in zip(held, notes, strict=True)
        ]
        rollouts = self.sampler.sample(
            groups,
            num_rollouts=self.rollout.num_rollouts,
            max_new_tokens=self.rollout.max_new_tokens,
            strategy=Strategy(temperature=self.rollout.temperature),
            key=key,
        )
        rollouts = self._padded(rollouts)
        sampled = time.perf_counter()
        rewards = self._reward(orders, groups, rollouts)
        seconds["rollout"] += sampled - start
        seconds["reward"] += time.perf_counter() - sampled
        return Draw(orders, groups, rollouts, rewards)

    def _orders(self, step: int, rate: float, example: Example) -> Orders:
        rule = rule_for(example, rules=self.rules, unknown=self.permutation.unknown)
        return orders_for(
            example,
            rule,
            seed=self.seed,
            step=step,
            rate=rate if self.permutation.num_orders else 0.0,
            num_orders=self.permutation.num_orders,
        )

    def _padded(self, rollouts: Rollouts) -> Rollouts:
        """Padded to all orders and a rung of the ladder, so that later shapes are few."""
        _, k, _, r = rollouts.tokens.shape
        length = self.lengths.fit(r, "response length")
        orders = (0, 1 + self.permutation.num_orders - k)
        rows = [(0, 0), orders, (0, 0)]
        return Rollouts(
            tokens=np.pad(rollouts.tokens, [*rows, (0, length - r)]),
            logprobs=np.pad(rollouts.logprobs, [*rows, (0, length - r)]),
            lengths=np.pad(rollouts.lengths, rows),
            stopped=np.pad(rollouts.stopped, rows),
            stats=rollouts.stats,
        )

    def _reward(
        self, orders: Sequence[Orders], groups: Sequence[Group], rollouts: Rollouts
    ) -> dict[str, np.ndarray]:
        """Arrays ``[b, K, N]``: reward, accuracy, scored and the components.

        Every host grades the examples that it holds, and tells the others.
        """
        mine = np.array(
            [self.feeds.speaks and group.feed in (None, self.feeds.here) for group in groups]
        )
        where = np.nonzero((rollouts.lengths > 0) & mine[:, None, None])
        named = _named(self._rewarded(orders, rollouts, where)) if mine.any() else {}
        told = {
            "where": [axis.tolist() for axis in where],
            "values": {name: values.tolist() for name, values in named.items()},
        }
        rewards: dict[str, np.ndarray] = {}
        for of_host in hosts.gather(told, "rewards"):
            index = tuple(np.array(axis, int) for axis in of_host["where"])
            for name, values in of_host["values"].items():
                dtype = bool if name == "scored" else np.float32
                rewards.setdefault(name, np.zeros(rollouts.lengths.shape, dtype))[index] = values
        return rewards

    def _rewarded(
        self, orders: Sequence[Orders], rollouts: Rollouts, where: tuple[np.ndarray, ...]
    ) -> Rewards:
        """Of the responses at these places."""
        examples = [orders[int(b)].examples[int(k)] for b, k, _ in zip(*where, strict=True)]
        decode = self.sampler.processor.decode
        texts = [
            decode(tokens[:length])
            for tokens, length in zip(rollouts.tokens[where], rollouts.lengths[where], strict=True)
        ]
        return self.rewarder(
            texts,
            [example.answer for example in examples],
            [example.metadata for example in examples],
            rollouts.lengths[where],
            rollouts.stopped[where],
        )

    def _batch(self, drawn: Draw, indices: np.ndarray, real: np.ndarray) -> TrainBatch:
        reward, scored = drawn.rewards["reward"][indices], drawn.rewards["scored"][indices]
        counts = scored & real[:, None, None]
        pooled = (len(indices), -1)
        advantages = self.objective.advantages(
            jax.device_put(reward.reshape(pooled)), jax.device_put(counts.reshape(pooled))
        )
        rollouts = drawn.rollouts
        return TrainBatch(
            groups=tuple(drawn.groups[n] for n in indices),
            tokens=rollouts.tokens[indices],
            lengths=rollouts.lengths[indices],
            logprobs=rollouts.logprobs[indices],
            advantages=np.asarray(advantages).reshape(reward.shape),
            mask=rollouts.mask[indices] & counts[..., None],
        )


def encode_group(id: str, orders: Orders, processor: Processor) -> Group:
    """An example under its orders, as it is sampled."""
    prompts = [processor.encode(prompt_text(one), one.images) for one in orders.examples]
    return Group.of(id, prompts)


def _named(rewards: Rewards) -> dict[str, np.ndarray]:
    components = {f"component/{name}": values for name, values in rewards.components.items()}
    return components | {
        "reward": rewards.reward,
        "accuracy": rewards.accuracy,
        "scored": rewards.scored,
    }


def _note(orders: Orders) -> dict[str, Any]:
    """What all hosts know of an example beside its prompts."""
    example = orders.examples[0]
    return {
        "id": example.id,
        "source": example.source,
        "orders": orders.orders.tolist(),
        "drawn": orders.drawn,
        "reason": orders.reason,
    }


def _of_note(note: dict[str, Any]) -> Orders:
    """The orders of an example of another host, which has its text and its images."""
    named = Example(note["id"], note["source"], question="", images=(), answer="")
    orders = np.array(note["orders"], np.int64)
    return Orders(orders, (named,) * len(orders), note["drawn"], note["reason"])


def _filter_metrics(refill: Refill) -> dict[str, float]:
    counts = refill.counts()
    names = ("too_easy", "too_hard", "unscored", "surplus")
    return {
        "filter/drawn": counts["groups_drawn"],
        "filter/kept": counts["groups_kept"],
        **{f"filter/{name}": counts[f"groups_{name}"] for name in names},
        "filter/refills": counts["refills"],
        "filter/cap_reached": counts["cap_reached"],
    }
