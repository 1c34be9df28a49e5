"""How images are cut into encoding calls, and at which row of the results each begins."""

import pickle

import numpy as np
import pytest

from perl_jax.buckets import Ladder
from perl_jax.mesh import BatchSharding
from perl_jax.rollout.features import plan_encoding
from perl_jax.types import Group, ImagePatches

LADDER = Ladder("patches", (16, 32, 64))
UNIT = 4


def image(num_patches):
    return ImagePatches(np.zeros((num_patches, 1), np.float32), (2, num_patches // 2))


def showing(*images, feed=None):
    return Group("a", (), images, (), (), feed)


def sizes(plan):
    """Of each call, the patches of its images, and its padded number of patches."""
    return [([len(i.patches) for i in images], padded) for (images,), padded in plan.calls]


def plan_of(*num_patches):
    """The plan for distinct images of these sizes, and the first row of each."""
    images = [image(count) for count in num_patches]
    plan = plan_encoding([showing(*images)], LADDER, UNIT)
    return plan, [plan.place[i.key][1] for i in images]


def test_one_call_is_padded_to_the_next_rung():
    plan, first_rows = plan_of(8, 12, 4)
    assert sizes(plan) == [([8, 12, 4], 32)]
    assert first_rows == [0, 2, 5]
    assert plan.num_rows == 8


def test_a_call_that_fills_a_rung_is_not_padded():
    plan, _ = plan_of(8, 8)
    assert sizes(plan) == [([8, 8], 16)]
    assert plan.num_rows == 4


def test_calls_are_filled_in_order_up_to_the_largest_rung():
    plan, _ = plan_of(40, 24, 4, 60, 8)
    assert sizes(plan) == [([40, 24], 64), ([4, 60], 64), ([8], 16)]


def test_rows_count_the_padding_of_earlier_calls():
    """48 and then 20 patches: the first call is padded to 64, so the second begins at row 16."""
    plan, first_rows = plan_of(8, 40, 20, 44)
    assert sizes(plan) == [([8, 40], 64), ([20, 44], 64)]
    assert first_rows == [0, 2, 16, 21]
    assert plan.num_rows == 32


def test_an_image_that_comes_twice_is_encoded_once_where_it_came_first():
    first, second = image(8), image(12)
    copy = pickle.loads(pickle.dumps(second))
    plan = plan_encoding([showing(first, second), showing(first), showing(copy)], LADDER, UNIT)
    assert [images for (images,), _ in plan.calls] == [[first, second]]
    assert plan.place == {first.key: (0, 0), second.key: (0, 2)}


def test_images_with_different_keys_are_encoded_apart_even_if_they_are_equal():
    plan, first_rows = plan_of(8, 8, 8)
    assert sizes(plan) == [([8, 8, 8], 32)]
    assert first_rows == [0, 2, 4]


def test_features_stand_in_the_table_where_the_plan_says():
    """The features of a call are those of its images, one after the other, and then padding."""
    rng = np.random.default_rng(0)
    images = [image(4 * int(rng.integers(1, 17))) for _ in range(40)]
    number = {i.key: n for n, i in enumerate(images)}
    plan = plan_encoding([showing(*images)], LADDER, UNIT)
    table = []
    for (batch,), padded in plan.calls:
        rows = [number[i.key] for i in batch for _ in range(len(i.patches) // UNIT)]
        table += rows + [-1] * (padded // UNIT - len(rows))
    assert len(table) == plan.num_rows
    for i in images:
        first, count = plan.place[i.key][1], len(i.patches) // UNIT
        assert table[first : first + count] == [number[i.key]] * count


def test_the_largest_rung_holds_an_image_of_its_size_and_none_larger():
    plan, _ = plan_of(64)
    assert sizes(plan) == [([64], 64)]
    message = "patches of an image: 68 is more than the largest of patches, 64"
    with pytest.raises(ValueError, match=message):
        plan_of(8, 68)


def test_without_images_there_is_nothing_to_encode():
    plan = plan_encoding([], LADDER, UNIT)
    assert (plan.calls, plan.place, plan.num_rows) == ([], {}, 0)


# Several shards.

FOUR_SHARDS = BatchSharding(((0, 1), (2, 3)), (0, 1), host=0)


def test_images_go_to_the_emptiest_shard_of_the_hosts_that_hold_them():
    here, there = [image(8), image(12), image(4)], [image(8)]
    groups = [showing(*here, feed=0), showing(*there, feed=1)]
    plan = plan_encoding(groups, LADDER, UNIT, FOUR_SHARDS)
    assert plan.calls == [([[here[0], here[2]], [here[1]], [there[0]], []], 16)]
    assert [plan.place[i.key] for i in (*here, *there)] == [(0, 0), (1, 0), (0, 2), (2, 0)]


def test_images_that_all_hosts_hold_go_to_the_emptiest_of_all_shards():
    images = [image(8) for _ in range(5)]
    plan = plan_encoding([showing(*images)], LADDER, UNIT, FOUR_SHARDS)
    assert [plan.place[i.key] for i in images] == [(0, 0), (1, 0), (2, 0), (3, 0), (0, 2)]


def test_the_rows_of_an_image_count_over_the_padded_parts_of_all_shards():
    images = [image(8), image(12), image(4), image(8), image(8)]
    plan = plan_encoding([showing(*images)], LADDER, UNIT, FOUR_SHARDS)
    # The third shard holds the third image and the last: rows 0, and 1 and 2 of its part.
    assert [plan.place[i.key] for i in images] == [(0, 0), (1, 0), (2, 0), (3, 0), (2, 1)]
    assert plan.padded_rows > plan.num_rows == 4
    part = plan.padded_rows
    assert plan.rows_of(images[1]).tolist() == [part, part + 1, part + 2]
    assert plan.rows_of(images[4]).tolist() == [2 * part + 1, 2 * part + 2]


def test_a_plan_does_not_depend_on_who_holds_the_patches():
    held = [image(8), image(60), image(12)]
    stubs = [ImagePatches(np.empty((0, 1), np.float32), i.grid) for i in held]
    plans = [
        plan_encoding([showing(*images, feed=1)], LADDER, UNIT, FOUR_SHARDS)
        for images in (held, stubs)
    ]
    assert [padded for _, padded in plans[0].calls] == [padded for _, padded in plans[1].calls]
    places = [list(plan.place.values()) for plan in plans]
    assert places[0] == places[1]
