"""Calls of other numbers of groups use shapes that were compiled already."""

from collections import Counter
from dataclasses import replace

import jax
import numpy as np
import pytest

from perl_jax.rollout import SamplerConfig, Strategy
from perl_jax.rollout.sampling import SampleRequest, Sampling
from perl_jax.types import Group, ImagePatches, Prompt
from tests.rollout.scripted import PendingRunner, ScriptedRunner

# Responses of two chunks: ahead, the second is dispatched before the batch could shrink.
CONFIG = SamplerConfig(
    prompt_lengths=(32,), response_lengths=(16,), patches=(64, 256), rows=256, chunk=16, ahead=False
)
GROUPS, ROLLOUTS, ORDERS = 16, 4, 2


def group(number, model):
    images = tuple(
        ImagePatches(np.zeros((4, model.config.patch_width), np.float32), (2, 2)) for _ in range(3)
    )
    tokens = np.array([model.config.image_token] * 3 + [7] * 5, np.int32)
    positions = np.broadcast_to(np.arange(8, dtype=np.int32), (3, 8))
    prompt = Prompt(tokens, positions, 0, images)
    return Group.of(str(number), [prompt] * ORDERS)


def draw(model, processor, calls, count, most_orders, **scripted):
    """The sizes of the tables that the call decodes, in turn: places and columns."""
    runner, sampling = start(model, processor, calls, most_orders, **scripted)
    sampling.add([group(number, model) for number in range(count)])
    finish(sampling)
    return runner.tables


def start(model, processor, calls, most_orders, kind=ScriptedRunner, config=CONFIG, **scripted):
    request = SampleRequest(ROLLOUTS, 30, Strategy(), jax.random.key(0), most_orders=most_orders)
    runner = kind(model, calls, **scripted)
    return runner, Sampling(runner, processor, config, request)


def finish(sampling):
    while sampling.busy:
        sampling.launch()
        sampling.collect()


@pytest.fixture(scope="module")
def most():
    return GROUPS * ORDERS


def test_all_numbers_of_groups_use_the_shapes_of_a_few(model, processor, most):
    """Prompts are read in the shapes of a full or of a small draw; batches halve as ever."""
    calls, seen = Counter(), []
    for count in (GROUPS, 8, 5, 4, 2, 1):
        seen += draw(model, processor, calls, count, most)
    known = set(calls)
    for count in range(1, GROUPS + 1):
        assert set(draw(model, processor, calls, count, most)) <= set(seen)
    assert set(seen) == {(32, 4), (16, 4), (8, 4), (4, 4), (2, 4)}
    assert set(calls) == known
    of_program = Counter(name for name, _, _ in known)
    assert of_program["encode"] == 2
    # 32 prompts, 8 or 2 at a time, into a table of 32 places or of 8.
    assert of_program["prefill"] == 3
    assert of_program["admit"] == 4
    assert of_program["decode"] == 5


def in_waves(model, processor, calls, sizes, most_orders):
    """Draws waves of so many groups, each of which comes while the one before still runs."""
    _, sampling = start(model, processor, calls, most_orders, ends=lambda place, n: place % 3 > 0)
    number = 0
    for size in sizes:
        sampling.add([group(number + n, model) for n in range(size)])
        number += size
        sampling.launch()
        sampling.collect()
    finish(sampling)


def test_waves_of_all_sizes_use_the_shapes_of_a_few(model, processor, most):
    """Reading and encoding have few sizes; batches halve as ever, and grow back to few places."""
    calls, rng = Counter(), np.random.default_rng(0)

    def draw(count):
        for _ in range(count):
            sizes = [*rng.integers(1, GROUPS + 1, 2), *rng.integers(1, 6, 4)]
            in_waves(model, processor, calls, sizes, 4 * most)

    draw(40)
    of_program = Counter(name for name, _, _ in calls)
    assert of_program["encode"] == 2
    assert of_program["prefill"] == 3
    # Of 64 to 1 places, and two sizes of their caches.
    assert of_program["decode"] <= 14


@pytest.mark.parametrize("ahead", [True, False])
def test_a_launch_waits_for_nothing_that_the_devices_compute(ahead, model, processor, most):
    config = replace(CONFIG, ahead=ahead)
    runner, sampling = start(model, processor, Counter(), most, PendingRunner, config)
    for number in range(0, 12, 2):
        runner.may_wait = False
        sampling.add([group(number, model)])
        sampling.launch()
        sampling.add([group(number + 1, model)])
        sampling.drop([number // 2])
        runner.may_wait = True
        sampling.collect()
    assert len(runner.tables) == 6


def test_a_prompt_is_read_once_though_places_become_free_one_after_the_other(model, processor):
    runner, sampling = start(
        model, processor, Counter(), None,
        config=replace(CONFIG, rows=16), ends=lambda place, n: place % 2 == 0,
    )  # fmt: skip
    sampling.add([group(number, model) for number in range(8)])
    finish(sampling)
    assert set(runner.tables) == {(4, 4), (2, 4)}
    assert sampling.stats["prompt_tokens"] == 8 * 8


def test_without_a_common_number_of_orders_tables_are_as_small_as_they_can_be(model, processor):
    calls = Counter()
    found = [draw(model, processor, calls, count, None) for count in (1, 3, 16)]
    assert found == [[(2, 4)], [(8, 4)], [(32, 4)]]


def test_calls_of_the_vision_tower_have_the_shapes_of_their_patches(model):
    config = model.config
    few = config.image_sizes([[(2, 2)] * 3], num_patches=256)
    many = config.image_sizes([[(2, 2)] * 50], num_patches=256)
    assert few == many
    mixed = config.image_sizes([[(2, 2)] * 5 + [(8, 8)]], num_patches=256)
    assert mixed.images == 6
    assert mixed.longest == 64
    assert config.image_sizes([[(2, 2)] * 3], num_patches=256, num_images=5).images == 5


def test_a_batch_shrinks_until_it_is_small(model, processor, most):
    """A sixteenth of the rows, 16, costs about as much as fewer: no more programs for the end."""
    calls = Counter()

    def all_but_the_first(place, n):
        return place > 0 or n > 0

    tables = draw(model, processor, calls, GROUPS, most, ends=all_but_the_first)
    assert tables == [(32, 4), (1, 1)]
    assert draw(model, processor, calls, 1, None, ends=all_but_the_first) == [(2, 4), (2, 4)]
