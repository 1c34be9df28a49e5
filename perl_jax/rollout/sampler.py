"""Samples groups of prompts; all rollouts share the encoded images and the prefilled prompts."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from perl_jax.activity import Activity, silent
from perl_jax.buckets import Ladder
from perl_jax.models import Policy
from perl_jax.processing import Processor
from perl_jax.rollout.config import SamplerConfig
from perl_jax.rollout.run import OnTokens, SampleRequest, SamplerRun
from perl_jax.rollout.schedule import OrderRollouts
from perl_jax.rollout.strategies import Strategy
from perl_jax.types import Group, Rollouts


class Sampler:
    """Samples responses to groups of prompts.

    Attributes:
        processor: The processor of the policies' model directory.
        config: How work is cut.
        calls: Runs of each compiled program, by name and argument shapes. One compilation each.
    """

    def __init__(self, processor: Processor, config: SamplerConfig | None = None) -> None:
        self.processor = processor
        self.config = config or SamplerConfig()
        self.calls: Counter[tuple[Any, ...]] = Counter()

    def sample(
        self,
        model: Policy,
        groups: Sequence[Group],
        *,
        num_rollouts: int,
        max_new_tokens: int,
        strategy: Strategy | None = None,
        key: jax.Array | int = 0,
        on_tokens: OnTokens | None = None,
        most_orders: int | None = None,
        activity: Activity = silent,
    ) -> Rollouts:
        """Draws ``num_rollouts`` responses to every prompt of every group.

        A response depends only on the parameters, the prompt, the strategy, the key, the group's id
        and the numbers of order and rollout: not on the rest of the batch, padding, refilling or
        devices.

        Args:
            model: The policy. It is not kept.
            groups: At least one, with different ids.
            num_rollouts: N.
            max_new_tokens: The most tokens of a response.
            strategy: How tokens are drawn; None: at temperature 1.
            key: A typed PRNG key, or a seed.
            on_tokens: Called with new tokens as they arrive: ``(group, order, rollout, tokens)``.
            most_orders: The most orders of all calls that are like this one. Smaller calls are then
                padded to a few sizes, so that later calls compile nothing new.
            activity: Hears how many responses are finished, as ``drawing``.

        Returns:
            The rollouts. Their ``stats`` count distinct ``images``, ``patches``, ``orders``,
            ``prompt_tokens``, ``response_tokens``, ``decode_steps`` and ``compilations``, and with
            padding ``patches_padded``, ``prompt_tokens_padded`` and ``decode_rows`` (rows x steps).

        Raises:
            ValueError: An argument is out of range, a prompt or an image is larger than the ladders
                allow, or the model's logits are NaN.
        """
        _check_arguments(groups, num_rollouts, max_new_tokens)
        lengths = self._padded_lengths(groups)
        request = SampleRequest(
            num_rollouts,
            max_new_tokens,
            strategy or Strategy(),
            jax.random.key(key) if isinstance(key, int) else key,
            on_tokens,
            most_orders,
            activity,
        )
        run = SamplerRun(model, self.processor, self.config, request, self.calls)
        orders = run.encode(groups)
        for length in sorted(set(lengths), reverse=True):
            run.decode([o for o, of in zip(orders, lengths, strict=True) if of == length], length)
        shape = (len(groups), max(len(group.prompts) for group in groups), num_rollouts)
        return _collect(orders, shape, self.processor.pad_token, run.stats)

    def check(self, group: Group) -> None:
        """Raises ValueError if a prompt or an image is larger than the ladders allow."""
        self._padded_lengths([group])
        ladder = Ladder("patches", self.config.rungs("patches"))
        for image in group.images:
            ladder.fit(image.num_patches, "patches of an image")

    def _padded_lengths(self, groups: Sequence[Group]) -> list[int]:
        ladder = Ladder("prompt_lengths", self.config.rungs("prompt_lengths"))
        return [
            ladder.fit(len(prompt.tokens), f"group {group.id!r}, order {k}: prompt length")
            for group in groups
            for k, prompt in enumerate(group.prompts)
        ]


def _check_arguments(groups: Sequence[Group], num_rollouts: int, max_new_tokens: int) -> None:
    if not groups:
        raise ValueError("groups: expected at least one, got none")
    for group in groups:
        if not group.prompts:
            raise ValueError(f"group {group.id!r}: expected at least one prompt, got none")
        if any(len(prompt.tokens) == 0 for prompt in group.prompts):
            raise ValueError(f"group {group.id!r}: expected prompts of at least one token")
    id, count = Counter(group.id for group in groups).most_common(1)[0]
    if count > 1:
        raise ValueError(f"groups: expected different ids, got {id!r} {count} times")
    for name, count in (("num_rollouts", num_rollouts), ("max_new_tokens", max_new_tokens)):
        if count < 1:
            raise ValueError(f"{name}: expected at least 1, got {count}")


def _collect(
    orders: Sequence[OrderRollouts], shape: tuple[int, int, int], pad: int, stats: Counter[str]
) -> Rollouts:
    longest = max(len(response.tokens) for order in orders for response in order.responses)
    tokens = np.full((*shape, longest), pad, np.int32)
    logprobs = np.zeros((*shape, longest), np.float32)
    lengths = np.zeros(shape, np.int32)
    stopped = np.zeros(shape, bool)
    for order in orders:
        for n, response in enumerate(order.responses):
            where = (order.group, order.order, n)
            length = lengths[where] = len(response.tokens)
            tokens[where][:length] = response.tokens
            logprobs[where][:length] = response.logprobs
            stopped[where] = response.stopped
    return Rollouts(tokens, logprobs, lengths, stopped, dict(stats))
