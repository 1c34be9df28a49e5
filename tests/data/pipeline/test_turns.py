"""Turns of a mixture: their shares, counted over every stretch of a long run."""

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from perl_jax.data.pipeline.turns import Turns, whole_shares


def sources(turns, count):
    return [turns[place][0] for place in range(count)]


WEIGHTS = [
    (1,),
    (1, 1),
    (3, 7),
    (7, 2, 1),
    (0.7, 0.2, 0.1),
    (22_000, 36_000),
    (1, 100),
    (13, 13, 13, 13, 1),
    (31, 17, 11, 7, 5, 3, 2, 1, 1),
    (1e-3, 0.05, 2),
]


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_from_the_start_every_count_is_the_share_rounded_down_or_up(weights):
    turns = Turns(weights)
    exact = [Fraction(str(weight)) for weight in weights]
    counts = Counter()
    for n, source in enumerate(sources(turns, min(2 * turns.period + 5, 6000)), 1):
        counts[source] += 1
        for number, weight in enumerate(exact):
            even = n * weight / sum(exact)
            assert math.floor(even) <= counts[number] <= math.ceil(even)


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_in_every_window_every_count_is_less_than_two_from_the_share(weights):
    """All windows of up to 600 turns, from wherever in two periods or 1,200 turns."""
    turns = Turns(weights)
    shares = np.array(whole_shares(weights))
    length = min(2 * turns.period, 1200) + 600
    order = np.array(sources(turns, length))
    for number, share in enumerate(shares):
        before = np.concatenate([[0], np.cumsum(order == number)])
        for window in (*range(1, 130), 257, 600):
            counts = before[window:] - before[:-window]
            # In whole numbers: |count - window * share / period| < 2.
            assert np.all(abs(counts * turns.period - window * share) < 2 * turns.period)


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_a_whole_period_from_anywhere_has_exactly_the_shares(weights):
    turns = Turns(weights)
    shares = whole_shares(weights)
    for start in (0, 1, turns.period // 2, 3 * turns.period - 1):
        places = range(start, start + turns.period)
        counts = Counter(turns[place][0] for place in places)
        assert [counts[number] for number in range(len(shares))] == shares


def test_small_orders_are_those_worked_out_by_hand():
    # Of 3, the first source's turns may stand at 0 to 1 and at 1 to 2, the second's at 0 to 2.
    assert sources(Turns((2, 1)), 6) == [0, 0, 1] * 2
    assert sources(Turns((1, 1)), 6) == [0, 1] * 3
    # Of 5: at 0 to 1, 1 to 3 and 3 to 4; at 0 to 2 and 2 to 4.
    assert sources(Turns((3, 2)), 5) == [0, 1, 0, 0, 1]


def test_every_source_has_its_turns_in_a_row_from_wherever_one_looks():
    turns = Turns((5, 3, 1))
    count = Counter()
    for place in range(40):
        source, turn = turns[place]
        assert turn == count[source]
        count[source] += 1
    far = 9 * 10**12
    assert [turns[far + k][0] for k in range(9)] == sources(turns, 9)
    first = {}
    for k in range(9):
        source, turn = turns[far + k]
        first.setdefault(source, turn)
    assert first == {0: 5 * 10**12, 1: 3 * 10**12, 2: 10**12}


def test_weights_are_what_they_are_written_as():
    assert whole_shares((0.7, 0.2, 0.1)) == [7, 2, 1]
    assert whole_shares((0.1, 0.2, 0.3)) == [1, 2, 3]
    assert whole_shares((22_000, 36_000)) == [11, 18]
    assert whole_shares((2.5, 1)) == [5, 2]
    assert whole_shares((4,)) == [1]


@pytest.mark.parametrize("weights", [(1, 0), (-1,), (math.nan,), (math.inf, 1), (True,), ("1",)])
def test_a_weight_that_is_no_positive_number_is_refused(weights):
    with pytest.raises(ValueError, match="weight: expected a positive number; got "):
        Turns(weights)


def test_shares_without_a_small_common_denominator_are_refused_with_advice():
    message = r"whole numbers whose sum is at most 1,000,000.*got \[3\.14"
    with pytest.raises(ValueError, match=message):
        Turns((math.pi, 1))


def test_grains_own_mixing_would_not_have_these_shares():
    """Why there is an order of our own."""
    grain = pytest.importorskip("grain")
    rows = [grain.MapDataset.source([number]).repeat() for number in range(2)]
    mixed = grain.MapDataset.mix(rows, weights=(3, 7))
    counts = Counter(itertools.islice((mixed[n] for n in range(10**6)), 3330))
    assert counts[0] != 999
