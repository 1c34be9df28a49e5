import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.objectives import aggregate, cispo_loss, policy_loss, truncated_importance_weights


def from_ratios(ratios, advantages, **settings):
    """The loss of tokens with these ratios, one response a token; all are in the mask."""
    logprobs = jnp.log(jnp.array(ratios, jnp.float32))[:, None]
    old = jnp.zeros_like(logprobs)
    mask = jnp.ones_like(logprobs, bool)
    loss, stats = policy_loss(logprobs, old, jnp.array(advantages), mask, **settings)
    return loss[:, 0], stats


def reference(logprobs, old, advantages, mask, low, high, dual, level):
    """The definition, one token at a time, in float64."""
    loss = np.zeros(logprobs.shape)
    for i, t in zip(*np.nonzero(mask), strict=True):
        log_ratio = (logprobs[i].astype(np.float64) - old[i])[mask[i]]
        d = log_ratio.mean() if level == "sequence" else float(logprobs[i, t]) - float(old[i, t])
        ratio, advantage = math.exp(d), float(advantages[i])
        value = min(ratio * advantage, min(max(ratio, 1 - low), 1 + high) * advantage)
        if dual is not None and advantage < 0:
            value = max(value, dual * advantage)
        loss[i, t] = -value
    return loss


def random_batch(seed, spread=0.5):
    rng = np.random.default_rng(seed)
    old = -rng.exponential(1.0, (5, 7)).astype(np.float32)
    logprobs = (old + spread * rng.normal(size=old.shape)).astype(np.float32)
    advantages = rng.normal(size=5).astype(np.float32)
    mask = rng.random(old.shape) < 0.7
    mask[3] = False
    return logprobs, old, advantages, mask


def test_a_positive_advantage_is_clipped_above_only():
    # A = 2: 2 * 0.5 below the band counts in full, 2 * 1.1 inside too, 2 * 1.5 becomes 2 * 1.28.
    loss, stats = from_ratios([0.5, 1.1, 1.5], [2.0, 2.0, 2.0], clip_low=0.2, clip_high=0.28)
    np.testing.assert_allclose(loss, [-1.0, -2.2, -2.56], 1e-6)
    np.testing.assert_allclose(stats["clip_fraction_high"], 1 / 3, 1e-6)
    assert stats["clip_fraction_low"] == 0


def test_a_negative_advantage_is_clipped_below_only():
    # A = -2: 2 * 0.5 becomes 2 * 0.8, 1.1 and 1.5 count in full.
    loss, stats = from_ratios([0.5, 1.1, 1.5], [-2.0, -2.0, -2.0], clip_low=0.2, clip_high=0.28)
    np.testing.assert_allclose(loss, [1.6, 2.2, 3.0], 1e-6)
    np.testing.assert_allclose(stats["clip_fraction_low"], 1 / 3, 1e-6)
    assert stats["clip_fraction_high"] == 0


def test_the_dual_clip_bounds_a_negative_advantage_only():
    # Ratio 5 with A = -1 becomes 3. With A = 1 the upper clip makes it 1.2: loss -1.2.
    loss, stats = from_ratios([5.0, 2.0, 5.0], [-1.0, -1.0, 1.0], dual_clip=3.0)
    np.testing.assert_allclose(loss, [3.0, 2.0, -1.2], 1e-6)
    np.testing.assert_allclose(stats["dual_clip_fraction"], 1 / 3, 1e-6)


def test_without_a_dual_clip_a_negative_advantage_is_not_bounded():
    loss, stats = from_ratios([5.0], [-1.0], dual_clip=None)
    np.testing.assert_allclose(loss, [5.0], 1e-6)
    assert stats["dual_clip_fraction"] == 0


def test_the_sequence_ratio_is_the_geometric_mean_over_the_unmasked_tokens():
    # Log-ratios 0.2 and 0.4 (the 9 is masked): mean 0.3, exp(0.3) = 1.349859.
    logprobs, old = jnp.array([[0.2, 9.0, 0.4]]) - 1, jnp.full((1, 3), -1.0)
    mask = jnp.array([[True, False, True]])
    loss, stats = policy_loss(
        logprobs, old, jnp.array([1.0]), mask, level="sequence", clip_high=0.5
    )
    np.testing.assert_allclose(loss, [[-1.349859, 0, -1.349859]], 1e-6)
    np.testing.assert_allclose(stats["ratio_max"], 1.349859, 1e-6)
    np.testing.assert_allclose(stats["ratio_min"], 1.349859, 1e-6)


