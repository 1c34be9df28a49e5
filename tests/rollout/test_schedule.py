"""Which rollout sits where: the host's table, and what moves when it becomes smaller."""

from collections import deque

import numpy as np
import pytest

from perl_jax.buckets import Ladder
from perl_jax.rollout.features import plan_encoding
from perl_jax.rollout.schedule import OrderRollouts, Reading, Table
from perl_jax.rollout.stopping import Response
from perl_jax.rollout.waves import Wave
from perl_jax.types import Prompt

NO_IMAGES = Wave(plan_encoding([], Ladder("patches", (4,)), 4))


def order(number, num_rollouts=2, *, length=3, rope_delta=0):
    """OrderRollouts ``number``; the name of its rollout n is (number, 0, n)."""
    prompt = Prompt(np.zeros(length, np.int32), np.zeros((3, length), np.int32), rope_delta)
    return OrderRollouts(
        group=number,
        order=0,
        reading=Reading(
            prompt,
            np.full(length, -1, np.int32),
            length,
            Wave(plan_encoding([], Ladder("patches", (4,)), 4)),
        ),
        names=np.array([[number, 0, n] for n in range(num_rollouts)], np.uint32),
        responses=[Response() for _ in range(num_rollouts)],
    )


def queue_of(count, num_rollouts=2):
    return deque(order(number, num_rollouts) for number in range(count))


def end(order, *rollouts):
    for n in rollouts:
        order.responses[n].done = True


def where(table):
    """Where each running rollout stands: (order, rollout) -> (place, column)."""
    return {(order.group, n): (place, column) for place, column, order, n in table.responses()}


# Orders.


def test_an_orders_first_response_token_follows_its_prompt_on_the_rope():
    assert order(0, length=10).reading.prompt.next_position == 10
    assert order(0, length=10, rope_delta=-4).reading.prompt.next_position == 6


def test_the_running_rollouts_are_those_that_are_not_done():
    one = order(0, 4)
    end(one, 0, 2)
    assert one.running == [1, 3]


# Admission and release.


def test_a_new_table_is_free_and_has_nothing_to_decode():
    table = Table(3, 2)
    assert (table.shape, table.time, table.free) == ((3, 2), 0, [0, 1, 2])
    assert table.active == []
    assert table.responses() == []
    assert table.rows().done.all()


def test_orders_are_admitted_in_turn_into_free_places():
    table, queue = Table(3, 2), queue_of(5)
    zero, one, two, three, four = queue
    assert table.admit(queue, 2) == ([zero, one], [0, 1])
    assert table.admit(queue, 2) == ([two], [2])
    assert table.admit(queue, 2) == ([], [])
    assert list(queue) == [three, four]
    assert table.active == [zero, one, two]


def test_no_more_orders_are_admitted_than_wait():
    table, queue = Table(4, 2), queue_of(1)
    (only,) = queue
    assert table.admit(queue, 4) == ([only], [0])
    assert table.free == [1, 2, 3]


def test_orders_are_spread_over_shards_the_idle_ones_first():
    table, queue = Table(6, 1, num_shards=2), queue_of(7, 1)
    orders = list(queue)
    assert table.admit(queue, 3)[1] == [0, 3, 1]
    end(orders[0], 0)
    end(orders[2], 0)
    table.release()
    # Nothing runs on the first shard now, one order on the second.
    assert table.admit(queue, 4)[1] == [0, 1, 4, 2]


def test_an_order_starts_at_the_slot_that_the_next_step_writes():
    table, queue = Table(3, 2), queue_of(3)
    table.admit(queue, 1)
    table.time += 5
    table.admit(queue, 1)
    table.time += 2
    table.admit(queue, 1)
    assert table.rows().start.tolist() == [0, 5, 7]


def test_a_place_is_free_again_when_the_last_rollout_of_its_order_is_done():
    table, queue = Table(2, 2), queue_of(3)
    zero, one, two = queue
    table.admit(queue, 2)
    end(zero, 0, 1)
    end(one, 1)
    assert table.free == []
    table.release()
    assert table.free == [0]
    assert table.active == [one]
    table.time = 4
    assert table.admit(queue, 2) == ([two], [0])
    assert table.rows().start.tolist() == [4, 0]


# What the device is told.


def test_rows_tell_positions_names_and_who_is_done():
    table = Table(3, 2)
    queue = deque([order(7, length=10, rope_delta=-4), order(8, length=5)])
    end(queue[0], 1)
    table.admit(queue, 2)
    rows = table.rows()
    assert rows.position.tolist() == [6, 5, 0]
    assert rows.names[:2].tolist() == [[[7, 0, 0], [7, 0, 1]], [[8, 0, 0], [8, 0, 1]]]
    assert rows.done.tolist() == [[False, True], [False, False], [True, True]]
    assert [part.dtype for part in rows] == [np.int32, np.int32, np.uint32, bool]


