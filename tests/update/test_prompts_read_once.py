"""A prompt of several orders is read once, with the gradient of reading it for each of them."""

import math
from dataclasses import replace

import jax
import numpy as np
import pytest

from perl_jax.flops import count_in_jaxpr
from perl_jax.mesh import make_mesh
from perl_jax.models import load_model
from perl_jax.processing import load_processor
from perl_jax.types import Group, Responses
from perl_jax.update.config import UpdateConfig
from perl_jax.update.learner import Learner
from perl_jax.update.operations import forward_operations
from perl_jax.update.optimizer import OptimizerConfig
from tests.update.cases import (
    OBJECTIVE,
    PACKING,
    TEMPERATURE,
    largest_error,
    make_batch,
    make_group,
    perturbed,
    quick_compilation,
    quiet_gradients,
    write_small_checkpoint,
)

ORDERS = (1, 2, 4, 8, 12)
# Gate, up, down; queries and output; keys and values.
MATRICES = [(32, 48)] * 3 + [(32, 32)] * 2 + [(32, 16)] * 2


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with quick_compilation():
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_small_checkpoint(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def groups(checkpoint):
    """Kept in its own order, permuted, two prompts for three orders, and text kept in its order."""
    processor = load_processor(checkpoint)
    three, two = [(56, 84), (112, 84), (28, 140)], [(84, 112), (56, 56)]
    (kept,) = make_group(processor, "kept", three, [[0, 1, 2]]).prompts
    own, swapped = make_group(processor, "two", two, [[0, 1], [1, 0]]).prompts
    (text,) = make_group(processor, "text", [], [[]]).prompts
    return (
        Group.of("kept", [kept] * 3),
        make_group(processor, "moved", three, [[0, 1, 2], [2, 0, 1], [1, 2, 0]]),
        Group.of("two", [own, swapped, own]),
        Group.of("text", [text] * 3),
    )


def read_again(group):
    """The group as if every order had a prompt of its own."""
    return Group.of(group.id, [replace(group.prompts[number]) for number in group.asked])


def learner_on(model, banned, mesh=None, **changes):
    packing = replace(PACKING, orders=ORDERS)
    config = UpdateConfig(packing=packing, reference_dtype="float32", logprob_chunk=200)
    return Learner(
        model,
        banned,
        config=replace(config, **changes),
        optimizer=OptimizerConfig(),
        total_updates=10,
        objective=OBJECTIVE,
        temperature=TEMPERATURE,
        mesh=mesh,
    )


class Case:
    def __init__(self, checkpoint, groups):
        self.checkpoint = checkpoint
        processor, model = load_processor(checkpoint), load_model(checkpoint, dtype="float32")
        self.banned = processor.banned_rows(model.config.vocab_size)
        unscored = [(0, 1, 1), (3, 1, 0), (3, 1, 1)]
        self.batch = make_batch(groups, self.banned, num_rollouts=2, longest=13, unscored=unscored)
        self.naive = replace(self.batch, groups=tuple(map(read_again, groups)))
        self.want, self.stats = self.gradients(self.naive, micro_groups=4)

    def gradients(self, batch, mesh=None, micro_groups=4, **changes):
        """The gradients and statistics of one update on a batch."""
        model = load_model(self.checkpoint, dtype="float32", mesh=mesh)
        packing = replace(PACKING, orders=ORDERS, micro_groups=micro_groups)
        learner = learner_on(model, self.banned, mesh, packing=packing, **changes)
        state = learner.init(perturbed(model, 1), jax.random.key(0))
        (gradients,), stats = quiet_gradients(learner, state, batch)
        return gradients, jax.device_get(stats)


@pytest.fixture(scope="module")
def case(checkpoint, groups):
    return Case(checkpoint, groups)


@pytest.mark.parametrize(
    ("remat", "micro_groups"),
    [pytest.param("none", 2, marks=pytest.mark.soak), ("layers", 4)],
)
def test_the_gradient_is_that_of_reading_a_prompt_for_each_order(remat, micro_groups, case):
    got, stats = case.gradients(case.batch, remat=remat, micro_groups=micro_groups)
    error, where = largest_error(got, case.want)
    assert error <= 5e-6, where
    for name, value in case.stats.items():
        assert stats[name] == pytest.approx(value, rel=2e-5), name


def test_on_a_mesh_every_shard_reads_its_own_prompts_once(case):
    got, _ = case.gradients(case.batch, make_mesh(2, 2, 2))
    error, where = largest_error(got, case.want)
    assert error <= 5e-6, where


def test_fewer_prompts_are_read(case, groups):
    """7 of 12, in the arrays, the operations counted, and those of the program."""
    model = load_model(case.checkpoint, dtype="float32")
    packing = replace(PACKING, orders=ORDERS, tokens=(), predicted=())
    learner = learner_on(model, case.banned, packing=packing)
    state = learner.init(model, jax.random.key(0))

    def micro_of(batch):
        (mini,) = learner._mini_batches(batch)
        (micro,) = learner._micro_batches(*mini)
        return micro

    once, again = micro_of(case.batch), micro_of(case.naive)
    assert (once.prompts.tokens.shape, again.prompts.tokens.shape) == ((8, 72), (12, 72))
    assert once.tokens.shape == again.tokens.shape == (12, 2, 16)
    program, arguments = learner.programs.score, (state.params, learner.policy.frozen)
    traced = [program.trace(*arguments, micro, learner._banned) for micro in (once, again)]
    flops = [count_in_jaxpr(one.jaxpr) for one in traced]
    # Their tokens less, of two layers.
    fewer = again.rows.source.shape[1] - once.rows.source.shape[1]
    layers = 2 * 2 * sum(math.prod(shape) for shape in MATRICES)
    asked_again = [g.prompts[n] for g in groups for n in g.asked]
    unread = sum(len(p.tokens) for p in asked_again) - sum(
        len(p.tokens) for g in groups for p in g.prompts
    )
    assert unread > 100
    assert fewer >= 0.8 * unread
    assert flops[1] - flops[0] > fewer * layers

    responses = Responses(case.batch.tokens, case.batch.lengths)
    of_once, of_again = (
        forward_operations(model.config, batch.groups, responses)
        for batch in (case.batch, case.naive)
    )
    assert of_once.vision == of_again.vision
    assert of_once.text < of_again.text


def test_the_operations_of_a_kept_group_are_those_of_one_order_with_all_its_rollouts(case, groups):
    model = load_model(case.checkpoint, dtype="float32").config
    kept = groups[0]
    lengths = np.array([[[3, 1], [5, 0], [2, 4]]], np.int32)
    of_orders = Responses(np.zeros((1, 3, 2, 5), np.int32), lengths)
    of_one = Responses(np.zeros((1, 1, 6, 5), np.int32), lengths.reshape(1, 1, 6))
    alone = Group.of("alone", kept.prompts)
    got = forward_operations(model, [kept], of_orders)
    assert got == forward_operations(model, [alone], of_one)
