"""Every preset against its step in NumPy: advantages, loss, and gradient of the log-probabilities.

Each step is written out from its paper, with numbers of its own; it shares nothing with the package
but the arrays.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.objectives import PRESETS
from perl_jax.objectives.aggregation import token_weights
from perl_jax.types import TrainBatch
from perl_jax.update import losses
from perl_jax.update.kl_reward import with_penalty
from perl_jax.update.packing import MicroBatch

# Three examples under two orders, four rollouts each, of up to five tokens.
SHAPE = (3, 2, 4, 5)
LENGTH = 7  # The generation budget.
EPSILON = 1e-6


class Arrays:
    """A random batch: responses of all lengths, one rollout unscored, one order absent."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, SHAPE[-1] + 1, SHAPE[:-1])
        lengths[1, 1] = 0
        self.lengths = lengths.astype(np.int32)
        self.mask = np.arange(SHAPE[-1]) < lengths[..., None]
        self.mask[0, 0, 1] = False
        self.rewards = rng.choice([0.0, 0.5, 1.0], SHAPE[:-1])
        self.new, self.old, self.reference = rng.normal(-1.5, 0.4, (3, *SHAPE))
        # Some ratios beyond every clip, and above the dual one.
        self.old -= rng.choice([0.0, 0.0, 1.4, -0.6], SHAPE)
        self.counts = self.mask.any(-1)

    def per_group(self, function):
        """Applies a function to the counted rewards of each example, over its orders."""
        found = np.zeros(SHAPE[:-1])
        for b in range(SHAPE[0]):
            found[b][self.counts[b]] = function(self.rewards[b][self.counts[b]])
        return found


def grpo_advantages(x):
    return x.per_group(lambda r: (r - r.mean()) / (r.std(ddof=1) + EPSILON))


def clipped(x, advantages, low, high, dual=None):
    """The loss of each token, and its derivative."""
    a = advantages if advantages.ndim == 4 else np.repeat(advantages[..., None], SHAPE[-1], -1)
    ratio = np.exp(x.new - x.old)
    loss, slope = -a * ratio, -a * ratio
    held = ((a > 0) & (ratio > 1 + high)) | ((a < 0) & (ratio < 1 - low))
    loss = np.where(held, -a * np.clip(ratio, 1 - low, 1 + high), loss)
    slope = np.where(held, 0, slope)
    if dual is not None:
        cut = (a < 0) & (ratio > dual)
        loss, slope = np.where(cut, -a * dual, loss), np.where(cut, 0, slope)
    return loss, slope


def k3(x, coefficient):
    difference = x.new - x.reference
    value = np.exp(-difference) - 1 + difference
    return coefficient * value, coefficient * (1 - np.exp(-difference))


def added(*pairs):
    return sum(loss for loss, _ in pairs), sum(slope for _, slope in pairs)


def token_mean(x, loss, slope):
    count = x.mask.sum()
    return np.sum(loss[x.mask]) / count, np.where(x.mask, slope, 0) / count


def mean_of_means(x, loss, slope):
    total, gradient = 0.0, np.zeros(SHAPE)
    responses = np.argwhere(x.counts)
    for b, k, n in responses:
        of = x.mask[b, k, n]
        share = 1 / len(responses) / of.sum()
        total += share * loss[b, k, n][of].sum()
        gradient[b, k, n] = np.where(of, slope[b, k, n], 0) * share
    return total, gradient


def summed(x, loss, slope, divisor):
    return np.sum(loss[x.mask]) / divisor, np.where(x.mask, slope, 0) / divisor


def grpo(x):
    a = grpo_advantages(x)
    return a, *mean_of_means(x, *added(clipped(x, a, 0.2, 0.2), k3(x, 0.04)))


def dr_grpo(x):
    a = x.per_group(lambda r: r - r.mean())
    return a, *summed(x, *clipped(x, a, 0.2, 0.2), x.counts.sum() * LENGTH)


def dapo(x):
    a = grpo_advantages(x)
    return a, *token_mean(x, *clipped(x, a, 0.2, 0.28))


