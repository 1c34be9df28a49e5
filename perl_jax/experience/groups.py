"""Turns examples into groups: orders, prompts, and what all hosts have to know of them."""

import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from perl_jax.data.pipeline.pipeline import Taken
from perl_jax.experience.config import PermutationConfig
from perl_jax.experience.records import digests
from perl_jax.mesh import BatchSharding
from perl_jax.permutation import Orders, Rules, orders_for, rule_for, rules_from_config
from perl_jax.processing import Processor
from perl_jax.types import Example, Group, ImagePatches, Prompt, conversation_text, prompt_of
from perl_jax.update.exchange import gather_groups


@dataclass(frozen=True, eq=False)
class GroupMaker:
    """Makes the groups of a step, on all hosts.

    Attributes:
        step: The number of the step, from 0.
        rate: The probability that an example is permuted.
    """

    processor: Processor
    permutation: PermutationConfig
    sharding: BatchSharding
    seed: int
    step: int
    rate: float

    @cached_property
    def _rules(self) -> Rules:
        return rules_from_config(self.permutation.rules)

    def __call__(self, first: int, taken: Taken) -> tuple[list[Orders], list[Group]]:
        """The orders and prompts of examples; the step has drawn ``first`` others before."""
        held = [None if one is None else self._orders(one) for one in taken.examples]
        # An example may come twice in one step; its number keeps its streams apart.
        encoded = [
            None
            if one is None
            else encode_group(f"{first + n}/{one.examples[0].id}", one, self.processor)
            for n, one in enumerate(held)
        ]
        told = [None if one is None else note_of(one) for one in held]
        groups, notes = gather_groups(encoded, told, self.sharding, taken.feeds)
        return [one or orders_of_note(note) for one, note in zip(held, notes, strict=True)], groups

    def _orders(self, example: Example) -> Orders:
        others = self.permutation.num_orders
        orders = orders_for(
            example,
            rule_for(example, rules=self._rules, unknown=self.permutation.unknown),
            seed=self.seed,
            step=self.step,
            rate=self.rate if others else 0.0,
            num_orders=others,
        )
        return orders.in_turns(1 + others) if self.permutation.constant_groups else orders


def encode_group(id: str, orders: Orders, processor: Processor) -> Group:
    """Encodes an example under its orders, each different one once."""
    prompts: dict[tuple[int, ...], Prompt] = {}
    asked = []
    for order, shown in zip(map(tuple, orders.orders.tolist()), orders.examples, strict=True):
        if order not in prompts:
            prompts[order] = processor.encode(prompt_of(shown), shown.images)
        asked.append(prompts[order])
    return Group.of(id, asked)


def note_of(one: Orders) -> str:
    """The facts about an example that all hosts need besides prompts, as JSON.

    The texts are for the record, and shorter than the prompts that are sent with them.
    """
    own = one.examples[0]
    asked = [[conversation_text(example), example.answer] for example in one.examples]
    facts = [own.id, own.source, digests(own), asked, one.orders.tolist(), one.drawn, one.reason]
    return json.dumps(facts)


def orders_of_note(note: str) -> Orders:
    """The orders of an example of another host; its images have names alone."""
    id, source, names, asked, orders, drawn, reason = json.loads(note)
    images = tuple(ImagePatches(np.empty((0, 0), np.float32), (0, 0), digest=n) for n in names)
    examples = tuple(Example(id, source, text, images, answer) for text, answer in asked)
    return Orders(np.array(orders, np.int64), examples, drawn, reason)
