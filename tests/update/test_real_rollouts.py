"""What the objectives promise, on rollouts of a real policy that real rewards were given to.

The tests imported here state what holds of every policy in the package; the fixtures give them one.
"""

import copy
from dataclasses import fields, replace

import jax
import numpy as np
import pytest

from perl_jax.experience.config import GroupFilterConfig
from perl_jax.rewards import Grader, RewardConfig
from perl_jax.types import TrainBatch
from tests.update.cases import largest_error, quick_compilation, quiet_gradients
from tests.update.equal_reward import always_one
from tests.update.real_runs import GROUPS, ROLLOUTS, Demo, arrays
from tests.update.test_packaged_policies import (  # noqa: F401
    test_a_digit_is_one_token_and_a_question_fits_the_demo,
    test_a_step_moves_every_parameter_and_keeps_them_finite,
    test_it_answers_some_questions_rightly_and_others_not,
)

ALWAYS_ONE = f"{always_one.__module__}:{always_one.__name__}"


@pytest.fixture(scope="module")
def demo():
    with quick_compilation(), Grader(num_workers=1, deadline=120.0) as grader:
        yield Demo.load(grader)


@pytest.fixture(scope="module")
def collected(demo):
    return demo.collect()


@pytest.fixture(scope="module")
def learner(demo):
    return demo.learner()


def gradients_of(learner, demo, batch):
    state = learner.init(demo.model, jax.random.key(0))
    (gradients,), stats = quiet_gradients(learner, state, batch)
    return gradients, stats


@pytest.fixture(scope="module")
def gradients(learner, demo, collected):
    return gradients_of(learner, demo, collected.batch)


def rewards_of(collected):
    return np.array([row["reward"] for row in collected.records])


def accuracy_of(collected):
    """The accuracy of every group: rewards are 0.9 for a right answer and 0.1 for the format."""
    return (rewards_of(collected) > 0.5).reshape(GROUPS, -1)


def test_the_rollouts_are_real(collected):
    accuracy = accuracy_of(collected)
    assert 0 < accuracy.mean() < 1
    assert accuracy.any(axis=1).sum() >= 2
    assert collected.records[0]["responses"][0][0].startswith("<think>")
    assert len({row["id"] for row in collected.records}) == GROUPS
    assert all(len(row["orders"]) == 2 for row in collected.records)


def test_the_advantages_of_every_group_sum_to_zero_and_have_its_spread(collected):
    advantages = collected.batch.advantages.reshape(GROUPS, -1)
    assert np.abs(advantages.sum(axis=1)).max() < 1e-5
    spread = np.array([len(set(group)) > 1 for group in accuracy_of(collected).tolist()])
    assert spread.any()
    assert np.allclose(advantages[spread].std(axis=1, ddof=1), 1, atol=1e-4)
    # Right answers are better than wrong ones, in all orders of an example alike.
    right = accuracy_of(collected)[spread]
    assert advantages[spread][right].min() > 0 > advantages[spread][~right].max()


def test_groups_whose_rewards_are_all_equal_change_nothing(demo, learner, collected):
    state = learner.init(demo.model, jax.random.key(0))
    before = arrays(state)
    equal = demo.collect(reward=RewardConfig({"same": 1.0}, {"same": ALWAYS_ONE}))
    assert not equal.batch.advantages.any()
    assert equal.batch.mask.sum() == collected.batch.mask.sum() > 0
    state, stats = learner.reinforce(state, equal.batch)
    assert stats == {}
    assert learner.num_updates(equal.batch) == learner.operations(equal.batch) == 0
    assert all(np.array_equal(before[path], leaf) for path, leaf in arrays(state).items())


def dealt(learner, updates, epochs=1):
    """The learner with other numbers of updates and epochs, and the same programs."""
    other = copy.copy(learner)
    other.config = replace(
        learner.config, updates_per_batch=updates, epochs_per_batch=epochs, recompute_old=True
    )
    return other


def informing(batch, groups):
    """The batch in which only these groups have advantages, of either sign."""
    drawn = np.random.default_rng(0).normal(size=batch.advantages.shape).astype(np.float32)
    informs = np.isin(np.arange(GROUPS), groups)[:, None, None]
    return replace(batch, advantages=np.where(informs, drawn, 0))


def norms_of(learner, demo, batch):
    """The norms of the gradient and of what was added to the parameters, of every update."""
    norms, real = [], learner.programs.apply

    def apply(state, gradients):
        state, stats = real(state, gradients)
        norms.append([float(stats[f"optimizer/{name}_norm"]) for name in ("grad", "update")])
        return state, stats

    learner.programs.apply = apply
    try:
        state = learner.init(demo.model, jax.random.key(0))
        _, stats = learner.reinforce(state, batch)
    finally:
        learner.programs.apply = real
    assert len(norms) == float(stats["update/applied"]) == learner.num_updates(batch)
    return np.array(norms)