def gspo(x):
    a = grpo_advantages(x)
    loss, slope = np.zeros(SHAPE), np.zeros(SHAPE)
    for b, k, n in np.argwhere(x.counts):
        of = x.mask[b, k, n]
        ratio = np.exp((x.new - x.old)[b, k, n][of].mean())
        held = ratio > 1 + 4e-4 if a[b, k, n] > 0 else ratio < 1 - 3e-4
        bounded = np.clip(ratio, 1 - 3e-4, 1 + 4e-4) if held else ratio
        loss[b, k, n][of] = -a[b, k, n] * bounded
        # Each token of GSPO-token carries the gradient of its own log-probability.
        slope[b, k, n][of] = 0 if held else -a[b, k, n] * ratio
    return a, *mean_of_means(x, loss, slope)


def cispo(x):
    a = grpo_advantages(x)
    weight = np.minimum(np.exp(x.new - x.old), 5)
    return a, *token_mean(x, -weight * a[..., None] * x.new, -weight * a[..., None])


def rloo(x):
    divergence = np.where(x.mask, x.old - x.reference, 0).sum(-1)
    x.rewards = x.rewards - 0.05 * divergence
    a = x.per_group(lambda r: r - (r.sum() - r) / (len(r) - 1))
    return a, *summed(x, *clipped(x, a, 0.2, 0.2), x.counts.sum())


def reinforce_pp(x):
    a = np.zeros(SHAPE)
    for b, k, n, t in np.argwhere(x.mask):
        to_come = (x.old - x.reference)[b, k, n, t:][x.mask[b, k, n, t:]].sum()
        a[b, k, n, t] = x.rewards[b, k, n] - 0.01 * to_come
    every = a[x.mask]
    a = np.where(x.mask, (a - every.mean()) / (every.std() + EPSILON), 0)
    return a, *token_mean(x, *clipped(x, a, 0.2, 0.2))


def perl(x):
    a = grpo_advantages(x)
    return a, *token_mean(x, *added(clipped(x, a, 0.2, 0.2, dual=3.0), k3(x, 0.01)))


ALL = (grpo, dr_grpo, dapo, gspo, cispo, rloo, reinforce_pp, perl)
STEPS = {step.__name__: step for step in ALL}


def step_of(monkeypatch, objective, x):
    """Advantages, loss and gradient of the update on a batch of these arrays."""
    scores = (x.old, x.reference)
    old, reference = (np.where(x.mask, one, np.nan).astype(np.float32) for one in scores)
    rewards = np.where(x.counts, x.rewards, np.nan).astype(np.float32)
    advantages = np.asarray(objective.advantages(rewards, x.counts))
    tokens = np.zeros(SHAPE, np.int32)
    batch = TrainBatch((), tokens, x.lengths, old, rewards, advantages, x.mask)
    if objective.penalises_rewards:
        batch, _ = with_penalty(objective, batch, old, reference)
    # As packed: the orders of all examples below one another, the absent one left out.
    rows = np.argwhere(x.lengths.any(-1))
    index = tuple(rows.T)
    values = {
        "weights": token_weights(x.mask, objective.aggregation, LENGTH)[index],
        "advantages": batch.advantages[index],
        "old": old[index],
        "sampled": old[index],
    }
    if objective.kl_in == "loss" and objective.kl_coefficient:
        values["reference"] = reference[index]

    def loss(logprobs):
        entropy = jnp.zeros(logprobs.shape)
        monkeypatch.setattr(losses, "response_logprobs", lambda *_: (logprobs, entropy))
        micro = MicroBatch(*[None] * 5, values=jax.tree.map(jnp.asarray, values))
        return losses.policy_gradient_loss(
            None, micro, None, head=None, objective=objective, importance_cap=None
        )[0]

    new = jnp.asarray(x.new.astype(np.float32)[index])
    total, slope = jax.value_and_grad(loss)(new)
    gradient = np.zeros(SHAPE)
    gradient[index] = slope
    return batch.advantages, total, gradient


def test_every_preset_has_its_step():
    assert STEPS.keys() == PRESETS.keys()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_takes_the_step_that_numpy_takes(monkeypatch, name, seed):
    advantages, loss, gradient = step_of(monkeypatch, PRESETS[name], Arrays(seed))
    want_advantages, want_loss, want_gradient = STEPS[name](Arrays(seed))
    np.testing.assert_allclose(advantages, want_advantages, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(loss, want_loss, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, want_gradient, rtol=1e-5, atol=1e-5)
    assert np.abs(want_gradient).max() > 1e-3
