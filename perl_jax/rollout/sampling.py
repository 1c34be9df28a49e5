"""Sampling in portions: groups join while others run, and leave when they are complete."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from weakref import WeakMethod

import jax
import numpy as np

from perl_jax.activity import Activity, silent
from perl_jax.buckets import Ladder
from perl_jax.legible import brief
from perl_jax.models.prompts import feature_rows
from perl_jax.processing import Processor
from perl_jax.rollout.config import SamplerConfig
from perl_jax.rollout.decoding import Decoder
from perl_jax.rollout.programs import Drawing
from perl_jax.rollout.runner import Runner
from perl_jax.rollout.schedule import OrderRollouts, Reading
from perl_jax.rollout.sizes import Sizes
from perl_jax.rollout.stopping import Ending, Response
from perl_jax.rollout.strategies import Strategy
from perl_jax.rollout.waves import Encoder, Wave
from perl_jax.types import Group, Rollouts

# Called with (group, order, rollout, new tokens).
OnTokens = Callable[[int, int, int, np.ndarray], None]


@dataclass(frozen=True)
class SampleRequest:
    """The arguments of `Sampler.start` other than the model."""

    num_rollouts: int
    max_new_tokens: int
    strategy: Strategy
    key: jax.Array
    on_tokens: OnTokens | None = None
    most_orders: int | None = None
    activity: Activity = silent

    def __post_init__(self) -> None:
        for name in ("num_rollouts", "max_new_tokens"):
            if (count := getattr(self, name)) < 1:
                raise ValueError(f"{name}: expected at least 1, got {count}")


class Sampling:
    """Draws responses to groups that are added from time to time; see `Sampler.start`.

    Groups have numbers, from 0 in the order in which they were added. ``launch`` and ``collect``
    take turns, and the host is free between them::

        sampling.add(groups)
        while sampling.busy:
            sampling.launch()
            ...  # while the devices decode
            complete = sampling.collect()

    A response depends only on the parameters, the prompt, the strategy, the key, the group's id and
    the numbers of order and rollout: not on what else runs, nor on when it was added or dropped.
    All hosts make the same calls in the same order.
    """

    def __init__(
        self, runner: Runner, processor: Processor, config: SamplerConfig, request: SampleRequest
    ) -> None:
        strategy = request.strategy
        self._runner, self._config, self._request = runner, config, request
        self._pad = processor.pad_token
        self._ending = Ending(
            processor.stop_tokens, strategy.stop, request.max_new_tokens, processor.decode
        )
        drawing = Drawing(
            strategy.parameters(),
            processor.banned_rows(runner.config.vocab_size),
            np.array(processor.stop_tokens, np.int32),
            np.array(request.max_new_tokens, np.int32),
            np.asarray(jax.random.key_data(request.key)),
        )
        sizes = Sizes(
            config,
            request.num_rollouts,
            request.max_new_tokens,
            runner.sharding.num_shards,
            request.most_orders,
        )
        self._encoder = Encoder(runner, config, shared=request.most_orders is not None)
        # A cycle of references would keep the model's memory after the last use of this object.
        taking = WeakMethod(self._take)

        def take(order: OrderRollouts, n: int, tokens: np.ndarray, logprobs: np.ndarray) -> None:
            taken = taking()
            assert taken is not None
            taken(order, n, tokens, logprobs)

        self.decoder = Decoder(runner, self._encoder, sizes, strategy, drawing, take)
        self._ids: set[str] = set()
        self._groups: list[list[OrderRollouts]] = []
        # Groups that are not complete, and those that nobody wants.
        self._open: set[int] = set()
        self._dropped: set[int] = set()
        # Responses: finished, and asked for.
        self._finished = self._wanted = 0

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs."""
        return self.decoder.busy

    @property
    def stats(self) -> dict[str, int]:
        """What was done until now, as `Sampler.sample` says."""
        return dict(self._runner.stats)

    def add(self, groups: Sequence[Group]) -> None:
        """Lets groups join the queue. The devices are not waited for.

        Raises:
            ValueError: A group has no prompts or the id of another one, or a prompt or an image is
                larger than the ladders allow.
        """
        check_groups(groups, self._ids)
        lengths = padded_lengths(groups, self._config)
        wave = self._encoder.plan(groups)
        first, added = len(self._groups), []
        for number, (group, of_group) in enumerate(zip(groups, lengths, strict=True), start=first):
            added.append(self._orders(number, group, of_group, wave))
        wave.waiting = sum(map(len, added))
        self._ids |= {group.id for group in groups}
        self._open |= set(range(first, first + len(added)))
        self._groups += added
        for orders in added:
            # The orders of one prompt enter together.
            self.decoder.queue += sorted(orders, key=lambda order: _place(orders, order))
        self._wanted += wave.waiting * self._request.num_rollouts
        self._tell()

    def launch(self) -> None:
        """Admits waiting orders, first in, first out, and dispatches the next chunk of decoding.

        Once no order waits, also the one behind it, if it can: see `SamplerConfig.ahead`.

        It does not wait for the devices.

        Raises:
            RuntimeError: The last chunk was not collected.
        """
        self.decoder.launch()

    def collect(self) -> list[int]:
        """Waits for what was launched; returns the groups that were completed since, ascending.

        Raises:
            ValueError: The model's logits are NaN.
        """
        self.decoder.collect()
        self._tell()
        complete = [n for n in sorted(self._open) if not any(o.running for o in self._groups[n])]
        self._open -= set(complete)
        return complete

    def drop(self, numbers: Iterable[int]) -> None:
        """Ends groups that nobody wants any more; those that are complete stay so.

        Raises:
            ValueError: There is no such group.
        """
        dropped = self._open & set(self._known(numbers))
        self._open -= dropped
        self._dropped |= dropped
        running = sum(len(order.running) for n in dropped for order in self._groups[n])
        self._wanted -= running
        self.decoder.drop(dropped)

    def rollouts(self, numbers: Collection[int]) -> Rollouts:
        """The responses to complete groups, in the order of their numbers here.

        Raises:
            ValueError: There are no numbers, or a group is not complete or was dropped.
        """
        if not numbers:
            raise ValueError("numbers: expected at least one group, got none")
        for number in self._known(numbers):
            if number in self._open or number in self._dropped:
                state = "dropped" if number in self._dropped else "incomplete"
                raise ValueError(f"group number {number}: expected a complete group; it is {state}")
        return self._rollouts([self._groups[number] for number in numbers])

    def _known(self, numbers: Iterable[int]) -> list[int]:
        numbers = list(numbers)
        for number in numbers:
            if not 0 <= number < len(self._groups):
                raise ValueError(f"group number {number}: expected less than {len(self._groups)}")
        return numbers

    def _orders(
        self, number: int, group: Group, lengths: Sequence[int], wave: Wave
    ) -> list[OrderRollouts]:
        readings = [
            Reading(
                prompt,
                feature_rows(
                    prompt,
                    self._runner.config,
                    [wave.plan.rows_of(group.images[slot]) for slot in slots],
                    f"group {group.id!r}, order {group.asked.index(p)}",
                ),
                length,
                wave,
            )
            for p, (prompt, slots, length) in enumerate(
                zip(group.prompts, group.slots, lengths, strict=True)
            )
        ]
        n = self._request.num_rollouts
        hashed = stable_hash(group.id)
        return [
            OrderRollouts(
                group=number,
                order=k,
                reading=readings[asked],
                names=np.array([(hashed, k, rollout) for rollout in range(n)], np.uint32),
                responses=[Response() for _ in range(n)],
            )
            for k, asked in enumerate(group.asked)
        ]

    def _take(self, order: OrderRollouts, n: int, tokens: np.ndarray, logprobs: np.ndarray) -> None:
        response, on_tokens = order.responses[n], self._request.on_tokens
        before = len(response.tokens)
        taken = response.extend(tokens, logprobs, self._ending)
        if np.isnan(response.logprobs[before:]).any():
            place = before + int(np.flatnonzero(np.isnan(response.logprobs[before:]))[0])
            raise ValueError(
                f"the model's logits are NaN or infinite: group number {order.group}, order "
                f"{order.order}, rollout {n}, response token {place}; check the parameters"
            )
        self._finished += response.done
        self._runner.stats["response_tokens"] += taken
        if on_tokens is not None and taken:
            on_tokens(order.group, order.order, n, tokens[:taken])

    def _tell(self) -> None:
        self._request.activity("drawing", self._finished, self._wanted)

    def _rollouts(self, groups: Sequence[Sequence[OrderRollouts]]) -> Rollouts:
        responses = [r for orders in groups for order in orders for r in order.responses]
        longest = max(len(response.tokens) for response in responses)
        shape = (len(groups), max(map(len, groups)), self._request.num_rollouts)
        tokens = np.full((*shape, longest), self._pad, np.int32)
        logprobs = np.zeros((*shape, longest), np.float32)
        lengths = np.zeros(shape, np.int32)
        stopped = np.zeros(shape, bool)
        for g, orders in enumerate(groups):
            for k, order in enumerate(orders):
                for n, response in enumerate(order.responses):
                    where = (g, k, n)
                    length = lengths[where] = len(response.tokens)
                    tokens[where][:length] = response.tokens
                    logprobs[where][:length] = response.logprobs
                    stopped[where] = response.stopped
        return Rollouts(tokens, logprobs, lengths, stopped, self.stats)


