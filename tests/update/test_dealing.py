"""How groups are dealt over the updates of a batch, and that no update is without a gradient."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from perl_jax.mesh import BatchSharding
from perl_jax.objectives import Objective
from perl_jax.objectives.aggregation import token_weights
from perl_jax.types import Group, Prompt, TrainBatch
from perl_jax.update.config import UpdateConfig
from perl_jax.update.dealing import Part, deal, groups_with_gradient, turns
from perl_jax.update.learner import Learner
from perl_jax.update.operations import Operations
from perl_jax.update.packing import PackingConfig
from perl_jax.update.stats import of_update


def dealt(pattern, updates):
    """The parts of a batch whose groups have a gradient where there is a 1."""
    return deal(np.array([mark == "1" for mark in pattern]), updates)


def test_groups_are_dealt_in_the_order_drawn_those_without_gradient_apart():
    assert dealt("1111111", 3) == [
        Part([0, 1, 2], [0, 1, 2]),
        Part([3, 4], [3, 4]),
        Part([5, 6], [5, 6]),
    ]
    # One of three goes with a gradient to each, and what is odd of the others to the last.
    assert dealt("0110010", 3) == [Part([0, 1], [1]), Part([2, 3], [2]), Part([4, 5, 6], [5])]


def test_too_few_groups_make_fewer_updates_and_none_make_none():
    assert dealt("0010", 4) == [Part([0, 1, 2, 3], [2])]
    assert dealt("11", 4) == [Part([0], [0]), Part([1], [1])]
    assert dealt("000", 2) == []


@pytest.mark.reliability("49")
@pytest.mark.parametrize("updates", [1, 2, 3, 4])
def test_every_group_is_dealt_once_and_all_counts_differ_by_at_most_one(updates):
    rng = np.random.default_rng(updates)
    for groups in range(1, 13):
        for share in (0.2, 0.5, 1.0):
            marks = rng.random(groups) < share
            parts = deal(marks, updates)
            assert len(parts) == min(updates, marks.sum())
            if parts:
                assert sorted(n for part in parts for n in part.counted) == list(range(groups))
            worked = [n for part in parts for n in part.worked]
            assert worked == np.flatnonzero(marks).tolist()
            for sizes in ([len(p.counted) for p in parts], [len(p.worked) for p in parts]):
                assert max(sizes, default=1) - min(sizes, default=1) <= 1
            assert all(part.worked and part.counted == sorted(part.counted) for part in parts)


def test_a_group_has_a_gradient_by_an_advantage_where_a_token_counts():
    advantages = np.zeros((4, 1, 2))
    advantages[1, 0, 1] = advantages[2, 0, 1] = -0.5
    mask = np.ones((4, 1, 2, 3), bool)
    mask[2, 0, 1] = False
    mask[3] = False
    # None; one; only of a rollout without tokens; no tokens at all.
    found = groups_with_gradient(advantages, mask, of_any_token=False)
    assert found.tolist() == [False, True, False, False]
    found = groups_with_gradient(advantages, mask, of_any_token=True)
    assert found.tolist() == [True, True, True, False]


def test_every_epoch_begins_with_the_next_part():
    assert turns(3, 1) == [0, 1, 2]
    assert turns(3, 3) == [0, 1, 2, 1, 2, 0, 2, 0, 1]
    assert turns(1, 2) == [0, 0]


@dataclass(frozen=True)
class Micro:
    ids: list[str]
    values: Mapping[str, Any]


class Scripted(Learner):
    """A learner of one number, whose gradient is the sum of weights times advantages.

    It remembers the groups and the gradient of each update, how often each group was scored, and
    of each micro-batch whether the policy was told to be its own old one.
    """

    def __init__(self, updates, epochs, objective=None):
        self.config = UpdateConfig(
            updates_per_batch=updates,
            epochs_per_batch=epochs,
            packing=PackingConfig(micro_groups=2),
        )
        self.objective, self.length = objective or Objective(), None
        self.reference = {} if self.objective.kl_coefficient else None
        self.sharding, self.policy, self._banned = BatchSharding(), SimpleNamespace(frozen={}), None
        self.updates, self.scored, self.now, self.own = [], [], [], []
        self.programs = SimpleNamespace(
            zeros=lambda: 0.0,
            add=self.add,
            apply=self.apply,
            score=self.score,
            of_update=of_update,
            of_batch=len,
        )

    def _micro_batch(self, mini, parts):
        groups, _, values = mini
        (numbers,) = parts
        held = {name: value[numbers] for name, value in values.items()}
        return Micro([groups[n].id for n in numbers], held)

    def score(self, params, frozen, micro, banned):
        self.scored += micro.ids
        return tuple(micro.ids)

    def add(self, gradients, params, frozen, micro, banned):
        self.own.append(bool(micro.values.get("unchanged", False)))
        if "old" in micro.values and not self.own[-1]:
            assert micro.values["old"] == tuple(micro.ids)
        self.now += micro.ids
        share = micro.values["weights"] * micro.values["advantages"][..., None]
        return gradients + share.sum(), {"count/tokens": np.float32(1)}

    def apply(self, state, gradients):
        self.updates.append((tuple(self.now), gradients))
        self.now = []
        return SimpleNamespace(params=state.params + 1, kl_coefficient=None), {}


def batch_of(advantages):
    """Groups of two rollouts of four tokens, one with this advantage and one without any."""
    prompt = Prompt(np.zeros(3, np.int32), np.zeros((3, 3), np.int32), 0)
    count = len(advantages)
    shape = (count, 1, 2)
    of_rollout = np.zeros(shape, np.float32)
    of_rollout[:, 0, 0] = advantages
    return TrainBatch(
        groups=tuple(Group.of(str(n), [prompt]) for n in range(count)),
        tokens=np.zeros((*shape, 4), np.int32),
        lengths=np.full(shape, 4, np.int32),
        logprobs=np.zeros((*shape, 4), np.float32),
        rewards=of_rollout + 1,
        advantages=of_rollout,
        mask=np.ones((*shape, 4), bool),
    )


def reinforced(learner, batch):
    state, made = learner.reinforce(SimpleNamespace(params=0, kl_coefficient=None), batch)
    assert state.params == len(learner.updates) == (made or 0)
    assert learner.num_updates(batch) == len(learner.updates)
    return learner.updates


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("updates", [1, 2, 3, 4])
def test_no_update_is_without_a_gradient_however_many_groups_inform(updates, epochs):
    for groups in range(1, 9):
        for informing in range(groups + 1):
            order = np.random.default_rng(groups).permutation(groups)
            learner = Scripted(updates, epochs)
            made = reinforced(learner, batch_of(np.where(order < informing, 1 + order, 0)))
            assert len(made) == epochs * min(updates, informing)
            assert all(gradient > 0 for _, gradient in made)
            # No pass is spent on the others: neither an update nor a score.
            real = sorted(str(n) for n in np.flatnonzero(order < informing))
            assert sorted(id for ids, _ in made for id in ids) == sorted(real * epochs)
            # Nor is a score on the first part, unless it has another update.
            first = {id for ids, _ in made[:1] for id in ids} if epochs == 1 else set()
            assert sorted(learner.scored) == sorted(set(real) - first)


def test_of_the_first_update_alone_the_old_policy_is_the_policy_itself():
    learner = Scripted(3, 1)
    made = reinforced(learner, batch_of([1, 2, 3, 4, 5, 6]))
    assert [ids for ids, _ in made] == [("0", "1"), ("2", "3"), ("4", "5")]
    assert learner.own == [True, False, False]
    assert learner.scored == ["2", "3", "4", "5"]


def test_old_log_probabilities_that_a_batch_brings_are_those_of_every_update():
    learner, batch = Scripted(2, 1), batch_of([1, 2, 3, 4])
    brought = batch.logprobs + np.arange(4, dtype=np.float32)[:, None, None, None]
    seen, add = [], learner.programs.add

    def told(gradients, params, frozen, micro, banned):
        assert "unchanged" not in micro.values
        seen.extend(zip(micro.ids, micro.values["old"].mean(axis=(1, 2, 3)), strict=True))
        values = {name: value for name, value in micro.values.items() if name != "old"}
        return add(gradients, params, frozen, replace(micro, values=values), banned)

    learner.programs.add = told
    assert len(reinforced(learner, replace(batch, old=brought))) == 2
    assert seen == [("0", 0), ("1", 1), ("2", 2), ("3", 3)]
    assert learner.scored == []


@pytest.mark.parametrize("change", [{"recompute_old": True}, {"epochs_per_batch": 2}])
def test_where_the_first_part_is_to_be_scored_no_update_is_told_so(change):
    learner = Scripted(2, 1)
    learner.config = replace(learner.config, **change)
    made = reinforced(learner, batch_of([1, 2, 3, 4]))
    assert learner.own == len(made) * [False]
    assert sorted(learner.scored) == ["0", "1", "2", "3"]


def test_one_group_of_four_that_informs_makes_one_update_of_four():
    batch = batch_of([0, 3, 0, 0])
    ((ids, gradient),) = reinforced(Scripted(4, 1), batch)
    assert ids == ("1",)
    # Its four tokens weigh a thirty-second each: those of all four groups are counted.
    assert gradient == pytest.approx(4 * 3 / 32)


def test_gradients_are_those_of_the_parts_with_the_weights_of_all_their_groups():
    advantages = np.array([1.0, 0, 2, 4, 0, 8, 16])
    batch = batch_of(advantages)
    made = reinforced(Scripted(2, 1), batch)
    assert [tuple(sorted(ids)) for ids, _ in made] == [("0", "2", "3"), ("5", "6")]
    # Group 1 counts with the first part, group 4 with the second.
    for (_, gradient), rows in zip(made, ([0, 1, 2, 3], [4, 5, 6]), strict=True):
        weights = token_weights(batch.mask[rows])
        want = (weights * batch.advantages[rows][..., None]).sum()
        assert gradient == pytest.approx(want, rel=1e-6)


def test_a_full_batch_has_the_parts_that_follow_one_another():
    made = reinforced(Scripted(2, 2), batch_of([1, 1, 1, 1, 1, 1]))
    first, second = ("0", "1", "2"), ("3", "4", "5")
    assert [tuple(sorted(ids)) for ids, _ in made] == [first, second, second, first]


@pytest.mark.parametrize(
    "objective", [Objective(kl_coefficient=0.1), Objective(entropy_coefficient=-0.1)]
)
def test_with_a_penalty_or_a_bonus_every_group_with_tokens_is_worked_on(objective):
    learner = Scripted(2, 1, objective)
    learner.reinforce(SimpleNamespace(params=0, kl_coefficient=None), batch_of([0, 1, 0, 0]))
    assert [ids for ids, _ in learner.updates] == [("0", "1"), ("2", "3")]


def test_the_reference_scores_every_group_once_whatever_the_number_of_epochs():
    learner = Scripted(2, 3, Objective(kl_coefficient=0.1))
    seen = []

    def add(gradients, params, frozen, micro, banned):
        # Each micro-batch gets its own scores back.
        assert micro.values["reference"] == tuple(micro.ids)
        seen.extend(micro.ids)
        return gradients, {"count/tokens": np.float32(1)}

    learner.programs.add = add
    # The reference's score counts as any; old log-probabilities are scored before.
    learner.reinforce(SimpleNamespace(params=0, kl_coefficient=None), batch_of([1, 2, 3, 4]))
    assert sorted(seen) == sorted("0123" * 3)
    assert sorted(learner.scored) == sorted("0123" * 2)


@pytest.mark.parametrize(
    ("budget", "passes"), [(None, 1), (36, 1), (35, 2), (18, 2), (17, 4), (1, 4)]
)
def test_a_budget_of_tokens_cuts_a_batch_into_more_passes(budget, passes):
    """Each of four groups has a prompt of three tokens, and reads three of both responses."""
    learner = Scripted(1, 1)
    packing = PackingConfig(micro_groups=4, budget=budget)
    learner.config = replace(learner.config, packing=packing)
    told = []
    state = SimpleNamespace(params=0, kl_coefficient=None)
    learner.reinforce(state, batch_of([1, 2, 3, 4]), lambda what, done, of: told.append((done, of)))
    assert told == [(number, passes) for number in range(passes)]
    ((ids, _),) = learner.updates
    assert sorted(ids) == list("0123")


def test_a_penalty_that_is_to_come_into_the_rewards_may_give_any_group_a_gradient():
    objective = Objective(kl_coefficient=0.1, kl_in="reward")
    learner, batch = Scripted(2, 1, objective), batch_of([0, 1, 0])
    assert learner.num_updates(batch) == 2
    # Once it is within them, the advantages tell.
    penalised = replace(batch, old=batch.logprobs)
    assert learner.num_updates(penalised) == 1


def test_only_groups_with_a_gradient_count_as_work_once_an_epoch(monkeypatch):
    counted = []

    def operations(config, groups, responses):
        counted.append(([group.id for group in groups], responses.lengths.sum()))
        return Operations(vision=0, text=100)

    monkeypatch.setattr("perl_jax.update.learner.forward_operations", operations)
    learner = Scripted(1, 2, Objective(kl_coefficient=0.0))
    learner.model_config, learner.policy = None, SimpleNamespace(paths=["text"])
    # Two epochs of a pass and its gradients, and old log-probabilities once.
    assert learner.operations(batch_of([0, 1, 0])) == 2 * 300 + 100
    assert counted == [(["1"], 8)]


def test_the_scores_of_a_first_part_that_is_not_scored_are_no_work(monkeypatch):
    def operations(config, groups, responses):
        return Operations(vision=0, text=100 * len(groups))

    monkeypatch.setattr("perl_jax.update.learner.forward_operations", operations)
    learner = Scripted(2, 1, Objective(kl_coefficient=0.0))
    learner.model_config, learner.policy = None, SimpleNamespace(paths=["text"])
    # Three groups that inform: two of them are the first part.
    assert learner.operations(batch_of([1, 1, 0, 1])) == 3 * 300 + 100
    assert learner.operations(batch_of([0, 0])) == 0
    # A penalty of the rewards needs all scores before, and those of the reference.
    learner = Scripted(2, 1, Objective(kl_coefficient=0.1, kl_in="reward"))
    learner.model_config, learner.policy = None, SimpleNamespace(paths=["text"])
    assert learner.operations(batch_of([1, 1, 0, 1])) == 4 * 300 + 2 * 400
