"""The host's bookkeeping of the orders being decoded and their running rollouts.

An order has a place in a table that mirrors the device arrays. Each step writes the same cache slot
for all rollouts, so time is common and an order only stores its start.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from perl_jax.rollout.programs import Rows
from perl_jax.rollout.stopping import Response
from perl_jax.rollout.waves import Wave
from perl_jax.types import Prompt


@dataclass(frozen=True, eq=False)
class Reading:
    """A prompt as it is read: once for all orders that ask it and are admitted together.

    Attributes:
        prompt: The prompt.
        feature_rows: int32 ``[T]``, the row of the image feature at each token, or -1.
        length: Its padded length.
        wave: The images that it is read with.
    """

    prompt: Prompt
    feature_rows: np.ndarray
    length: int
    wave: Wave


@dataclass(eq=False)
class OrderRollouts:
    """One order of a group and its N rollouts.

    Attributes:
        group: The group's number.
        order: The order's number in the group.
        reading: What it asks.
        names: uint32 ``[N, 3]``, what the random streams of the rollouts depend on besides the key.
        responses: The rollouts.
    """

    group: int
    order: int
    reading: Reading
    names: np.ndarray
    responses: list[Response]

    @property
    def running(self) -> list[int]:
        """The numbers of the unfinished rollouts."""
        return [n for n, response in enumerate(self.responses) if not response.done]


@dataclass(frozen=True)
class Kept:
    """The result of `Table.compact`: arguments of `decode_state.compact`."""

    orders: np.ndarray
    rollouts: np.ndarray


class Table:
    """The host's view of the device arrays; ``time`` is the slot that the next step writes.

    Places are split evenly over shards, in order; an order never changes its shard.
    """

    def __init__(self, num_places: int, num_rollouts: int, num_shards: int = 1) -> None:
        self.time = 0
        self._num_shards = num_shards
        self._orders: list[OrderRollouts | None] = [None] * num_places
        self._start = np.zeros(num_places, np.int32)
        # The rollout number in each column; -1: none.
        self._columns = np.tile(np.arange(num_rollouts, dtype=np.int32), (num_places, 1))

    @property
    def shape(self) -> tuple[int, int]:
        """The number of places, and of columns for the rollouts of each."""
        places, columns = self._columns.shape
        return places, columns

    @property
    def free(self) -> list[int]:
        """The places without a running order."""
        return [p for p, order in enumerate(self._orders) if order is None]

    @property
    def active(self) -> list[OrderRollouts]:
        """The orders with a running rollout."""
        return [order for order in self._orders if order is not None]

    @property
    def earliest(self) -> int:
        """The first slot that a running order needs."""
        starts = zip(self._orders, self._start, strict=True)
        return min((int(s) for order, s in starts if order is not None), default=self.time)

    @property
    def latest(self) -> int:
        """The slot of the first token of the running order that started last."""
        starts = zip(self._orders, self._start, strict=True)
        return max((int(s) for order, s in starts if order is not None), default=self.time)

    @property
    def busiest(self) -> int:
        """The most running orders of a shard."""
        return int(self._running.sum(axis=1).max())

    @property
    def _running(self) -> np.ndarray:
        """Bool ``[shards, places of a shard]``, the places with a running order."""
        running = np.array([order is not None for order in self._orders])
        return running.reshape(self._num_shards, -1)

    def _free_in_turn(self) -> list[int]:
        """Free places, sorted so that taking the first ones keeps shards as even as possible."""
        running = self._running
        # The orders of a shard once this free place and those before it are taken.
        load = running.sum(axis=1, keepdims=True) + np.cumsum(~running, axis=1)
        return sorted(self.free, key=lambda place: int(load.flat[place]))

    def release(self) -> None:
        """Frees the places of orders whose rollouts are all done."""
        self._orders = [o if o is not None and o.running else None for o in self._orders]

    def admit(
        self, queue: deque[OrderRollouts], count: int
    ) -> tuple[list[OrderRollouts], list[int]]:
        """Moves up to ``count`` orders from the queue to free places; returns orders and places."""
        places = self._free_in_turn()[: min(count, len(queue))]
        orders = [queue.popleft() for _ in places]
        for place, order in zip(places, orders, strict=True):
            self._orders[place] = order
            self._start[place] = self.time
            self._columns[place] = np.arange(self.shape[1])
        return orders, places

    def responses(self) -> list[tuple[int, int, OrderRollouts, int]]:
        """Every running rollout: its place, column, order, and number in the order."""
        return [
            (place, column, order, int(n))
            for place, order in enumerate(self._orders)
            if order is not None
            for column, n in enumerate(self._columns[place])
            if n >= 0 and not order.responses[n].done
        ]

    def rows(self) -> Rows:
        """The arguments of `programs.decode` about every rollout."""
        done = np.ones(self.shape, bool)
        position = np.zeros(len(self._orders), np.int32)
        names = np.zeros((*self.shape, 3), np.uint32)
        for place, order in enumerate(self._orders):
            if order is not None:
                position[place] = order.reading.prompt.next_position
                names[place] = order.names[np.maximum(self._columns[place], 0)]
        for place, column, _, _ in self.responses():
            done[place, column] = False
        return Rows(self._start.copy(), position, names, done)

    def compact(self, num_places: int, num_columns: int) -> Kept:
        """Moves the running rollouts to the front of each shard of a table of another size."""
        of_shard = len(self._orders) // self._num_shards
        new_of_shard = num_places // self._num_shards
        orders = np.zeros(num_places, np.int32)
        rollouts = np.zeros((num_places, num_columns), np.int32)
        columns = np.full((num_places, num_columns), -1, np.int32)
        table: list[OrderRollouts | None] = [None] * num_places
        start = np.zeros(num_places, np.int32)
        used = [0] * self._num_shards
        for old, order in enumerate(self._orders):
            if order is None:
                continue
            shard = old // of_shard
            new = shard * new_of_shard + used[shard]
            used[shard] += 1
            assert used[shard] <= new_of_shard
            table[new] = order
            running = [c for c, n in enumerate(self._columns[old]) if n in order.running]
            orders[new], start[new] = old % of_shard, self._start[old]
            rollouts[new, : len(running)] = running
            columns[new, : len(running)] = self._columns[old, running]
        self._orders, self._start, self._columns = table, start, columns
        return Kept(orders, rollouts)

    def drop_slots(self) -> int:
        """Drops the unneeded slots before the earliest start; returns how many."""
        count = self.earliest
        self._start = np.maximum(self._start - count, 0)
        self.time -= count
        return count