def check_groups(groups: Sequence[Group], known: Collection[str] = ()) -> None:
    """Raises ValueError if a group cannot be sampled beside others of these ids."""
    seen = set(known)
    for group in groups:
        if not group.prompts:
            raise ValueError(f"group {group.id!r}: expected at least one prompt, got none")
        if any(len(prompt.tokens) == 0 for prompt in group.prompts):
            raise ValueError(f"group {group.id!r}: expected prompts of at least one token")
        if group.id in seen:
            raise ValueError(f"groups: expected different ids, got {brief(group.id)} again")
        seen.add(group.id)


def padded_lengths(groups: Sequence[Group], config: SamplerConfig) -> list[list[int]]:
    """The padded length of each prompt of each group.

    Raises:
        ValueError: A prompt is longer than the ladder allows.
    """
    ladder = Ladder("prompt_lengths", config.rungs("prompt_lengths"))

    def fit(group: Group, p: int) -> int:
        where = f"group {group.id!r}, order {group.asked.index(p)}: prompt length"
        return ladder.fit(len(group.prompts[p].tokens), where)

    return [[fit(group, p) for p in range(len(group.prompts))] for group in groups]


def stable_hash(id: str) -> int:
    """32 bits that name an id, the same in every process."""
    return int.from_bytes(hashlib.blake2s(id.encode(), digest_size=4).digest(), "little")


def _place(orders: Sequence[OrderRollouts], order: OrderRollouts) -> int:
    """The number of the first order that asks the same prompt."""
    return next(k for k, other in enumerate(orders) if other.reading is order.reading)