def test_rows_are_a_copy_that_later_admissions_do_not_change():
    table, queue = Table(1, 2), queue_of(2)
    table.admit(queue, 1)
    before = table.rows()
    end(table.active[0], 0, 1)
    table.release()
    table.time = 9
    table.admit(queue, 1)
    assert before.start.tolist() == [0]
    assert table.rows().start.tolist() == [9]


def test_responses_leave_out_what_is_done():
    table, queue = Table(2, 2), queue_of(2)
    zero, one = queue
    table.admit(queue, 2)
    end(zero, 0)
    assert table.responses() == [(0, 1, zero, 1), (1, 0, one, 0), (1, 1, one, 1)]


# Moving.


@pytest.fixture
def mixed():
    """Time 9; of four orders of four rollouts, 1 (from 2) and 3 (from 6) still run in part."""
    table, queue = Table(4, 4), queue_of(4, 4)
    for start in (0, 2, 2, 6):
        table.time = start
        table.admit(queue, 1)
    zero, one, two, three = table.active
    table.time = 9
    end(zero, 0, 1, 2, 3)
    end(one, 0, 2)
    end(two, 0, 1, 2, 3)
    end(three, 1, 2, 3)
    table.release()
    return table


def test_compacting_keeps_running_rollouts_in_their_order(mixed):
    kept = mixed.compact(2, 2)
    assert kept.orders.tolist() == [1, 3]
    assert kept.rollouts[0].tolist() == [1, 3]
    assert kept.rollouts[1, 0] == 0
    assert mixed.shape == (2, 2)
    assert where(mixed) == {(1, 1): (0, 0), (1, 3): (0, 1), (3, 0): (1, 0)}


def test_names_starts_and_done_follow_the_rollouts_that_were_moved(mixed):
    mixed.compact(2, 2)
    rows = mixed.rows()
    assert rows.names[0].tolist() == [[1, 0, 1], [1, 0, 3]]
    assert rows.names[1, 0].tolist() == [3, 0, 0]
    assert rows.done.tolist() == [[False, False], [False, True]]
    assert (rows.start.tolist(), mixed.time) == ([2, 6], 9)


def test_orders_move_into_a_larger_table_beside_which_others_have_all_their_columns(mixed):
    mixed.compact(2, 2)
    kept = mixed.compact(6, 4)
    assert kept.orders[:2].tolist() == [0, 1]
    assert where(mixed) == {(1, 1): (0, 0), (1, 3): (0, 1), (3, 0): (1, 0)}
    assert mixed.free == [2, 3, 4, 5]
    late = order(9, 4)
    mixed.admit(deque([late]), 1)
    assert [at for (group, _), at in where(mixed).items() if group == 9] == [
        (2, n) for n in range(4)
    ]


def test_compacting_into_a_table_with_room_leaves_the_rest_empty(mixed):
    kept = mixed.compact(4, 4)
    assert kept.orders.shape == (4,)
    assert kept.rollouts.shape == (4, 4)
    # What fills the rest is any index that exists: nobody reads those rows.
    assert kept.orders.max() < 4
    assert kept.rollouts.max() < 4
    assert mixed.free == [2, 3]
    assert where(mixed) == {(1, 1): (0, 0), (1, 3): (0, 1), (3, 0): (1, 0)}
    assert mixed.rows().done.sum() == 16 - 3


def test_compacting_twice_finds_rollouts_where_the_first_put_them(mixed):
    mixed.compact(2, 2)
    end(mixed.active[0], 1)
    kept = mixed.compact(2, 1)
    assert kept.orders.tolist() == [0, 1]
    assert kept.rollouts.tolist() == [[1], [0]]
    assert where(mixed) == {(1, 3): (0, 0), (3, 0): (1, 0)}


def test_orders_stay_on_their_shard():
    table, queue = Table(8, 1, num_shards=2), queue_of(8, 1)
    orders, places = table.admit(queue, 8)
    assert places == [0, 4, 1, 5, 2, 6, 3, 7]
    for number in (0, 2, 3, 5, 6):
        end(orders[number], 0)
    table.release()
    # Place 2 runs on the first shard, 4 and 7 on the second, whose places start at 4.
    assert table.busiest == 2
    kept = table.compact(4, 1)
    assert where(table) == {(4, 0): (0, 0), (1, 0): (2, 0), (7, 0): (3, 0)}
    assert kept.orders.tolist() == [2, 0, 0, 3]
    assert table.free == [1]


