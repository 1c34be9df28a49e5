"""The update over shared prefixes is the plain one: G padded sequences, one loss, its gradients."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx

from perl_jax.kernels import Kernel
from perl_jax.update.packing import Sizes
from tests.update.cases import (
    PACKING,
    SharedPrefixCase,
    largest_error,
    quick_compilation,
    quiet_gradients,
    write_small_checkpoint,
)


@pytest.fixture(scope="module", autouse=True)
def _quick():
    with quick_compilation():
        yield


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return SharedPrefixCase(write_small_checkpoint(tmp_path_factory.mktemp("small")))


# Two responses share a row of attention in `PACKING`. If rows are no longer than the longest needs,
# each has its own.
APART = {"response_lengths": (13,)}


@pytest.mark.parametrize(("micro_groups", "changes"), [(1, {}), (2, {}), (4, {}), (2, APART)])
def test_one_update_has_the_loss_and_the_gradients_of_separate_sequences(
    micro_groups, changes, case
):
    learner = case.learner
    learner.config = replace(
        learner.config,
        updates_per_batch=1,
        packing=replace(PACKING, micro_groups=micro_groups, **changes),
    )
    state = learner.init(case.policy, jax.random.key(0))
    gradients, stats = quiet_gradients(learner, state, case.batch)
    loss, want, _, _ = case.plain_update(case.policy, [0, 1, 2, 3])
    assert float(stats["policy/loss"]) == pytest.approx(loss, abs=1e-6)
    error, where = largest_error(gradients[0], want)
    assert error <= 1e-5, where


# On meshes, an update by the TPU's kernels is compared with the same.
@pytest.mark.parametrize("platform", [pytest.param("tpu", marks=pytest.mark.soak), "gpu"])
def test_an_update_by_kernels_has_the_loss_and_the_gradients_of_separate_sequences(platform, case):
    """Its kernels are interpreted."""
    reference = nnx.merge(*nnx.split(case.reference_model))
    reference.attend_by(Kernel(platform, interpret=True, least=1))
    learner = case.learner_on(reference)
    packing = replace(PACKING, micro_groups=4)
    learner.config = replace(learner.config, updates_per_batch=1, packing=packing)
    state = learner.init(case.policy, jax.random.key(0))
    gradients, stats = quiet_gradients(learner, state, case.batch)
    loss, want, _, _ = case.plain_update(case.policy, [0, 1, 2, 3])
    assert float(stats["policy/loss"]) == pytest.approx(loss, abs=1e-6)
    error, where = largest_error(gradients[0], want)
    assert error <= 1e-5, where


@pytest.mark.parametrize("micro_groups", [1, 2])
def test_two_updates_of_a_batch_compare_with_the_policy_before_the_first(micro_groups, case):
    learner = case.learner
    learner.config = replace(
        learner.config,
        updates_per_batch=2,
        packing=replace(PACKING, micro_groups=micro_groups),
    )
    state = learner.init(case.policy, jax.random.key(0))
    moved = learner.policy.split(case.moved)
    gradients, stats = quiet_gradients(learner, state, case.batch, then=[moved])

    first = case.plain_update(case.policy, [0, 1])
    second = case.plain_update(case.moved, [2, 3])
    assert float(stats["policy/loss"]) == pytest.approx((first[0] + second[0]) / 2, abs=1e-6)
    for got, (_, want, _, _) in zip(gradients, (first, second), strict=True):
        error, where = largest_error(got, want)
        assert error <= 1e-5, where

    # The comparison shows something only if ratios clip on both sides.
    _, _, logprobs, rows = second
    ratio = np.exp(logprobs - case.old)[rows]
    assert (ratio < 0.8).mean() > 0.02
    assert (ratio > 1.5).mean() > 0.02
    assert float(stats["policy/ratio_max"]) == pytest.approx(max(ratio.max(), 1), rel=1e-4)
    assert float(stats["policy/ratio_min"]) == pytest.approx(min(ratio.min(), 1), rel=1e-4)
    assert float(stats["tokens"]) == case.batch.mask.sum()


# That of layers, the other family shows by separate sequences.
@pytest.mark.parametrize(
    "remat", ["activations", "wide", "inputs", pytest.param("layers", marks=pytest.mark.soak)]
)
def test_what_the_backward_pass_computes_again_does_not_change_the_gradients(remat, case):
    """With the last two those of the text layers are added up in place, over two micro-batches."""
    packing = replace(PACKING, micro_groups=2)
    config = replace(case.learner.config, updates_per_batch=1, packing=packing)
    case.learner.config = config
    state = case.learner.init(case.policy, jax.random.key(0))
    (want,), _ = quiet_gradients(case.learner, state, case.batch)
    learner = case.learner_on(case.reference_model, remat=remat)
    learner.config = replace(config, remat=remat)
    (got,), _ = quiet_gradients(learner, state, case.batch)
    error, where = largest_error(got, want)
    assert error <= 5e-6, where


def test_micro_batches_of_one_mini_batch_have_rows_of_one_shape(case):
    """Alone, the groups would have rows of several shapes, each of which is a program."""
    packing = replace(PACKING, micro_groups=1)
    case.learner.config = replace(case.learner.config, updates_per_batch=1, packing=packing)
    (mini,) = case.learner._mini_batches(case.batch)
    made = {micro.rows.starts.shape[1:] for micro in case.learner._micro_batches(*mini)}
    assert len(made) == 1
    config = case.reference_model.config
    alone = {
        Sizes.of([[group]], lengths[None], packing, config).rows
        for group, lengths in zip(case.groups, case.batch.lengths, strict=True)
    }
    assert len(alone) > 1


def test_the_case_has_what_is_to_be_shown(case):
    lengths, config = case.batch.lengths, case.reference_model.config
    counts = [
        Sizes.of([case.groups], lengths, replace(PACKING, **changes), config).rows.count
        for changes in (APART, {})
    ]
    assert counts == [4, 2]
    batch = case.batch
    assert [len(group.prompts) for group in case.groups] == [3, 2, 3, 2]
    assert len({image.grid for group in case.groups for image in group.images}) >= 6
    real = batch.lengths > 0
    assert 0 < (real & ~batch.mask.any(-1)).sum() < real.sum()
    assert batch.lengths[real].min() == 1
    assert batch.lengths.max() == 13
    kl = np.exp(case.reference - case.old) - 1 - (case.reference - case.old)
    assert kl[case.plain.mask].mean() > 0.01
