import dataclasses

import numpy as np
import pytest

from perl_jax.filtering import PassRate, Refill, Verdict, informative_groups, judge_groups

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
    refill = Refill(target=3, max_groups=12).add([MIXED, RIGHT, WRONG])  # groups 0, 1, 2
    assert (refill.kept, refill.done) == (1, False)
    refill = refill.add([WRONG, MIXED])  # groups 3, 4
    assert (refill.kept, refill.done) == (2, False)
    refill = refill.add([MIXED])  # group 5
    assert (refill.next_draw(), refill.done, refill.cap_reached) == (0, True, False)
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


def test_groups_after_the_last_one_of_the_batch_are_surplus_and_count_nowhere():
    refill = Refill(target=3, max_groups=8).add([MIXED, WRONG, MIXED, WRONG])
    refill = refill.add([RIGHT, MIXED, MIXED, RIGHT])
    assert refill.indices == (0, 2, 5)
    assert (refill.drawn, refill.surplus) == (6, 2)
    metrics = refill.metrics()
    assert (metrics["filter/too_easy"], metrics["filter/too_hard"]) == (1, 2)


def test_the_cap_ends_the_draw_with_a_smaller_batch():
    refill = Refill(target=3, max_groups=4).add([WRONG, MIXED, RIGHT])
    assert refill.next_draw() == 1  # Two are missing, but the cap leaves one.
    refill = refill.add([WRONG])
    assert (refill.cap_reached, refill.done, refill.next_draw()) == (True, True, 0)
    assert (refill.indices, refill.drawn, refill.surplus) == ((1,), 4, 0)
    assert refill.metrics()["filter/cap_reached"] == 1


def test_a_full_batch_at_the_cap_is_no_reached_cap():
    refill = Refill(target=2, max_groups=2).add([MIXED, MIXED])
    assert (refill.done, refill.cap_reached) == (True, False)


def test_a_batch_can_be_empty():
    refill = Refill(target=2, max_groups=2).add([WRONG, RIGHT])
    assert (refill.done, refill.kept, refill.indices) == (True, 0, ())


def test_unscored_groups_are_counted_apart():
    refill = Refill(target=1, max_groups=4).add([MIXED, MIXED], [[0] * 4, [1] * 4])
    assert (refill.count(Verdict.UNSCORED), refill.indices) == (1, (1,))
    assert refill.count(Verdict.TOO_HARD) == 0


# Groups that are judged while others are sampled.


def test_the_batch_waits_for_every_group_before_its_last():
    refill = Refill(target=2, max_groups=8).draw(4).judge([3, 1], [MIXED, MIXED])
    # Groups 0 and 2 could still inform, and then take the place of group 3.
    assert (refill.waiting, refill.drawn, refill.done) == ((0, 2), 4, False)
    refill = refill.judge([2], [MIXED])
    assert (refill.waiting, refill.drawn, refill.done) == ((0,), 3, False)
    refill = refill.judge([0], [WRONG])
    assert (refill.done, refill.indices, refill.surplus) == (True, (1, 2), 1)


def test_groups_after_as_many_as_inform_are_not_waited_for():
    refill = Refill(target=2, max_groups=8).draw(6).judge([0, 1], [MIXED, MIXED])
    assert (refill.done, refill.drawn, refill.surplus) == (True, 2, 4)


def test_a_batch_is_the_same_in_whatever_order_groups_are_judged_and_drawn():
    rng = np.random.default_rng(1)
    for _ in range(50):
        target = int(rng.integers(1, 9))
        cap = target + int(rng.integers(0, 20))
        accuracy = rng.integers(0, 2, (cap, 3))
        mask = rng.random(accuracy.shape) < 0.8
        informative = np.flatnonzero(informative_groups(accuracy, mask))[:target]
        full = len(informative) == target
        drawn = informative[-1] + 1 if full else cap
        verdicts = judge_groups(accuracy, mask)[:drawn]
        for _ in range(3):
            refill = Refill(target, cap)
            while not refill.done:
                more = refill.next_draw() + int(rng.integers(0, 3))
                if count := min(more, cap - len(refill.verdicts)):
                    refill = refill.draw(count)
                chosen = rng.permutation(refill.waiting)[: int(rng.integers(1, 4))].tolist()
                refill = refill.judge(chosen, accuracy[chosen], mask[chosen])
            assert refill.indices == tuple(informative.tolist())
            assert (refill.drawn, refill.cap_reached) == (drawn, not full)
            for verdict in Verdict:
                assert refill.count(verdict) == np.sum(verdicts == verdict)


