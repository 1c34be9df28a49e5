"""Which shard works on which group, and whose images must travel for it."""

import numpy as np
import pytest

from perl_jax.mesh import BatchSharding
from perl_jax.types import Group, Prompt
from perl_jax.update.assignment import assign_groups, cut, cut_shards, groups_to_move

PROMPT = Prompt(np.zeros(1, np.int32), np.zeros((3, 1), np.int32), 0)
TWO_HOSTS = BatchSharding(((0, 1), (2, 3)), (0, 1), host=0)


def groups_of(*feeds):
    return [Group(str(n), (PROMPT,), (), ((),), (0,), feed) for n, feed in enumerate(feeds)]


def test_groups_that_all_hosts_hold_are_dealt_out_equally():
    groups = groups_of(*[None] * 6)
    assert assign_groups(groups, TWO_HOSTS) == [[0, 4], [1, 5], [2], [3]]
    assert groups_to_move(groups, assign_groups(groups, TWO_HOSTS), TWO_HOSTS) == {}


def test_groups_stay_with_the_hosts_that_hold_their_images():
    groups = groups_of(1, 0, 1, 0)
    assert assign_groups(groups, TWO_HOSTS) == [[1], [3], [0], [2]]
    assert groups_to_move(groups, assign_groups(groups, TWO_HOSTS), TWO_HOSTS) == {}


def test_what_one_host_has_too_much_of_goes_to_the_other():
    groups = groups_of(0, 0, 0, 1)
    assigned = assign_groups(groups, TWO_HOSTS)
    assert assigned == [[0], [1], [3], [2]]
    assert groups_to_move(groups, assigned, TWO_HOSTS) == {2: 1}


def test_fewer_groups_than_shards_leave_some_without():
    assert assign_groups(groups_of(1), TWO_HOSTS) == [[0], [], [], []]
    assert assign_groups([], TWO_HOSTS) == [[], [], [], []]


def test_shards_have_like_numbers_of_tokens():
    groups = groups_of(*[None] * 8)
    sizes = [10, 80, 20, 70, 30, 60, 40, 50]
    assigned = assign_groups(groups, TWO_HOSTS, sizes)
    assert [sum(sizes[number] for number in numbers) for numbers in assigned] == [90] * 4
    # Images stay, and the shards of each host are even.
    held = groups_of(0, 0, 0, 0, 1, 1, 1, 1)
    assigned = assign_groups(held, TWO_HOSTS, sizes)
    assert groups_to_move(held, assigned, TWO_HOSTS) == {}
    assert [sum(sizes[number] for number in numbers) for numbers in assigned] == [90] * 4


def test_micro_batches_of_a_shard_are_even_and_the_fullest_is_first():
    sizes = {3: 50, 5: 40, 7: 30}
    of_numbers = [sizes.get(number, 0) for number in range(10)]
    assert cut([3, 5, 7], of_numbers, 2) == [[5, 7], [3]]
    assert cut([3, 5], of_numbers, 2) == [[3], [5]]
    assert cut([3], of_numbers, 2) == [[3], []]


def sums(micro_batches, sizes):
    return [[sum(sizes[n] for n in part) for part in parts] for parts in micro_batches]


def test_a_shard_has_at_most_so_many_groups_in_a_micro_batch():
    sizes = [10] * 7
    assert cut_shards([[0, 1, 2, 3], [4, 5, 6]], sizes, 2) == [[[0, 2], [4, 6]], [[1, 3], [5]]]


def test_tokens_of_a_micro_batch_stay_within_the_budget_with_as_few_as_may_be():
    sizes = [60, 50, 40, 30, 20, 10, 10, 10]
    assigned = [[0, 2, 4, 6], [1, 3, 5, 7]]
    whole = cut_shards(assigned, sizes, 4)
    assert sums(whole, sizes) == [[130, 100]]
    halves = cut_shards(assigned, sizes, 4, budget=129)
    assert sums(halves, sizes) == [[70, 60], [60, 40]]
    assert len(cut_shards(assigned, sizes, 4, budget=70)) == 2
    assert len(cut_shards(assigned, sizes, 4, budget=69)) > 2


def test_a_budget_that_no_micro_batch_reaches_changes_nothing():
    sizes = [30, 20, 10]
    assert cut_shards([[0, 1, 2]], sizes, 2, budget=1000) == cut_shards([[0, 1, 2]], sizes, 2)


def test_a_group_with_more_tokens_than_the_budget_has_a_micro_batch_of_its_own():
    sizes = [100, 10, 10]
    found = cut_shards([[0, 1, 2]], sizes, 3, budget=20)
    assert found == [[[0]], [[1]], [[2]]] or found == [[[0]], [[1, 2]]]


def test_a_shard_without_groups_waits():
    assert cut_shards([[0, 1], []], [5, 5], 1) == [[[0], []], [[1], []]]


@pytest.mark.parametrize("seed", range(5))
def test_every_group_is_in_one_micro_batch_whatever_the_budget(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 100, 12).tolist()
    assigned = [list(range(0, 7)), list(range(7, 12))]
    budget = int(rng.integers(50, 300))
    found = cut_shards(assigned, sizes, 4, budget)
    for shard, numbers in enumerate(assigned):
        assert sorted(n for parts in found for n in parts[shard]) == numbers
    for parts in found:
        for part in parts:
            assert len(part) <= 1 or sum(sizes[n] for n in part) <= budget


@pytest.mark.parametrize("seed", range(5))
def test_every_group_has_one_shard_and_no_shard_two_more_than_another(seed):
    rng = np.random.default_rng(seed)
    groups = groups_of(*rng.integers(0, 2, size=int(rng.integers(1, 40))).tolist())
    assigned = assign_groups(groups, TWO_HOSTS)
    assert sorted(number for numbers in assigned for number in numbers) == list(range(len(groups)))
    sizes = [len(numbers) for numbers in assigned]
    assert max(sizes) - min(sizes) <= 1
    # No more travel than the imbalance asks for.
    held = [sum(group.feed == feed for group in groups) for feed in range(2)]
    room = [sum(sizes[shard] for shard in TWO_HOSTS.shards_of_feed[feed]) for feed in range(2)]
    least = sum(max(0, has - fits) for has, fits in zip(held, room, strict=True))
    assert len(groups_to_move(groups, assigned, TWO_HOSTS)) == least
