"""The loss of the policy gradient on log-probabilities that are written down."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.objectives import Objective
from perl_jax.update import losses
from perl_jax.update.packing import MicroBatch

# One order, one rollout of two tokens and padding.
WEIGHTS = np.array([[[0.5, 0.5, 0.0]]], np.float32)
NEW = np.log(np.array([[[0.40, 0.22, 0.1]]], np.float32))
OLD = np.log(np.array([[[0.50, 0.20, 0.9]]], np.float32))
SAMPLED = np.log(np.array([[[0.25, 0.25, 0.1]]], np.float32))


@pytest.fixture
def loss(monkeypatch):
    """The share and the statistics of a micro-batch with these log-probabilities."""
    entropy = jnp.full(NEW.shape, 2.0)
    monkeypatch.setattr(losses, "response_logprobs", lambda *_: (jnp.asarray(NEW), entropy))

    def compute(cap, importance="truncate", **values):
        given = {
            "weights": WEIGHTS,
            "sampled": SAMPLED,
            "advantages": np.ones((1, 1), np.float32),
            **values,
        }

        @jax.jit
        def of(given):
            batch = MicroBatch(None, None, None, None, None, given)
            return losses.policy_gradient_loss(
                None,
                batch,
                None,
                head=None,
                objective=Objective(kl_coefficient=0.5),
                importance_cap=cap,
                importance=importance,
            )

        share, stats = of(given)
        return float(share), {name: float(value) for name, value in stats.items()}

    return compute


def test_importance_weights_compare_the_old_policy_with_the_sampled_one_not_the_new(loss):
    share, stats = loss(1.5, old=OLD)
    # The old policy against the sampler's: 0.5 / 0.25 = 2, cut to 1.5, and 0.2 / 0.25 = 0.8.
    assert stats["mean/policy/importance_weight_mean"] / 2 == pytest.approx((1.5 + 0.8) / 2)
    assert stats["mean/policy/importance_weight_truncated"] / 2 == pytest.approx(0.5)
    assert stats["max/policy/logprob_gap_max"] == pytest.approx(np.log(2), rel=1e-5)
    # The new policy against the old: 0.8 and 1.1, within the clip.
    assert share == pytest.approx(-(1.5 * 0.8 + 0.8 * 1.1) / 2, rel=1e-5)


def test_tokens_or_responses_are_left_out_by_their_weight(loss):
    # Ratios of 2 and 0.8; their geometric mean is sqrt(1.6) = 1.265. New against old: 0.8 and 1.1.
    share, stats = loss(1.5, "mask_token", old=OLD)
    assert share == pytest.approx(-(0 + 0.8 * 1.1) / 2, rel=1e-5)
    assert stats["mean/policy/importance_weight_masked"] / 2 == pytest.approx(0.5)
    assert stats["mean/policy/importance_weight_mean"] / 2 == pytest.approx(0.4)
    assert "mean/policy/importance_weight_truncated" not in stats
    kept, _ = loss(1.3, "mask_sequence", old=OLD)
    assert kept == pytest.approx(-(0.8 + 1.1) / 2, rel=1e-5)
    share, stats = loss(1.2, "mask_sequence", old=OLD)
    assert share == 0
    assert stats["mean/policy/importance_weight_masked"] / 2 == 1


def test_a_changing_coefficient_takes_the_place_of_the_objectives(loss):
    without, _ = loss(None, old=OLD)
    constant, stats = loss(None, old=OLD, reference=OLD)
    kl = stats["mean/policy/kl"] / 2
    assert constant - without == pytest.approx(0.5 * kl, rel=1e-4)
    changed, _ = loss(None, old=OLD, reference=OLD, kl_coefficient=np.float32(2))
    assert changed - without == pytest.approx(2 * kl, rel=1e-4)


def test_without_a_cap_there_are_no_weights_but_the_gap_is_measured(loss):
    share, stats = loss(None, old=OLD)
    assert share == pytest.approx(-(0.8 + 1.1) / 2, rel=1e-5)
    assert "mean/policy/importance_weight_mean" not in stats
    gap = (np.log(2) + np.log(0.25 / 0.2)) / 2
    assert stats["mean/policy/logprob_gap_mean"] / 2 == pytest.approx(gap, rel=1e-5)


def test_with_one_update_a_batch_the_new_policy_is_the_old_one(loss):
    share, stats = loss(2.0)
    # 0.4 / 0.25 = 1.6 and 0.22 / 0.25 = 0.88; the ratio is 1.
    assert share == pytest.approx(-(1.6 + 0.88) / 2, rel=1e-5)
    assert stats["mean/policy/ratio_mean"] / 2 == pytest.approx(1)


def test_of_the_first_of_several_updates_the_new_policy_is_the_old_one_too(loss):
    assert loss(2.0, old=OLD, unchanged=np.array(True)) == loss(2.0)
    assert loss(2.0, old=OLD, unchanged=np.array(False)) == loss(2.0, old=OLD)


def test_every_statistic_has_its_name_in_the_logs(loss):
    from perl_jax.training.display.metrics import find_metric

    _, stats = loss(2.0, old=OLD, reference=OLD)
    _, masked = loss(2.0, "mask_token", old=OLD)
    stats |= {name: value for name, value in masked.items() if name not in stats}
    names = {name.split("/", 1)[1] for name in stats} - {"tokens"}
    assert [name for name in names if find_metric(name) is None] == []
    assert stats["sum/policy/loss"] == loss(2.0, old=OLD, reference=OLD)[0]
    assert stats["count/tokens"] == 2
