"""Programs of the sampler: their arguments are those of real calls."""

import jax
import pytest

from perl_jax.models import load_model
from perl_jax.planning.rollout import rollout_programs
from perl_jax.planning.workload import make_groups
from perl_jax.processing import load_processor
from perl_jax.rollout import Sampler
from tests.planning.conftest import WORKLOAD


@pytest.fixture(scope="module")
def planned(config, mesh, step, shapes):
    return {one.name: one for one in rollout_programs(config, shapes, mesh, step, WORKLOAD)}


@pytest.fixture(scope="module")
def sampler(config, mesh, step):
    """A sampler that has drawn what a step draws."""
    model = load_model(config.model.path, dtype="float32", compute_dtype="float32", mesh=mesh)
    sampler = Sampler(load_processor(config.model.path), config.rollout.sampler)
    groups = make_groups(config.rollout.groups, step, WORKLOAD, model.config)
    sampler.sample(model, groups, num_rollouts=2, max_new_tokens=8)
    # The last of these leave half of the places empty.
    sampler.sample(model, groups[: 3 * len(groups) // 4], num_rollouts=2, max_new_tokens=8)
    return sampler


@pytest.mark.parametrize("name", ["encode", "prefill", "resize", "decode", "compact"])
def test_shapes_are_those_of_real_calls(planned, sampler, name):
    program = planned[name]
    called = [described(leaves) for of, _, leaves in sampler.calls if of == name]
    parameters = {id(leaf) for leaf in jax.tree.leaves(program.kinds.get("parameters"))}
    leaves = jax.tree.leaves(program.arguments)
    assert described(leaf for leaf in leaves if id(leaf) not in parameters) in called


def described(leaves):
    """The arrays among the leaves of a call's arguments, in any order."""
    return sorted(f"{leaf.shape} {leaf.dtype}" for leaf in leaves if hasattr(leaf, "dtype"))


def test_a_step_reads_every_order_and_decodes_until_the_longest_ends(planned, step):
    # 16 orders of 40 tokens are read at once: eight places, and no more than are decoded.
    assert planned["prefill"].calls == 2
    # 8 places take 2 waves of 2 tokens on average, and 6 more of the longest: 10 steps of 4 a call.
    assert planned["decode"].calls == 3
    assert planned["decode"].passes == 4
