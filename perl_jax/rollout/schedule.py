"""Which orders are being decoded, and which of their rollouts still run: the host's bookkeeping.

Orders stand in places of a table as large as the arrays on the device. All rollouts read and write
one slot of the cache at a step, so time is common and an order only remembers when it started.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

from perl_jax.rollout.programs import Rows
from perl_jax.rollout.stopping import Response
from perl_jax.types import Prompt


@dataclass(eq=False)
class OrderRollouts:
    """One prompt of a group, and its rollouts.

    Attributes:
        group: Number of the group in the batch.
        order: Number of the order in the group.
        prompt: What is read.
        feature_rows: int32 ``[T]``, the image feature that stands at a token, or -1.
        streams: uint32 ``[N, 2]``, key data of the rollouts.
        responses: N rollouts.
    """

    group: int
    order: int
    prompt: Prompt
    feature_rows: np.ndarray
    streams: np.ndarray
    responses: list[Response]

    @property
    def running(self) -> list[int]:
        """Numbers of the rollouts that are not done."""
        return [n for n, response in enumerate(self.responses) if not response.done]


@dataclass(frozen=True)
class Kept:
    """What `Table.compact` keeps, as the arguments of the device program.

    Attributes:
        orders: int32 ``[O']``, of every new place the old one, counted within its shard.
        rollouts: int32 ``[O', N']``, of every new column the old one.
    """

    orders: np.ndarray
    rollouts: np.ndarray


class Table:
    """Orders in places: the host's view of the arrays on the devices.

    Places are split evenly over shards, the first ones on the first, and an order stays on its own.

    Attributes:
        time: The slot that the next step writes.
    """

    def __init__(self, num_places: int, num_rollouts: int, num_shards: int = 1) -> None:
        self.time = 0
        self._num_shards = num_shards
        self._orders: list[OrderRollouts | None] = [None] * num_places
        self._start = np.zeros(num_places, np.int32)
        # Which rollout of its order stands in each column; -1 where none does.
        self._columns = np.tile(np.arange(num_rollouts, dtype=np.int32), (num_places, 1))

    @property
    def shape(self) -> tuple[int, int]:
        """Places, and rollouts that each has room for."""
        places, columns = self._columns.shape
        return places, columns

    @property
    def free(self) -> list[int]:
        """Places without a running order."""
        return [p for p, order in enumerate(self._orders) if order is None]

    @property
    def active(self) -> list[OrderRollouts]:
        """The orders that have a running rollout."""
        return [order for order in self._orders if order is not None]

    @property
    def earliest(self) -> int:
        """The first slot that a running order needs."""
        kept = [place for place, order in enumerate(self._orders) if order is not None]
        return min((int(self._start[place]) for place in kept), default=self.time)

    @property
    def busiest(self) -> int:
        """The most orders of a shard that have a running rollout."""
        return int(self._running.sum(axis=1).max())

    @property
    def _running(self) -> np.ndarray:
        """Bool ``[shards, places of one]``: where an order has a running rollout."""
        running = np.array([order is not None for order in self._orders])
        return running.reshape(self._num_shards, -1)

    def _free_in_turn(self) -> list[int]:
        """Free places, such that taking the first of them leaves shards as even as can be."""
        running = self._running
        # Of a free place: how many orders its shard has once this one and those before are taken.
        load = running.sum(axis=1, keepdims=True) + np.cumsum(~running, axis=1)
        return sorted(self.free, key=lambda place: int(load.flat[place]))

    def release(self) -> None:
        """Frees the places of orders whose rollouts are all done."""
        self._orders = [o if o is not None and o.running else None for o in self._orders]

    def admit(
        self, queue: deque[OrderRollouts], count: int
    ) -> tuple[list[OrderRollouts], list[int]]:
        """Takes up to ``count`` orders from the queue into free places, those of idle shards first.

        Returns:
            The orders and their places.
        """
        places = self._free_in_turn()[: min(count, len(queue))]
        orders = [queue.popleft() for _ in places]
        for place, order in zip(places, orders, strict=True):
            self._orders[place] = order
            self._start[place] = self.time
            self._columns[place] = np.arange(self.shape[1])
        return orders, places

    def responses(self) -> list[tuple[int, int, OrderRollouts, int]]:
        """Every running rollout: its place and column, its order and its number there."""
        return [
            (place, column, order, int(n))
            for place, order in enumerate(self._orders)
            if order is not None
            for column, n in enumerate(self._columns[place])
            if n >= 0 and not order.responses[n].done
        ]

    def rows(self) -> Rows:
        """What the decode program must know of every rollout."""
        done = np.ones(self.shape, bool)
        position = np.zeros(len(self._orders), np.int32)
        streams = np.zeros((*self.shape, 2), np.uint32)
        for place, order in enumerate(self._orders):
            if order is not None:
                position[place] = order.prompt.next_position
                streams[place] = order.streams[np.maximum(self._columns[place], 0)]
        for place, column, _, _ in self.responses():
            done[place, column] = False
        return Rows(self._start.copy(), position, streams, done)

    def compact(self, num_places: int, num_columns: int) -> Kept:
        """Moves the running rollouts to the front of each shard of a smaller (or equal) table."""
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
        """Forgets the slots before the earliest start: they hold nothing that is still needed.

        Returns:
            How many: the old slot that becomes slot 0.
        """
        count = self.earliest
        self._start = np.maximum(self._start - count, 0)
        self.time -= count
        return count
