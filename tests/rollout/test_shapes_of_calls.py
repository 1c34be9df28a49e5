"""Calls of other numbers of groups use shapes that were compiled already."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.rollout import SamplerConfig, Strategy
from perl_jax.rollout.runner import Runner
from perl_jax.rollout.sampling import SampleRequest, Sampling
from perl_jax.types import Group, ImagePatches, Prompt

CONFIG = SamplerConfig(
    prompt_lengths=(32,), response_lengths=(16,), patches=(64, 256), rows=256, chunk=16
)
GROUPS, ROLLOUTS, ORDERS = 16, 4, 2


class ScriptedRunner(Runner):
    """Programs that only have shapes; every chunk ends some responses."""

    def __init__(self, model, calls, ends=lambda place, n: True):
        super().__init__(model, calls)
        self.ends, self.tables = ends, []

    def run(self, program, *arguments):
        name = program.__name__
        shape = jax.ShapeDtypeStruct
        if name == "encode":
            patches = arguments[3].patches
            return shape((1, patches.shape[1] // 4, 8), jnp.float32)
        if name == "join_features":
            return shape(arguments[1], jnp.float32)
        if name == "empty_state":
            return jax.eval_shape(lambda: program(*arguments))
        if name == "prefill":
            rows = len(arguments[4].tokens)
            return shape((rows, self.config.vocab_size), jnp.float32), None
        if name == "admit":
            return arguments[2], *self._drawn(len(arguments[5]), ROLLOUTS, (), arguments[-1])
        if name == "decode":
            state = arguments[5]
            self.tables.append(state.tokens.shape)
            return state, *self._drawn(*state.tokens.shape, (16,), arguments[-1]), np.int32(16)
        if name == "compact":
            return jax.eval_shape(lambda state: program(None, state, *arguments[2:]), arguments[1])
        return jax.eval_shape(lambda *given: program(*arguments[:2], *given), *arguments[2:])

    def _drawn(self, places, columns, more, drawing):
        tokens = np.full((places, columns, *more), 5, np.int32)
        if more:
            for place in range(places):
                for n in range(columns):
                    if self.ends(place, n):
                        tokens[place, n, -1] = drawing.stops[0]
        return tokens, np.zeros(tokens.shape, np.float32)


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


def start(model, processor, calls, most_orders, **scripted):
    request = SampleRequest(ROLLOUTS, 30, Strategy(), jax.random.key(0), most_orders=most_orders)
    runner = ScriptedRunner(model, calls, **scripted)
    return runner, Sampling(runner, processor, CONFIG, request)


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
    # Into a table of 32 places or of 8; a prompt that two orders ask is read once.
    assert of_program["admit"] == 3
    assert of_program["prefill"] == 2
    assert of_program["decode"] == 5


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
