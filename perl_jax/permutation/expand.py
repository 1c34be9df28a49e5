"""Draws all orders in which one example is shown at one step, and measures the realised rate."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from perl_jax.permutation.layout import movable_slots
from perl_jax.permutation.orders import sample_orders
from perl_jax.permutation.permute import permute
from perl_jax.permutation.refusal import CannotPermute
from perl_jax.permutation.rules import Rule
from perl_jax.permutation.schedule import is_permuted
from perl_jax.types import Example


@dataclass(frozen=True, eq=False)
class Orders:
    """The orders of one example at one step.

    Attributes:
        orders: int64 ``[K, S]``; row 0 is the identity. A group of constant size may ask under the
            same order several times.
        examples: The example under each of the K orders.
        drawn: Whether the gate chose this example to be permuted.
        reason: The reason code if it was chosen but has only its own order.
    """

    orders: np.ndarray
    examples: tuple[Example, ...]
    drawn: bool
    reason: str | None = None

    @property
    def distinct(self) -> int:
        """The number of different orders."""
        return len({tuple(order) for order in self.orders.tolist()})

    def in_turns(self, count: int) -> "Orders":
        """The same orders, in turns until there are ``count``: for a group of constant size."""
        turns = [k % len(self.examples) for k in range(count)]
        examples = tuple(self.examples[k] for k in turns)
        return replace(self, orders=self.orders[turns], examples=examples)


def orders_for(
    example: Example, rule: Rule, *, seed: int, step: int, rate: float, num_orders: int
) -> Orders:
    """Draws the orders that an example is shown in: its own, and up to ``num_orders`` others.

    It is permuted at all with probability ``rate``, see `permutation_rate`. PeRL shows one other
    order. An order under which the text cannot be rewritten is left out, not replaced.
    """
    count = len(example.images)
    own = np.arange(count, dtype=np.int64)[None]
    if not is_permuted(seed, step, example.id, rate):
        return Orders(own, (example,), drawn=False)
    try:
        movable = movable_slots(example, rule)
    except CannotPermute as error:
        return Orders(own, (example,), drawn=True, reason=error.reason)
    orders, examples, reason = [own[0]], [example], None
    for order in sample_orders(seed, step, example.id, count, num_orders, movable=movable):
        try:
            examples.append(permute(example, order.tolist(), rule))
        except CannotPermute as error:
            reason = reason or error.reason
        else:
            orders.append(order)
    reason = reason if len(orders) == 1 else None
    return Orders(np.stack(orders), tuple(examples), drawn=True, reason=reason)


def permutation_metrics(batch: Collection[Orders]) -> dict[str, float]:
    """Metrics of the permutations in a batch.

    Returns:
        ``permutation/rate_drawn``: the share of examples that the gate chose; it follows the
        schedule. ``permutation/rate_realised``: the share that was really shown in another order.
        ``permutation/orders``: the mean number of different orders, with the example's own. And
        ``permutation/kept/<reason>`` for every reason that occurred: the share kept in order.
    """
    total = max(len(batch), 1)
    metrics = {
        "permutation/rate_drawn": sum(item.drawn for item in batch) / total,
        "permutation/rate_realised": sum(item.distinct > 1 for item in batch) / total,
        "permutation/orders": sum(item.distinct for item in batch) / total,
    }
    reasons = Counter(item.reason for item in batch if item.reason is not None)
    return metrics | {
        f"permutation/kept/{reason}": count / total for reason, count in sorted(reasons.items())
    }
