import dataclasses

import numpy as np
import pytest

from perl_jax.filtering import Refill, Verdict, informative_groups, judge_groups

RIGHT, WRONG, MIXED = [1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]


def test_groups_all_right_or_all_wrong_do_not_inform():
    np.testing.assert_array_equal(
        informative_groups([RIGHT, WRONG, MIXED, [1, 1, 1, 0]]), [False, False, True, True]
    )


def test_missing_rollouts_do_not_count():
    # Without its only right rollout the group is all wrong; without its wrong ones all right.
    mask = [[0, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(
        informative_groups([MIXED] * 4, mask), [False, False, True, False]
    )


def test_an_unscored_rollout_may_hold_nan():
    accuracy, mask = [[1, 0, np.nan]], [[True, True, False]]
    np.testing.assert_array_equal(informative_groups(accuracy, mask), [True])


def test_bounds_are_exclusive_unless_asked():
    # Means 0.1, 0.3, 0.9 of ten rollouts each: division must give exactly these bounds.
    accuracy = [[1] * right + [0] * (10 - right) for right in (1, 3, 9)]
    np.testing.assert_array_equal(
        informative_groups(accuracy, low=0.1, high=0.9), [False, True, False]
    )
    np.testing.assert_array_equal(
        informative_groups(accuracy, low=0.1, high=0.9, inclusive=True), [True, True, True]
    )
    np.testing.assert_array_equal(
        informative_groups(accuracy, low=0.3, high=0.9, inclusive=True), [False, True, True]
    )


def test_inclusive_outer_bounds_keep_every_group_that_has_a_score():
    mask = [[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]]
    np.testing.assert_array_equal(
        informative_groups([RIGHT, WRONG, MIXED], mask, inclusive=True), [True, True, False]
    )


def test_groups_per_order_are_judged_one_by_one():
    # Pooled the example is half right; each of its orders alone has nothing to compare.
    accuracy = np.array([[[1, 1], [0, 0]], [[1, 0], [1, 1]]])
    np.testing.assert_array_equal(informative_groups(accuracy.reshape(2, 4)), [True, True])
    np.testing.assert_array_equal(informative_groups(accuracy), [[False, False], [True, False]])


def test_verdicts_agree_with_their_definition_on_random_masks():
    rng = np.random.default_rng(0)
    accuracy = rng.integers(0, 2, (300, 5)).astype(float)
    mask = rng.random((300, 5)) < 0.5
    verdicts = judge_groups(np.where(mask, accuracy, np.nan), mask)
    for row, keep, verdict in zip(accuracy, mask, verdicts, strict=True):
        grades = set(row[keep])
        expected = {
            frozenset(): Verdict.UNSCORED,
            frozenset({1.0}): Verdict.TOO_EASY,
            frozenset({0.0}): Verdict.TOO_HARD,
            frozenset({0.0, 1.0}): Verdict.INFORMATIVE,
        }[frozenset(grades)]
        assert verdict == expected
    assert set(verdicts) == set(Verdict)


def test_a_nan_that_counts_or_a_shaped_reward_is_refused():
    with pytest.raises(ValueError, match=r"in \[0, 1\], .* got nan at \[0, 1\]"):
        informative_groups([[1, np.nan]])
    with pytest.raises(ValueError, match=r"in \[0, 1\], .* got 1.1 at \[1, 0\]"):
        informative_groups([[1, 0], [1.1, 0]])


def test_wrong_shapes_and_bounds_are_named():
    with pytest.raises(ValueError, match=r"mask_BxG: expected shape \[1, 2\]; got \[2\]"):
        informative_groups([[1, 0]], [True, True])
    with pytest.raises(ValueError, match=r"high: expected a mean accuracy in \[0, 1\]; got 2"):
        informative_groups([[1, 0]], high=2)
    with pytest.raises(ValueError, match="low, high: expected bounds with something between"):
        informative_groups([[1, 0]], low=0.5, high=0.5)
    with pytest.raises(ValueError, match=r"expected axes .* got a scalar"):
        informative_groups(1.0)


def test_a_refill_goes_on_until_the_batch_is_full():
    refill = Refill(target=3, max_groups=12)
    assert (refill.next_draw, refill.done) == (3, False)
    refill = refill.add([MIXED, RIGHT, WRONG])  # groups 0, 1, 2
    assert (refill.next_draw, refill.missing, refill.done) == (2, 2, False)
    refill = refill.add([WRONG, MIXED])  # groups 3, 4
    assert (refill.next_draw, refill.done) == (1, False)
    refill = refill.add([MIXED])  # group 5
    assert (refill.next_draw, refill.done, refill.cap_reached) == (0, True, False)
    assert refill.indices == (0, 4, 5)
    assert refill.metrics() == {
        "filter/drawn": 6,
        "filter/kept": 3,
        "filter/too_easy": 1,
        "filter/too_hard": 2,
        "filter/unscored": 0,
        "filter/surplus": 0,
        "filter/refills": 2,
        "filter/cap_reached": 0,
    }
    indices, real = refill.batch()
    np.testing.assert_array_equal(indices, [0, 4, 5])
    np.testing.assert_array_equal(real, [True, True, True])


def test_the_surplus_is_dropped_in_the_order_drawn():
    refill = Refill(target=3, max_groups=8).add([MIXED, WRONG, MIXED, WRONG])
    assert refill.next_draw == 1
    refill = refill.add([RIGHT, MIXED, MIXED, MIXED])
    assert refill.indices == (0, 2, 5)
    assert (refill.surplus, refill.too_easy, refill.too_hard, refill.refills) == (2, 1, 2, 1)


def test_the_cap_ends_the_draw_and_the_batch_keeps_its_shape():
    refill = Refill(target=3, max_groups=4).add([WRONG, MIXED, RIGHT])
    assert refill.next_draw == 1  # two are missing, but the cap leaves one
    refill = refill.add([WRONG])
    assert (refill.cap_reached, refill.done, refill.next_draw) == (True, True, 0)
    indices, real = refill.batch()
    np.testing.assert_array_equal(indices, [1, 1, 1])
    np.testing.assert_array_equal(real, [True, False, False])
    assert refill.metrics()["filter/cap_reached"] == 1


def test_a_full_batch_at_the_cap_is_no_reached_cap():
    refill = Refill(target=2, max_groups=2).add([MIXED, MIXED])
    assert (refill.done, refill.cap_reached) == (True, False)


def test_without_any_informative_group_no_slot_is_real():
    refill = Refill(target=2, max_groups=2).add([WRONG, RIGHT])
    indices, real = refill.batch()
    np.testing.assert_array_equal(indices, [0, 0])
    np.testing.assert_array_equal(real, [False, False])


def test_unscored_groups_are_counted_apart():
    refill = Refill(target=1, max_groups=4).add([MIXED, MIXED], [[0] * 4, [1] * 4])
    assert (refill.unscored, refill.too_hard, refill.indices) == (1, 0, (1,))


def test_the_groups_drawn_are_all_accounted_for_in_random_runs():
    rng = np.random.default_rng(1)
    for _ in range(50):
        target = int(rng.integers(1, 9))
        cap = target + int(rng.integers(0, 20))
        refill, seen = Refill(target, cap), []
        while not refill.done:
            # Now and then more than were asked for.
            count = min(refill.next_draw + int(rng.integers(0, 3)), cap - refill.drawn)
            accuracy = rng.integers(0, 2, (count, 3))
            mask = rng.random(accuracy.shape) < 0.8
            seen.append((accuracy, mask))
            refill = refill.add(accuracy, mask)
        accuracy, mask = (np.concatenate(parts) for parts in zip(*seen, strict=True))
        informative = np.flatnonzero(informative_groups(accuracy, mask))
        assert refill.indices == tuple(informative[:target].tolist())
        dropped = refill.too_easy + refill.too_hard + refill.unscored + refill.surplus
        assert refill.kept + dropped == refill.drawn == len(accuracy) <= cap
        assert refill.kept == target or refill.cap_reached


def test_adding_makes_a_new_state_and_leaves_the_old_one():
    before = Refill(target=2, max_groups=4)
    after = before.add([MIXED])
    assert (before.drawn, after.drawn) == (0, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        after.drawn = 7


def test_draws_that_the_loop_should_not_have_made_are_refused():
    refill = Refill(target=1, max_groups=2)
    with pytest.raises(ValueError, match="expected 1 to 2 groups; got 3"):
        refill.add([MIXED] * 3)
    with pytest.raises(ValueError, match="expected 1 to 2 groups; got 0"):
        refill.add(np.zeros((0, 4)))
    with pytest.raises(ValueError, match=r"expected axes \[b, G\]; got shape \[4\]"):
        refill.add(MIXED)
    with pytest.raises(ValueError, match="batch: expected at least one draw before it"):
        refill.batch()


def test_a_target_beyond_the_cap_is_refused():
    with pytest.raises(ValueError, match="max_groups: expected at least 4; got 3"):
        Refill(target=4, max_groups=3)
    with pytest.raises(ValueError, match="target: expected at least 1; got 0"):
        Refill(target=0, max_groups=3)
