"""What an update tells while it is under way, of a learner whose programs are scripted."""

from types import SimpleNamespace

import numpy as np
import pytest

from perl_jax.mesh import BatchSharding
from perl_jax.objectives import Objective
from perl_jax.types import Group, Prompt, TrainBatch
from perl_jax.update.config import UpdateConfig
from perl_jax.update.learner import Learner
from perl_jax.update.packing import PackingConfig


class Scripted(Learner):
    """Its micro-batches are made of nothing, and an update only goes through them."""

    def __init__(self, updates):
        self.config = UpdateConfig(updates_per_batch=updates, packing=PackingConfig(micro_groups=2))
        self.objective, self.length, self.reference = Objective(), None, None
        self.sharding = BatchSharding()
        self.programs = SimpleNamespace(of_batch=len)

    def _micro_batch(self, mini, parts):
        return SimpleNamespace(values={})

    def _with_scores(self, micro_batches, scores, reference):
        return micro_batches

    def _score(self, params, micro):
        return np.zeros(())

    def _update(self, state, micro_batches):
        return state, list(micro_batches)


def batch_of(count):
    prompt = Prompt(np.zeros(3, np.int32), np.zeros((3, 3), np.int32), 0)
    shape = (count, 1, 2)
    return TrainBatch(
        groups=tuple(Group.of(str(n), [prompt]) for n in range(count)),
        tokens=np.zeros((*shape, 4), np.int32),
        lengths=np.full(shape, 4, np.int32),
        logprobs=np.zeros((*shape, 4), np.float32),
        rewards=np.zeros(shape, np.float32),
        advantages=np.ones(shape, np.float32),
        mask=np.ones((*shape, 4), bool),
    )


def told_by(updates, groups):
    told = []
    state = SimpleNamespace(params={}, kl_coefficient=None)
    Scripted(updates).reinforce(state, batch_of(groups), lambda *what: told.append(what))
    return told


def test_every_micro_batch_of_an_update_is_told():
    assert told_by(updates=1, groups=5) == [
        ("update 1 of 1: micro-batch", done, 3) for done in range(3)
    ]


@pytest.mark.parametrize(("what", "passes"), [("scoring", 2), ("update", 3)])
def test_several_updates_are_numbered_and_all_but_the_first_scored_before(what, passes):
    told = told_by(updates=3, groups=12)
    assert [one for one in told if one[0].startswith(what)] == [
        (f"{what} {number} of {passes}: micro-batch", done, 2)
        for number in range(1, passes + 1)
        for done in (0, 1)
    ]
    assert told[0][0].startswith("scoring")
    assert told[-1][0].startswith("update")
