import re

import pytest

from perl_jax.buckets import Ladder, bucket


def test_sizes_grow_to_the_next_power_of_two_or_three_quarters_of_it():
    assert [bucket(n) for n in (1, 2, 3, 4, 5, 6, 7, 9, 13, 24, 25, 97, 1000)] == [
        1, 2, 3, 4, 6, 6, 8, 12, 16, 24, 32, 128, 1024,
    ]  # fmt: skip


def test_a_bucket_holds_its_size_and_wastes_at_most_half():
    for size in range(1, 5000):
        assert size <= bucket(size) <= 1.5 * size


def test_more_steps_waste_less():
    assert [bucket(n, steps=8) for n in (7, 9, 16, 17, 33, 324, 1000)] == [
        7, 9, 16, 18, 36, 352, 1024,
    ]  # fmt: skip
    for size in range(1, 5000):
        assert size <= bucket(size, steps=8) <= 1.125 * size


def test_buckets_are_their_own_buckets():
    for steps in (2, 8):
        once = [bucket(size, steps=steps) for size in range(1, 5000)]
        assert [bucket(size, steps=steps) for size in once] == once


def test_small_sizes_share_the_smallest_bucket():
    assert {bucket(size, minimum=16) for size in range(17)} == {16}


def test_a_negative_size_is_an_error():
    with pytest.raises(ValueError, match="size: expected at least 0, got -1"):
        bucket(-1)


def test_a_ladder_gives_the_smallest_rung_that_holds_a_size():
    ladder = Ladder("prompt_lengths", (4, 6, 16))
    assert [ladder.fit(n, "prompt") for n in (0, 1, 4, 5, 6, 7, 16)] == [4, 4, 4, 6, 6, 16, 16]


def test_a_size_beyond_the_ladder_is_named_with_its_largest_rung():
    message = "^prompt 3: 17 is more than the largest of prompt_lengths, 16$"
    with pytest.raises(ValueError, match=message):
        Ladder("prompt_lengths", (4, 16)).fit(17, "prompt 3")


@pytest.mark.parametrize("rungs", [(), (4, 4), (8, 4), (0, 4), (-2, 4)], ids=str)
def test_a_ladder_must_rise_from_at_least_one(rungs):
    message = re.escape(f"patches: expected rising positive sizes, got {rungs}")
    with pytest.raises(ValueError, match=message):
        Ladder("patches", rungs)