def test_a_draw_may_end_with_some_groups_if_all_others_before_its_end_are_judged():
    refill = Refill(target=2, max_groups=8).draw(4).judge([0], [MIXED])
    assert not refill.may_end_with([3])  # 1 and 2 come first.
    assert refill.may_end_with([1])
    assert not refill.judge([1], [WRONG]).may_end_with([3])
    assert refill.judge([1, 2], [WRONG, RIGHT]).may_end_with([3])
    assert Refill(target=2, max_groups=2).draw(2).may_end_with([1, 0])


# How many to draw.


def test_the_first_draw_is_larger_the_fewer_groups_informed_before():
    draws = []
    for rate in (1.0, 0.9, 0.5, 0.2):
        past = PassRate()
        for _ in range(20):
            past = past.after(round(rate * 400), 400)
        draws.append(Refill(target=100, max_groups=1000).next_draw(past))
    # 100 / rate, and a deviation of about sqrt(100 (1 - rate)) / rate more.
    assert draws == sorted(draws)
    np.testing.assert_allclose(draws, [101, 117, 217, 555], rtol=0.04)


def test_more_are_drawn_when_those_on_their_way_will_not_do_and_few_times():
    past = PassRate().after(500, 1000)
    refill = Refill(target=100, max_groups=1000)
    first = refill.next_draw(past)
    refill = refill.draw(first)
    assert refill.next_draw(past) == 0
    # As expected, half of them inform.
    half = list(range(100))
    assert refill.judge(half, [MIXED, WRONG] * 50).next_draw(past) == 0
    worse = refill.judge(half, [MIXED, WRONG, WRONG, WRONG] * 25)
    assert worse.next_draw(past) > 40
    assert worse.draw(worse.next_draw(past)).next_draw(past) == 0


def test_nothing_is_drawn_while_enough_are_known_to_inform():
    refill = Refill(target=2, max_groups=8).draw(4).judge([2, 3], [MIXED, MIXED])
    assert refill.next_draw(PassRate(0, 1000)) == 0


def test_a_draw_that_cannot_go_beyond_its_target_takes_all_at_once():
    assert Refill(target=5, max_groups=5).next_draw(PassRate(1000, 1000)) == 5
    assert Refill(target=5, max_groups=5).next_draw(PassRate(0, 1000)) == 5


def test_the_estimate_starts_at_a_half_and_follows_the_last_steps():
    rate = PassRate()
    assert rate.mean == 0.5
    rate = rate.after(8, 16)
    assert (rate.informative, rate.judged, rate.mean) == (8, 16, 0.5)
    rate = rate.after(16, 16)
    # 3/4 of the step before count: (6 + 16 + 8) of (12 + 16 + 16).
    assert (rate.informative, rate.judged) == (22, 28)
    assert rate.mean == pytest.approx(30 / 44)


# What is refused.


def test_judging_makes_a_new_state_and_leaves_the_old_one():
    before = Refill(target=2, max_groups=4)
    after = before.add([MIXED])
    assert (before.drawn, after.drawn) == (0, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        after.draws = 7


def test_draws_that_the_loop_should_not_have_made_are_refused():
    refill = Refill(target=1, max_groups=2)
    with pytest.raises(ValueError, match="expected 1 to 2 groups; got 3"):
        refill.add([MIXED] * 3)
    with pytest.raises(ValueError, match="expected 1 to 2 groups; got 0"):
        refill.add(np.zeros((0, 4)))
    with pytest.raises(ValueError, match=r"expected axes \[b, G\] with b = 4; got shape \[4\]"):
        Refill(target=1, max_groups=8).add(MIXED)
    drawn = refill.draw(1).judge([0], [MIXED])
    for number in (0, 1, -1):
        with pytest.raises(ValueError, match=f"drawn and are not judged; got {number}"):
            drawn.judge([number], [MIXED])


def test_a_target_beyond_the_cap_is_refused():
    with pytest.raises(ValueError, match="max_groups: expected at least 4; got 3"):
        Refill(target=4, max_groups=3)
    with pytest.raises(ValueError, match="target: expected at least 1; got 0"):
        Refill(target=0, max_groups=3)
