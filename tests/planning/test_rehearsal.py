"""A recorded step calls what a real one calls, in the same shapes."""

from collections import defaultdict
from dataclasses import replace

import jax
import numpy as np
import pytest

from perl_jax.mesh import MeshConfig
from perl_jax.models import load_model
from perl_jax.parts import make_learner
from perl_jax.planning.rehearsal import PROGRAMS, Rehearsal
from perl_jax.planning.work import arguments_of
from perl_jax.planning.workload import make_batch, make_groups
from perl_jax.processing import load_processor
from perl_jax.rollout import Sampler, decode_state, programs
from tests.planning.conftest import WORKLOAD


@pytest.fixture(scope="module")
def model(config, mesh):
    return load_model(config.model.path, dtype="float32", compute_dtype="float32", mesh=mesh)


@pytest.fixture(scope="module")
def groups(config, step, model):
    return make_groups(config.rollout.groups, step, WORKLOAD, model.config)


def described(tree):
    """Shapes and dtypes of arrays, in any order."""
    leaves = (leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype"))
    return sorted(f"{leaf.shape} {leaf.dtype}" for leaf in leaves)


def lying(leaf):
    """Shape, dtype and sharding of an array."""
    return tuple(getattr(leaf, name, None) for name in ("shape", "dtype", "sharding"))


@pytest.fixture(scope="module")
def sampler(config, model, groups):
    """A sampler that has drawn what a step draws."""
    # Ahead, so short responses would end before the batch shrinks.
    of_calls = replace(config.rollout.sampler, ahead=False)
    sampler = Sampler(load_processor(config.model.path), of_calls)
    sampler.sample(model, groups, num_rollouts=2, max_new_tokens=8)
    # Half of the places run a little longer than the others, and are then moved together.
    sampling, half = sampler.start(model, num_rollouts=2, max_new_tokens=8), 4
    sampling.add(groups)
    sampling.launch()
    sampling.collect()
    kept = half // groups[0].num_orders
    sampling.drop(range(kept, len(groups)))
    sampling.add([replace(group, id=f"late {group.id}") for group in groups[:kept]])
    for _ in range(2):
        sampling.launch()
        sampling.collect()
    return sampler


@pytest.mark.parametrize("name", ["encode", "prefill", "admit", "resize", "decode", "compact"])
def test_shapes_of_the_sampler_are_those_of_real_calls(recorder, sampler, name):
    named = arguments_of(recorder.calls[name])
    given = [value for key, value in named.items() if key not in ("definition", "parameters")]
    assert described(given) in [described(leaves) for of, _, leaves in sampler.calls if of == name]


@pytest.mark.parametrize("name", ["admit", "decode", "compact"])
def test_the_largest_caches_are_planned(recorder, name):
    state = arguments_of(recorder.calls[name])["state"]
    # Eight places of two rollouts; room for 8 tokens and a chunk of 4.
    assert state.tokens.shape == (8, 2)
    assert state.cache.keys.shape[1] == 12


def test_an_update_calls_what_a_real_one_does(recorder, config, model, mesh, groups, step):
    """The same programs as often, and their arguments lie on the same devices."""
    learner = make_learner(config, model, np.zeros(model.config.vocab_size, bool), mesh)
    real = defaultdict(list)

    def noted(name, program):
        def call(*arguments):
            real[name].append([lying(one) for one in jax.tree.leaves(arguments)])
            return program(*arguments)

        return call

    for name, program in vars(learner.programs).items():
        setattr(learner.programs, name, noted(name, program))
    state = learner.init(model, jax.random.key(0))
    learner.reinforce(state, make_batch(config, groups, step))
    assert set(real) == {"start", "zeros", "score", "add", "of_update", "apply", "of_batch"}
    for name, calls in real.items():
        planned = recorder.calls[{"add": "update", "score": "reference"}.get(name, name)]
        assert planned.count == len(calls)
        leaves = jax.tree.leaves(planned.arguments)
        # Those that have no sharding are given by the host, or lie as their maker leaves them.
        known = [n for n, leaf in enumerate(leaves) if getattr(leaf, "sharding", None) is not None]
        assert [lying(leaves[n]) for n in known] == [calls[0][n] for n in known]
        assert len(known) > 0 or name in ("zeros", "of_update", "of_batch")


def jitted(holder):
    """The names of the compiled programs that a module or an object holds."""
    return {name for name, value in vars(holder).items() if isinstance(value, jax.stages.Wrapped)}


def test_every_program_of_a_run_is_planned(config, mesh, step, shapes, model):
    """Whatever the learner and the sampler may call has a line in some plan."""
    learner = replace(config.learner, updates_per_batch=2)
    sampler = replace(config.rollout.sampler, rows=4, prompt_lengths=(20, 40))
    rollout = replace(config.rollout, sampler=sampler, mesh=MeshConfig(4, 1, 2))
    objective = replace(config.objective, kl_target=0.1)
    config = replace(config, learner=learner, rollout=rollout, objective=objective)
    rehearsal = Rehearsal(config, shapes, mesh, mesh.devices.flat[0], step, WORKLOAD)
    recorded = rehearsal.largest().calls
    banned = np.zeros(model.config.vocab_size, bool)
    held = jitted(make_learner(config, model, banned, mesh).programs)
    held |= jitted(programs) | jitted(decode_state)
    assert {"encode", "drop_slots", "add", "apply", "copy"} <= held
    assert set(recorded) == held - {"add"} | {"update", "reference", "reshard"}
    assert set(recorded) == set(PROGRAMS)


def test_only_what_a_configuration_asks_for_is_scored(config, mesh, step, shapes):
    def scored(config):
        rehearsal = Rehearsal(config, shapes, mesh, mesh.devices.flat[0], step, WORKLOAD)
        calls = rehearsal.largest().calls
        return {
            name: calls[name].count for name in ("score", "reference", "update") if name in calls
        }

    several = replace(config, learner=replace(config.learner, updates_per_batch=2))
    # Of the first part the update itself computes the scores.
    assert scored(several) == {"score": 1, "reference": 2, "update": 2}
    plain = replace(config, objective=replace(config.objective, kl_coefficient=0.0))
    assert scored(plain) == {"update": 1}
    changes = {"kl_in": "reward", "kl_target": 0.1}
    rewarded = replace(several, objective=replace(config.objective, **changes))
    # All of the batch before its first update.
    assert scored(rewarded) == {"score": 1, "reference": 1, "update": 2}


def test_gradients_lie_beside_the_scores_of_the_reference(recorder):
    beside = {name: set(call.beside) for name, call in recorder.calls.items()}
    stays = {"parameters", "frozen", "optimizer", "reference"}
    assert beside["reference"] == stays | {"gradients"}
    assert beside["prefill"] == beside["decode"] == stays | {"features", "caches"}
    # An update gives its gradients back.
    assert beside["zeros"] == beside["of_batch"] == stays
