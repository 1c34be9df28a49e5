"""Draws the orders that an example is shown in: seeded, distinct, never the identity."""

import hashlib
import json
import math
from collections.abc import Sequence

import numpy as np


def sample_orders(
    seed: int,
    step: int,
    example_id: str,
    num_slots: int,
    num_orders: int,
    *,
    movable: Sequence[int] | None = None,
) -> np.ndarray:
    """Draws distinct orders of an example's images, uniformly among all but the identity.

    In an order σ, new slot j shows old image σ[j]. The draw is a function of the arguments alone,
    without NumPy's generators (whose streams may change between versions) and Python's ``hash``:
    every host, process and resumed run draws the same orders. Asking for more orders keeps those
    that fewer would have given. ``movable`` are the slots whose images may move, all by default.

    Returns:
        int64 ``[P, num_slots]``. P is ``num_orders``, or fewer when fewer exist: m movable slots
        have m! - 1 orders besides the identity.

    Raises:
        ValueError: If a count is negative, or ``movable`` repeats a slot or names one outside.
    """
    if num_slots < 0 or num_orders < 0:
        raise ValueError(
            f"num_slots and num_orders: expected at least 0; got {num_slots} and {num_orders}"
        )
    slots = sorted(range(num_slots) if movable is None else (int(slot) for slot in movable))
    if len(set(slots)) != len(slots) or any(not 0 <= slot < num_slots for slot in slots):
        raise ValueError(f"movable: expected distinct slots from 0 to {num_slots - 1}; got {slots}")
    choices = math.factorial(len(slots)) - 1
    ranks = _distinct_below(choices, min(num_orders, choices), (seed, step, example_id))
    orders = np.tile(np.arange(num_slots, dtype=np.int64), (len(ranks), 1))
    for order, rank in zip(orders, ranks, strict=True):
        order[slots] = [slots[i] for i in _unrank(rank + 1, len(slots))]  # rank 0 is the identity
    return orders


def uniform(seed: int, step: int, example_id: str, purpose: str) -> float:
    """Draws a number from [0, 1), a function of the arguments alone, with 53 random bits."""
    return (_random_integer((purpose, seed, step, example_id), 8) >> 11) / 2**53


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """The order that undoes this one: ``inverse(order)[old slot]`` is the new slot."""
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def _random_integer(key: tuple[str | int, ...], num_bytes: int) -> int:
    # NumPy integers are made plain: JSON is the same text for the same values everywhere.
    message = json.dumps([part if isinstance(part, str) else int(part) for part in key])
    return int.from_bytes(hashlib.shake_256(message.encode()).digest(num_bytes), "big")


def _distinct_below(count: int, draws: int, key: tuple[int, int, str]) -> list[int]:
    """Draws without replacement from range(count): a Fisher-Yates shuffle cut short after draws."""
    num_bytes = count.bit_length() // 8 + 17  # 128 spare bits make the modulo's bias negligible
    moved: dict[int, int] = {}
    drawn = []
    for i in range(draws):
        j = i + _random_integer(("order", *key, i), num_bytes) % (count - i)
        drawn.append(moved.get(j, j))
        moved[j] = moved.get(i, i)
    return drawn


def _unrank(rank: int, size: int) -> list[int]:
    """The rank-th permutation of range(size) in lexicographic order (Lehmer code)."""
    left = list(range(size))
    permutation = []
    for position in range(size, 0, -1):
        index, rank = divmod(rank, math.factorial(position - 1))
        permutation.append(left.pop(index))
    return permutation
