"""What the benchmarks count, and what they give both sides."""

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.trl_steps import TrlTimes
from benchmarks.update import ROLLOUTS, apart, make_batch
from benchmarks.workload import Watched, make_group, pictures


def product(x, y):
    return jnp.sum(x @ y)


def test_operations_are_counted_at_every_call_and_by_shapes():
    watched = Watched("product")
    call = watched("product", product)
    call(jnp.ones((2, 3)), jnp.ones((3, 4)))
    call(jnp.ones((2, 3)), jnp.ones((3, 4)))
    call(jnp.ones((5, 3)), jnp.ones((3, 4)))
    assert watched.flops["product"] == [2 * 2 * 3 * 4] * 2 + [2 * 5 * 3 * 4]


def test_the_counts_of_one_run_leave_out_what_came_before():
    watched = Watched("product")
    call = watched("product", product)
    arguments = jnp.ones((2, 3)), jnp.ones((3, 4))
    call(*arguments)
    assert watched.counts(lambda: call(*arguments))["flops"] == 48


def test_other_programs_are_compiled_as_they_are():
    watched = Watched("product")
    assert float(watched("other", product)(jnp.ones((2, 3)), jnp.ones((3, 4)))) == 24
    assert watched.flops == {"product": []}


def test_calls_are_timed_on_demand_only():
    now = iter([0.0, 3.0, 10.0, 14.0])
    watched = Watched("product", clock=lambda: next(now))
    call = watched("product", product)
    arguments = jnp.ones((2, 3)), jnp.ones((3, 4))
    call(*arguments)  # reads the clock once
    watched.timing = True
    next(now)
    call(*arguments)
    assert watched.seconds["product"] == [4.0]


def test_a_step_of_trl_is_split_by_what_encloses_what():
    times = TrlTimes()
    times.add(step=10.0, generate=2.0, prepare=5.0, training=9.0)
    phases = {name: seconds for name, (seconds,) in times.phases.items()}
    assert phases == {"rollout": 2.0, "score": 3.0, "update": 4.0, "optimizer": 1.0}
    assert times.steps == [10.0]


@pytest.fixture
def group(processor):
    return make_group(processor, pictures(2, 56), 2, "Which image shows the largest digit")


def test_the_control_has_a_group_with_images_of_its_own_for_every_sequence(group):
    alone = apart(group)
    assert [one.num_orders for one in alone] == [1] * 2 * ROLLOUTS
    keys = [image.key for one in alone for image in one.images]
    assert len(set(keys)) == len(keys) == 2 * 2 * ROLLOUTS
    for order, prompt in enumerate(group.prompts):
        for one in alone[order * ROLLOUTS : (order + 1) * ROLLOUTS]:
            np.testing.assert_array_equal(one.prompts[0].tokens, prompt.tokens)
            for mine, theirs in zip(one.prompts[0].images, prompt.images, strict=True):
                np.testing.assert_array_equal(mine.patches, theirs.patches)


def test_both_sides_learn_from_the_same_responses(group):
    together, alone = make_batch([group], ROLLOUTS), make_batch(apart(group), 1)
    for name in ("tokens", "advantages", "lengths"):
        one, other = getattr(together, name), getattr(alone, name)
        np.testing.assert_array_equal(one.reshape(-1), other.reshape(-1))


def test_orders_show_the_same_images_in_turned_places(group):
    first, second = (prompt.images for prompt in group.prompts)
    assert [one.key for one in second] == [first[1].key, first[0].key]
