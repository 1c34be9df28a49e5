import itertools
import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from scipy.stats import chisquare

from perl_jax.permutation import inverse, sample_orders

DRAWS = 10_000
FROZEN = [[1, 4, 0, 2, 3], [4, 2, 1, 0, 3], [0, 1, 4, 3, 2]]


def test_two_images_have_one_other_order():
    assert sample_orders(0, 0, "a", 2, 5).tolist() == [[1, 0]]


def test_three_images_have_five_other_orders_when_more_are_wanted():
    orders = {tuple(order) for order in sample_orders(7, 3, "a", 3, 100).tolist()}
    assert orders == set(itertools.permutations(range(3))) - {(0, 1, 2)}


@pytest.mark.parametrize("num_slots", [0, 1])
def test_fewer_than_two_images_have_no_other_order(num_slots):
    assert sample_orders(0, 0, "a", num_slots, 3).shape == (0, num_slots)


def test_no_order_is_drawn_when_none_is_wanted():
    assert sample_orders(0, 0, "a", 4, 0).shape == (0, 4)


@pytest.mark.parametrize("step", range(50))
def test_orders_are_distinct_permutations_and_never_the_identity(step):
    orders = [tuple(order) for order in sample_orders(1, step, "a", 5, 30).tolist()]
    assert len(set(orders)) == 30
    assert (0, 1, 2, 3, 4) not in orders
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)


def test_only_movable_slots_move():
    orders = sample_orders(0, 0, "a", 6, 100, movable=(5, 1, 3))
    assert len(orders) == 5
    assert (orders[:, [0, 2, 4]] == [0, 2, 4]).all()
    assert {tuple(order) for order in orders[:, [1, 3, 5]].tolist()} == set(
        itertools.permutations((1, 3, 5))
    ) - {(1, 3, 5)}


def test_asking_for_more_orders_keeps_the_first_ones():
    few, many = sample_orders(3, 9, "a", 6, 2), sample_orders(3, 9, "a", 6, 40)
    np.testing.assert_array_equal(many[:2], few)


def test_fifty_images_can_be_ordered():
    (order,) = sample_orders(0, 0, "story", 50, 1).tolist()
    assert sorted(order) == list(range(50)) != order


def p_value(orders, possible):
    counts = Counter(map(tuple, orders))
    assert set(counts) <= set(possible)
    return chisquare([counts[order] for order in possible]).pvalue


@pytest.mark.parametrize("num_slots", [3, 4])
def test_orders_are_uniform_over_examples(num_slots):
    drawn = [sample_orders(0, 5, str(i), num_slots, 1)[0].tolist() for i in range(DRAWS)]
    possible = list(itertools.permutations(range(num_slots)))[1:]
    assert p_value(drawn, possible) > 0.001


def test_orders_are_uniform_over_steps():
    drawn = [sample_orders(0, step, "a", 4, 1)[0].tolist() for step in range(DRAWS)]
    assert p_value(drawn, list(itertools.permutations(range(4)))[1:]) > 0.001


def test_the_second_order_is_uniform_too():
    drawn = [sample_orders(0, step, "a", 3, 2)[1].tolist() for step in range(DRAWS)]
    assert p_value(drawn, list(itertools.permutations(range(3)))[1:]) > 0.001


def test_the_orders_of_two_steps_are_independent():
    drawn = [
        (tuple(sample_orders(0, 1, str(i), 3, 1)[0]), tuple(sample_orders(0, 2, str(i), 3, 1)[0]))
        for i in range(DRAWS)
    ]
    single = list(itertools.permutations(range(3)))[1:]
    counts = Counter(drawn)
    pairs = itertools.product(single, single)
    assert chisquare([counts[pair] for pair in pairs]).pvalue > 0.001


@pytest.mark.parametrize("change", ["seed", "step", "example_id"])
def test_orders_differ_between_seeds_steps_and_examples(change):
    key = {"seed": 0, "step": 0, "example_id": "0"}
    drawn = set()
    for i in range(50):
        key[change] = str(i) if change == "example_id" else i
        drawn.add(sample_orders(**key, num_slots=8, num_orders=1).tobytes())
    assert len(drawn) == 50


def test_ids_that_look_alike_when_joined_are_told_apart():
    drawn = {
        sample_orders(seed, step, name, 9, 1).tobytes()
        for seed, step, name in [(1, 23, "4"), (12, 3, "4"), (1, 2, "34"), (1, 2, "3, 4")]
    }
    assert len(drawn) == 4


def test_the_draw_is_the_same_for_ever():
    # Frozen: a run that is resumed with a later version must see the same orders.
    assert sample_orders(2024, 17, "nlvr2/train-1", 5, 3).tolist() == FROZEN
    assert sample_orders(np.int64(2024), np.int32(17), "nlvr2/train-1", 5, 3).tolist() == FROZEN


def test_a_fresh_process_with_another_hash_seed_draws_the_same_orders():
    code = (
        "import json; from perl_jax.permutation import sample_orders as s, is_permuted as g;"
        "print(json.dumps([[s(5, t, 'é', 6, 4).tolist(), g(5, t, 'é', 0.5)] for t in range(20)]))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "999")
    }
    (output,) = outputs
    here = [sample_orders(5, t, "é", 6, 4).tolist() for t in range(20)]
    assert [orders for orders, _ in json.loads(output)] == here


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_slots": -1},
        {"num_orders": -1},
        {"movable": (0, 4)},
        {"movable": (0, -1)},
        {"movable": (1, 1)},
    ],
)
def test_impossible_arguments_are_errors(arguments):
    with pytest.raises(ValueError, match="expected"):
        sample_orders(0, 0, "a", **{"num_slots": 4, "num_orders": 1, **arguments})


def test_the_inverse_undoes_an_order():
    order = (3, 0, 2, 1)
    shown = [("a", "b", "c", "d")[slot] for slot in order]
    assert shown == ["d", "a", "c", "b"]
    assert inverse(order) == (1, 3, 2, 0)
    assert [shown[slot] for slot in inverse(order)] == ["a", "b", "c", "d"]
