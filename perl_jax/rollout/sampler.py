"""Samples groups of prompts; all rollouts share the encoded images and the prefilled prompts."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import jax

from perl_jax.activity import Activity, silent
from perl_jax.buckets import Ladder
from perl_jax.models import Policy
from perl_jax.processing import Processor
from perl_jax.rollout.config import SamplerConfig
from perl_jax.rollout.runner import Runner
from perl_jax.rollout.sampling import OnTokens, SampleRequest, Sampling, padded_lengths
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

    def start(
        self,
        model: Policy,
        *,
        num_rollouts: int,
        max_new_tokens: int,
        strategy: Strategy | None = None,
        key: jax.Array | int = 0,
        on_tokens: OnTokens | None = None,
        most_orders: int | None = None,
        activity: Activity = silent,
    ) -> Sampling:
        """Starts to sample groups that are added later. The arguments are those of `sample`.

        ``most_orders`` is the most orders that wait and run at a time. The model is kept until the
        `Sampling` is given up.

        Raises:
            ValueError: An argument is out of range.
        """
        request = SampleRequest(
            num_rollouts,
            max_new_tokens,
            strategy or Strategy(),
            jax.random.key(key) if isinstance(key, int) else key,
            on_tokens,
            most_orders,
            activity,
        )
        return Sampling(Runner(model, self.calls), self.processor, self.config, request)

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
        """Draws ``num_rollouts`` responses to every order of every group.

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
            ``prompt_tokens`` (of each prompt once, however many orders ask it),
            ``response_tokens``, ``decode_steps`` (one after the other), ``decode_waits`` (chunks
            of them that were dispatched after the last one was read) and ``compilations``, and
            with padding ``patches_padded``, ``prompt_tokens_padded`` and ``decode_rows`` (rows x
            steps).

        Raises:
            ValueError: An argument is out of range, a prompt or an image is larger than the ladders
                allow, or the model's logits are NaN.
        """
        if not groups:
            raise ValueError("groups: expected at least one, got none")
        sampling = self.start(
            model,
            num_rollouts=num_rollouts,
            max_new_tokens=max_new_tokens,
            strategy=strategy,
            key=key,
            on_tokens=on_tokens,
            most_orders=most_orders,
            activity=activity,
        )
        sampling.add(groups)
        while sampling.busy:
            sampling.launch()
            sampling.collect()
        return sampling.rollouts(range(len(groups)))

    def check(self, group: Group) -> None:
        """Raises ValueError if a prompt or an image is larger than the ladders allow."""
        padded_lengths([group], self.config)
        ladder = Ladder("patches", self.config.rungs("patches"))
        for image in group.images:
            ladder.fit(image.num_patches, "patches of an image")