@pytest.mark.parametrize("dual", [None, 1.5])
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_the_loss_agrees_with_its_definition_on_random_masks(level, dual):
    for seed in range(5):
        logprobs, old, advantages, mask = random_batch(seed)
        expected = reference(logprobs, old, advantages, mask, 0.1, 0.3, dual, level)
        loss, _ = policy_loss(
            np.where(mask, logprobs, np.nan),
            np.where(mask, old, -np.inf),
            advantages,
            mask,
            clip_low=0.1,
            clip_high=0.3,
            dual_clip=dual,
            level=level,
        )
        np.testing.assert_allclose(loss, expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("how", ["token_mean", "sequence_mean_token_mean"])
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_the_gradient_of_the_aggregated_loss_agrees_with_finite_differences(level, how):
    with jax.enable_x64(True):
        logprobs, old, advantages, mask = random_batch(3, spread=0.3)
        logprobs, old = logprobs.astype(np.float64), old.astype(np.float64)

        @jax.jit
        def total(logprobs):
            loss, _ = policy_loss(
                logprobs, old, advantages, mask, clip_high=0.28, dual_clip=1.3, level=level
            )
            return aggregate(loss, mask, how)

        gradient = jax.grad(total)(jnp.asarray(logprobs))
        step = 1e-6
        for place in np.ndindex(*mask.shape):
            bump = np.zeros_like(logprobs)
            bump[place] = step
            difference = float(total(logprobs + bump) - total(logprobs - bump)) / (2 * step)
            np.testing.assert_allclose(gradient[place], difference, rtol=1e-6, atol=1e-8)
        assert np.count_nonzero(gradient) > 5


def test_per_token_advantages_keep_their_own_gradient_at_the_sequence_level():
    # On-policy s = 1: the gradient of token t is -A_t, not the mean advantage of the response.
    logprobs = jnp.array([[-1.0, -2.0]])
    advantages = jnp.array([[3.0, -1.0]])
    mask = jnp.ones((1, 2), bool)

    def total(logprobs):
        return jnp.sum(policy_loss(logprobs, logprobs, advantages, mask, level="sequence")[0])

    np.testing.assert_allclose(jax.grad(total)(logprobs), [[-3.0, 1.0]], 1e-6)


def test_on_policy_the_gradient_is_the_plain_policy_gradient():
    # Ratio 1: d(-A r) / d logprob = -A, and nothing flows into the old log-probabilities.
    logprobs = jnp.array([[-1.0, -2.0], [-0.5, -3.0]])
    advantages = jnp.array([1.5, -0.5])

    def total(logprobs, old):
        return jnp.sum(policy_loss(logprobs, old, advantages, jnp.ones((2, 2), bool))[0])

    gradient, into_old = jax.grad(total, argnums=(0, 1))(logprobs, logprobs)
    np.testing.assert_allclose(gradient, [[-1.5, -1.5], [0.5, 0.5]], 1e-6)
    np.testing.assert_array_equal(into_old, np.zeros((2, 2)))
    np.testing.assert_allclose(jax.grad(lambda x: total(x, x))(logprobs), gradient, 1e-6)


def test_clipped_tokens_have_no_gradient():
    # Clipped above with A > 0, below with A < 0, by the dual clip; the fourth is inside the band.
    ratios, advantages = jnp.array([1.5, 0.5, 5.0, 1.1]), jnp.array([1.0, -1.0, -1.0, 1.0])

    def total(logprobs):
        mask = jnp.ones((4, 1), bool)
        return jnp.sum(policy_loss(logprobs, jnp.zeros((4, 1)), advantages, mask)[0])

    gradient = jax.grad(total)(jnp.log(ratios)[:, None])[:, 0]
    np.testing.assert_allclose(gradient, [0, 0, 0, -1.1], atol=1e-6)


def test_the_statistics_are_those_of_the_unmasked_tokens():
    # Ratios 2 and 0.25 (100 is masked): mean 1.125. approx_kl: the mean of r - 1 - log r:
    # 2 - 1 - 0.693147 = 0.306853 and 0.25 - 1 + 1.386294 = 0.636294, mean 0.471574.
    logprobs = jnp.log(jnp.array([[2.0, 0.25, 100.0]]))
    _, stats = policy_loss(logprobs, jnp.zeros((1, 3)), jnp.array([1.0]), jnp.array([[1, 1, 0]]))
    expected = {
        "tokens": 2.0,
        "ratio_mean": 1.125,
        "ratio_min": 0.25,
        "ratio_max": 2.0,
        "approx_kl": 0.4715736,
        "clip_fraction_high": 0.5,
        "clip_fraction_low": 0.0,
        "dual_clip_fraction": 0.0,
    }
    assert stats.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(stats[name], value, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_an_empty_mask_gives_zero_loss_zero_gradient_and_neutral_statistics(level):
    nothing = jnp.full((2, 3), jnp.nan)
    mask = jnp.zeros((2, 3), bool)

    def total(logprobs):
        loss, stats = policy_loss(logprobs, nothing, jnp.full(2, jnp.nan), mask, level=level)
        return jnp.sum(loss), stats

    (value, stats), gradient = jax.value_and_grad(total, has_aux=True)(nothing)
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros((2, 3)))
    assert {name: float(stat) for name, stat in stats.items()} == {
        **dict.fromkeys(stats, 0.0),
        **dict.fromkeys(["ratio_mean", "ratio_min", "ratio_max"], 1.0),
    }


@pytest.mark.parametrize("rubbish", [jnp.nan, jnp.inf, -jnp.inf, 1e30])
@pytest.mark.parametrize("loss_of", [
    policy_loss,
    lambda *arrays: policy_loss(*arrays, level="sequence"),
    cispo_loss,
])  # fmt: skip
def test_what_stands_outside_the_mask_changes_nothing(loss_of, rubbish):
    logprobs, old, advantages, mask = map(jnp.asarray, random_batch(1))

    def total(logprobs, old):
        loss, stats = loss_of(logprobs, old, advantages, mask)
        return jnp.sum(loss), stats

    both = jax.value_and_grad(total, has_aux=True)
    (clean, clean_stats), clean_gradient = both(logprobs, old)
    poisoned = [jnp.where(mask, array, rubbish) for array in (logprobs, old)]
    (value, stats), gradient = both(*poisoned)
    np.testing.assert_array_equal(value, clean)
    np.testing.assert_array_equal(gradient, clean_gradient)
    np.testing.assert_array_equal(gradient[~mask], 0)
    for name in stats:
        np.testing.assert_array_equal(stats[name], clean_stats[name])


def test_an_enormous_ratio_stays_finite():
    loss, _ = from_ratios([1.0], [1.0])
    logprobs, old = jnp.array([[0.0]]), jnp.array([[-500.0]])
    loss, stats = policy_loss(logprobs, old, jnp.array([-1.0]), jnp.ones((1, 1)), dual_clip=None)
    # The log-ratio is bounded to 20: exp(20) = 4.8517e8.
    np.testing.assert_allclose(loss, [[4.851652e8]], 1e-6)
    assert np.isfinite(stats["approx_kl"])


def test_cispo_bounds_the_weight_and_keeps_every_gradient():
    # Ratio 8 is bounded to 5, 0.5 is not bounded below. L = -w A logprob with logprobs log 8 =
    # 2.0794 and log 0.5 = -0.6931: -5 * 1 * 2.0794 = -10.397 and 0.5 * 2 * -0.6931 = -0.6931.
    logprobs = jnp.log(jnp.array([[8.0], [0.5]]))
    advantages = jnp.array([1.0, -2.0])
    mask = jnp.ones((2, 1), bool)

    def total(logprobs):
        loss, stats = cispo_loss(logprobs, jnp.zeros((2, 1)), advantages, mask)
        return jnp.sum(loss), (loss, stats)

    gradient, (loss, stats) = jax.grad(total, has_aux=True)(logprobs)
    np.testing.assert_allclose(loss, [[-10.397208], [-0.6931472]], 1e-6)
    # The weight is a constant: -5 * 1 and -0.5 * -2.
    np.testing.assert_allclose(gradient, [[-5.0], [1.0]], 1e-6)
    assert stats["clip_fraction_high"] == 0.5
    assert stats["clip_fraction_low"] == 0


def test_cispo_bounds_the_weight_below_when_asked():
    # Ratio 0.5 is raised to 0.8: the gradient is -0.8.
    def total(logprobs):
        arrays = (logprobs, jnp.zeros((1, 1)), jnp.array([1.0]), jnp.ones((1, 1)))
        loss, stats = cispo_loss(*arrays, clip_low=0.2, clip_high=0.2)
        return jnp.sum(loss), stats

    gradient, stats = jax.grad(total, has_aux=True)(jnp.log(jnp.array([[0.5]])))
    np.testing.assert_allclose(gradient, [[-0.8]], 1e-6)
    assert stats["clip_fraction_low"] == 1


def test_importance_weights_are_truncated_above_and_zero_outside_the_mask():
    # exp(log 3) = 3 becomes 2, exp(log 0.5) = 0.5 stays. Gaps: log 3 = 1.0986, log 2 = 0.6931.
    logprobs = jnp.log(jnp.array([[3.0, 0.5, 1.0]])).at[0, 2].set(jnp.nan)
    weights, stats = truncated_importance_weights(
        logprobs, jnp.zeros((1, 3)), jnp.array([[True, True, False]]), cap=2.0
    )
    np.testing.assert_allclose(weights, [[2.0, 0.5, 0.0]], 1e-6)
    np.testing.assert_allclose(stats["weight_mean"], 1.25, 1e-6)
    np.testing.assert_allclose(stats["truncated_fraction"], 0.5)
    np.testing.assert_allclose(stats["logprob_gap_max"], 1.0986123, 1e-6)
    np.testing.assert_allclose(stats["logprob_gap_mean"], (1.0986123 + 0.6931472) / 2, 1e-6)


def test_importance_weights_carry_no_gradient():
    def total(logprobs, sampler):
        weights, stats = truncated_importance_weights(logprobs, sampler, jnp.ones((1, 2)))
        return jnp.sum(weights) + stats["logprob_gap_mean"]

    arrays = jnp.array([[-1.0, -2.0]]), jnp.array([[-1.5, -1.5]])
    for gradient in jax.grad(total, argnums=(0, 1))(*arrays):
        np.testing.assert_array_equal(gradient, np.zeros((1, 2)))


def test_without_unmasked_tokens_the_gap_is_zero():
    nothing = jnp.full((1, 2), jnp.nan)
    weights, stats = truncated_importance_weights(nothing, nothing, jnp.zeros((1, 2)))
    np.testing.assert_array_equal(weights, np.zeros((1, 2)))
    assert all(float(stat) == 0 for stat in stats.values())


def test_bfloat16_log_probabilities_are_computed_in_float32():
    arrays = jnp.full((1, 2), -1.0, jnp.bfloat16), jnp.full((1, 2), -1.5, jnp.bfloat16)
    loss, stats = jax.jit(policy_loss)(*arrays, jnp.ones(1, jnp.bfloat16), jnp.ones((1, 2)))
    assert loss.dtype == jnp.float32
    assert {stat.dtype for stat in stats.values()} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"old_logprobs": jnp.ones((2, 4))}, r"old_logprobs: expected shape \[2, 3\]; got \[2, 4"),
        ({"advantages": jnp.ones(3)}, r"advantages: expected shape \[2\] .* or \[2, 3\]"),
        ({"mask": jnp.ones(3)}, r"mask: expected shape \[2, 3\]; got \[3\]"),
        ({"level": "sequnce"}, r"level: expected one of token, sequence; .*mean 'sequence'"),
        ({"clip_low": -0.1}, r"clip_low: expected a number >= 0; got -0.1"),
        ({"clip_low": 1.5}, r"clip_low: expected at most 1"),
        ({"dual_clip": 1.0}, r"dual_clip: expected a number > 1; got 1.0"),
    ],
)
def test_wrong_arguments_are_named_while_tracing(change, message):
    right = {
        "logprobs": jnp.ones((2, 3)),
        "old_logprobs": jnp.ones((2, 3)),
        "advantages": jnp.ones(2),
        "mask": jnp.ones((2, 3)),
    }
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: policy_loss(**{**right, **change}))
