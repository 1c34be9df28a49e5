"""Programs of the update: their arguments are those of a real run."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from perl_jax.models import load_model
from perl_jax.planning.planner import mesh_for
from perl_jax.planning.update import UpdatePrograms, num_micro_batches
from perl_jax.planning.workload import longest_responses, make_groups
from perl_jax.update.learner import Learner
from tests.planning.conftest import WORKLOAD


def described(tree):
    """Shapes, dtypes and shardings of arrays."""
    return [(leaf.shape, leaf.dtype, leaf.sharding) for leaf in jax.tree.leaves(tree)]


@pytest.fixture(scope="module")
def planned(config, mesh, step, shapes):
    return UpdatePrograms(config, shapes, mesh, step, WORKLOAD)


@pytest.fixture(scope="module")
def learner(config, mesh):
    model = load_model(config.model.path, dtype="float32", mesh=mesh)
    banned = np.zeros(model.config.vocab_size, bool)
    learner = Learner(
        model, banned, config=config.learner, optimizer=config.optimizer, total_updates=10,
        objective=config.objective, length=8, mesh=mesh,
    )  # fmt: skip
    return learner, learner.init(model, jax.random.key(0))


def test_the_state_is_that_of_a_real_run(planned, learner):
    _, state = learner
    assert described(planned.state) == described(state)


def test_micro_batches_are_those_of_a_real_run(planned, learner, config, step):
    learner, _ = learner
    groups = make_groups(config.rollout.groups, step, WORKLOAD, learner.model_config)
    responses = longest_responses(len(groups), step, config.rollout.num_rollouts)
    values = {
        "weights": np.zeros(responses.tokens.shape, np.float32),
        "advantages": np.zeros(responses.lengths.shape, np.float32),
        "sampled": np.zeros(responses.tokens.shape, np.float32),
    }
    (real,) = learner._micro_batches(groups, responses, values)
    (score,) = (one for one in planned.listed() if one.name == "reference")
    assert described(score.arguments[2]) == described(real)


def test_only_what_a_configuration_asks_for_is_scored(config, mesh, step, shapes):
    learner = replace(config.learner, updates_per_batch=2)
    several = UpdatePrograms(replace(config, learner=learner), shapes, mesh, step, WORKLOAD)
    assert [one.name for one in several.listed()] == ["score", "reference", "update", "apply"]
    objective = replace(config.objective, kl_coefficient=0.0)
    plain = UpdatePrograms(replace(config, objective=objective), shapes, mesh, step, WORKLOAD)
    assert [(one.name, one.calls) for one in plain.listed()] == [("update", 1), ("apply", 1)]


@pytest.mark.parametrize(
    ("micro_groups", "shards", "expected"), [(8, 4, (2, 1)), (4, 4, (1, 2)), (1, 1, (1, 8))]
)
def test_micro_batches_of_an_update(config, micro_groups, shards, expected):
    packing = replace(config.learner.packing, micro_groups=micro_groups)
    config = replace(config, learner=replace(config.learner, packing=packing))
    assert num_micro_batches(config, shards) == expected


def test_fsdp_takes_the_chips_that_a_configuration_does_not_name(config):
    mesh, notes = mesh_for(config, 16)
    assert (mesh.fsdp, mesh.tensor) == (8, 2)
    assert notes == ["mesh.fsdp is 8 here, as there are 16 chips (not 4)"]
    assert mesh_for(replace(config, mesh=None), 16)[0].fsdp == 16
    with pytest.raises(ValueError, match="data x tensor to divide 9 chips; got 1 x 2"):
        mesh_for(config, 9)