def test_one_group_of_four_that_informs_makes_one_update_where_four_are_asked_for(
    demo, learner, collected
):
    batch = informing(collected.batch, [2])
    ((gradient, update),) = norms_of(dealt(learner, 4), demo, batch)
    assert gradient > 0
    assert update > 0
    # Its tokens are a part of all: the others make the gradient smaller.
    parts = {field.name: getattr(batch, field.name) for field in fields(batch)}
    alone = TrainBatch(**{name: part[2:3] for name, part in parts.items() if part is not None})
    of_all, _ = gradients_of(learner, demo, batch)
    of_one, _ = gradients_of(learner, demo, alone)
    share = alone.mask.sum() / batch.mask.sum()
    scaled = {path: share * leaf for path, leaf in of_one.items()}
    error, where = largest_error(of_all, scaled)
    assert error < 1e-5, where


@pytest.mark.parametrize(
    ("groups", "updates", "epochs", "made"),
    [([1], 2, 2, 2), ([0, 1, 3], 2, 1, 2), ([0, 1, 2, 3], 3, 2, 6)],
)
def test_every_update_of_a_real_policy_has_a_gradient(
    groups, updates, epochs, made, demo, learner, collected
):
    learner = dealt(learner, updates, epochs)
    norms = norms_of(learner, demo, informing(collected.batch, groups))
    assert len(norms) == made
    assert norms.min() > 0


def test_a_shift_of_all_rewards_changes_nothing(demo, learner, collected, gradients):
    weights = {"accuracy": 0.9, "format": 0.1, "same": 8.0}
    shifted = demo.collect(reward=RewardConfig(weights, {"same": ALWAYS_ONE}))
    difference = rewards_of(shifted) - rewards_of(collected)
    assert np.allclose(difference, 8)
    assert np.allclose(shifted.batch.advantages, collected.batch.advantages, atol=1e-5)
    error, where = largest_error(gradients_of(learner, demo, shifted.batch)[0], gradients[0])
    assert error < 1e-5, where


def test_sampler_and_trainer_agree_on_every_token(gradients):
    _, stats = gradients
    assert float(stats["policy/logprob_gap_max"]) < 1e-4
    assert float(stats["policy/ratio_min"]) == float(stats["policy/ratio_max"]) == 1


def test_rollouts_that_could_not_be_graded_change_nothing(demo, learner, collected):
    batch = collected.batch
    mask = batch.mask.copy()
    mask[:, :, -1] = False
    wild = batch.advantages.copy()
    wild[:, :, -1] = 1e6
    without = replace(batch, mask=mask, advantages=np.where(mask.any(-1), batch.advantages, 0))
    with_them = replace(batch, mask=mask, advantages=wild)
    want, _ = gradients_of(learner, demo, without)
    got, _ = gradients_of(learner, demo, with_them)
    assert all(np.array_equal(got[path], want[path]) for path in want)


def test_the_filter_keeps_informative_groups_alone_and_counts_the_others(demo):
    collected = demo.collect(filtering=GroupFilterConfig(max_draws=4))
    kept = [np.array(row["reward"]) > 0.5 for row in collected.records if row["outcome"] == "kept"]
    assert kept
    assert all(0 < accuracy.mean() < 1 for accuracy in kept)
    counts = {name.split("/")[1]: value for name, value in collected.metrics.items()
              if name.startswith("filter/")}  # fmt: skip
    dropped = sum(counts[name] for name in ("too_easy", "too_hard", "unscored"))
    assert counts["kept"] + dropped == counts["drawn"] == len(collected.records)
    assert counts["kept"] == len(kept)


def test_the_same_seed_draws_the_same_and_another_one_does_not(demo, collected):
    again, other = demo.collect(), demo.collect(seed=1)
    assert again.records == collected.records
    for name in ("tokens", "lengths", "advantages"):
        assert np.array_equal(getattr(again.batch, name), getattr(collected.batch, name))
    assert [row["id"] for row in other.records] != [row["id"] for row in collected.records]


def test_orders_share_images_and_permuted_answers_are_graded_as_permuted(collected):
    for group in collected.batch.groups:
        assert len(group.prompts) == 2
        shown = [{image.key for image in prompt.images} for prompt in group.prompts]
        assert shown[0] == shown[1]
        assert len(group.images) <= 4
    assert collected.metrics["permutation/rate_realised"] == 1
    assert collected.metrics["permutation/orders"] == 2
    assert collected.metrics["rollout/length"] == pytest.approx(collected.batch.lengths.mean())
    assert rewards_of(collected).shape == (GROUPS, 2, ROLLOUTS)