def test_slots_before_the_earliest_start_are_dropped(mixed):
    assert mixed.drop_slots() == 2
    assert mixed.time == 7
    assert where(mixed) == {(1, 1): (1, 1), (1, 3): (1, 3), (3, 0): (3, 0)}
    start = mixed.rows().start
    assert (start[1], start[3]) == (0, 4)
    assert start.min() == 0
    assert mixed.drop_slots() == 0


def test_an_empty_table_drops_every_slot():
    table = Table(2, 2)
    table.time = 8
    assert (table.drop_slots(), table.time) == (8, 0)


def test_an_order_admitted_after_compacting_has_all_its_columns(mixed):
    mixed.compact(4, 4)
    late = order(9, 4)
    assert mixed.admit(deque([late]), 1) == ([late], [2])
    rows = mixed.rows()
    assert rows.names[2].tolist() == [[9, 0, n] for n in range(4)]
    assert not rows.done[2].any()
    assert rows.start[2] == mixed.time == 9


def test_an_order_that_takes_the_place_of_one_that_moved_has_all_its_columns(mixed):
    mixed.compact(4, 4)
    end(mixed.active[0], 1, 3)
    mixed.release()
    late = order(9, 4)
    assert mixed.admit(deque([late]), 1) == ([late], [0])
    assert {n: at for (group, n), at in where(mixed).items() if group == 9} == {
        n: (0, n) for n in range(4)
    }


# All of it together.


class Device:
    """A cache ``[S, O, N]`` of marks, written and moved as the compiled programs do it."""

    def __init__(self, slots, places, columns):
        self.cache = np.zeros((slots, places, columns), np.int64)

    def write(self, time, marks):
        assert time < len(self.cache)
        self.cache[time] = marks

    def compact(self, kept, shards):
        of_shard = self.cache.shape[1] // shards
        first = np.repeat(np.arange(shards) * of_shard, len(kept.orders) // shards)
        self.cache = self.cache[:, (first + kept.orders)[:, None], kept.rollouts]

    def drop_slots(self, count, slots):
        part = np.pad(self.cache, [(0, slots), (0, 0), (0, 0)])
        self.cache = part[count : count + slots]


@pytest.mark.parametrize("seed", range(20))
def test_every_rollout_finds_its_own_marks_whatever_was_moved(seed):
    """Each step leaves a mark of rollout and token number; from its start on, all are there."""
    rng = np.random.default_rng(seed)
    shards, num_rollouts, chunk = int(rng.integers(1, 4)), int(rng.integers(1, 5)), 4
    places = shards * int(rng.integers(1, 5))
    orders = queue_of(int(rng.integers(1, 12)), num_rollouts)
    lengths = {(o.group, n): int(rng.integers(1, 30)) for o in orders for n in range(num_rollouts)}
    queue, table = deque(orders), Table(places, num_rollouts, shards)
    device = Device(8, places, num_rollouts)
    while queue or table.active:
        if queue and (table.shape[1] < num_rollouts or rng.random() < 0.2):
            larger = table.shape[0] + shards * int(rng.integers(0, 3))
            device.compact(table.compact(larger, num_rollouts), shards)
        table.admit(queue, int(rng.integers(1, 4)))
        if table.active and rng.random() < 0.4:
            widest = max(len(o.running) for o in table.active)
            device.compact(table.compact(table.busiest * shards, widest), shards)
        if table.time + chunk > len(device.cache) or rng.random() < 0.2:
            device.drop_slots(table.drop_slots(), slots=table.time + chunk)
        assert table.shape == device.cache.shape[1:]
        for _ in range(chunk):
            step(table, device, lengths)
        table.release()
    ended = {(o.group, n): len(r.tokens) for o in orders for n, r in enumerate(o.responses)}
    assert ended == lengths


def step(table, device, lengths):
    """One token for every running rollout, after which each finds all of its own."""
    marks = np.full(table.shape, -1)
    running = table.responses()
    names = table.rows().names
    for place, column, order, n in running:
        assert names[place, column].tolist() == [order.group, 0, n]
        marks[place, column] = mark(order.group, n, len(order.responses[n].tokens))
        order.responses[n].tokens.append(0)
    device.write(table.time, marks)
    table.time += 1
    start = table.rows().start
    for place, column, order, n in running:
        response = order.responses[n]
        found = device.cache[start[place] : table.time, place, column]
        assert found.tolist() == [mark(order.group, n, t) for t in range(len(response.tokens))]
        response.done = len(response.tokens) == lengths[order.group, n]


def mark(group, rollout, token):
    return group * 10_000 + rollout * 100 + token
