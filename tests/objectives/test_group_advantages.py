import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.objectives import group_advantages, token_advantages


def reference(rewards, mask, baseline, scale, ddof, epsilon):
    """The definition, one rollout at a time, in float64."""
    advantages = np.zeros(rewards.shape)
    everything = rewards[mask].astype(np.float64)
    for b in range(len(rewards)):
        group = rewards[b][mask[b]].astype(np.float64)
        spread = {"std": group, "batch_std": everything, "none": None}[scale]
        for i in np.flatnonzero(mask[b]):
            others = np.delete(rewards[b].astype(np.float64), i)[np.delete(mask[b], i)]
            value = float(rewards[b, i])
            if baseline == "mean":
                value -= group.mean()
            elif baseline == "leave_one_out":
                value = value - others.mean() if len(others) else 0.0
            elif baseline == "batch_mean":
                value -= everything.mean()
            if spread is not None:
                flat = len(spread) <= ddof or spread.max() == spread.min()
                value = 0.0 if flat else value / (spread.std(ddof=ddof) + epsilon)
            advantages[b, i] = value
    return advantages


def test_grpo_divides_by_the_sample_standard_deviation():
    # Mean 0.5. Squares: 4 * 0.25 = 1. Sample variance 1 / 3, std 0.57735. 0.5 / 0.57735 = 0.86603.
    advantages = group_advantages(jnp.array([[1.0, 0, 0, 1]]), epsilon=0.0)
    np.testing.assert_allclose(advantages, [[0.8660254, -0.8660254, -0.8660254, 0.8660254]], 1e-6)


def test_ddof_zero_divides_by_the_population_standard_deviation():
    # Variance 1 / 4, std 0.5: 0.5 / 0.5 = 1.
    advantages = group_advantages(jnp.array([[1.0, 0, 0, 1]]), ddof=0, epsilon=0.0)
    np.testing.assert_allclose(advantages, [[1, -1, -1, 1]], 1e-6)


def test_epsilon_is_added_to_the_standard_deviation():
    # 0.5 / (0.5 + 0.5) = 0.5.
    advantages = group_advantages(jnp.array([[1.0, 0, 0, 1]]), ddof=0, epsilon=0.5)
    np.testing.assert_allclose(advantages, [[0.5, -0.5, -0.5, 0.5]], 1e-6)


def test_without_a_scale_only_the_mean_is_subtracted():
    # Mean 3 / 4: 1 - 0.75 = 0.25, 0 - 0.75 = -0.75.
    advantages = group_advantages(jnp.array([[1.0, 1, 0, 1]]), scale="none")
    np.testing.assert_allclose(advantages, [[0.25, 0.25, -0.75, 0.25]], 1e-6)


def test_leave_one_out_subtracts_the_mean_of_the_others():
    # 1 - (2 + 0) / 2 = 0, 2 - (1 + 0) / 2 = 1.5, 0 - (1 + 2) / 2 = -1.5.
    advantages = group_advantages(jnp.array([[1.0, 2, 0]]), baseline="leave_one_out", scale="none")
    np.testing.assert_allclose(advantages, [[0, 1.5, -1.5]], atol=1e-6)


def test_the_batch_std_mixes_all_groups():
    # Rewards 0, 2, 4, 6: mean 3, squares 9 + 1 + 1 + 9 = 20, population std sqrt(5) = 2.23607.
    # Group means 1 and 5: differences of 1, and 1 / 2.23607 = 0.44721.
    advantages = group_advantages(
        jnp.array([[0.0, 2], [4, 6]]), scale="batch_std", ddof=0, epsilon=0.0
    )
    np.testing.assert_allclose(advantages, [[-0.4472136, 0.4472136]] * 2, 1e-6)


def test_a_masked_rollout_gets_zero_and_does_not_count():
    # The mean of 1 and 0 is 0.5; with 7 or NaN counted it would be another.
    rewards = jnp.array([[1.0, 7, 0, jnp.nan]])
    mask = jnp.array([[True, False, True, False]])
    advantages = group_advantages(rewards, mask, scale="none")
    np.testing.assert_array_equal(advantages, [[0.5, 0, -0.5, 0]])


@pytest.mark.parametrize("scale", ["std", "batch_std", "none"])
@pytest.mark.parametrize("baseline", ["mean", "leave_one_out"])
def test_a_group_of_one_has_nothing_to_learn_from(baseline, scale):
    rewards, mask = jnp.array([[1.0, 5]]), jnp.array([[1, 0]])
    np.testing.assert_array_equal(
        group_advantages(rewards, mask, baseline=baseline, scale=scale), [[0, 0]]
    )


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("baseline", ["mean", "leave_one_out", "none"])
def test_equal_rewards_give_exact_zeros_and_no_rounding_noise(baseline, ddof):
    # In float32 twelve times 0.9 over twelve is not 0.9: noise over epsilon would be about 0.05.
    rewards = jnp.full((2, 12), 0.9)
    np.testing.assert_array_equal(
        group_advantages(rewards, baseline=baseline, ddof=ddof), np.zeros((2, 12))
    )


@pytest.mark.parametrize("scale", ["std", "batch_std", "none"])
@pytest.mark.parametrize("baseline", ["mean", "leave_one_out", "none"])
def test_an_empty_mask_gives_zeros(baseline, scale):
    rewards = jnp.full((2, 3), jnp.nan)
    advantages = group_advantages(
        rewards, jnp.zeros((2, 3), bool), baseline=baseline, scale=scale, epsilon=0.0
    )
    np.testing.assert_array_equal(advantages, np.zeros((2, 3)))


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("scale", ["std", "batch_std", "none"])
@pytest.mark.parametrize("baseline", ["mean", "leave_one_out", "none"])
def test_all_settings_agree_with_the_definition_on_random_masks(baseline, scale, ddof):
    rng = np.random.default_rng(7)
    rewards = rng.choice([0.0, 0.1, 0.9, 1.0], (30, 6)).astype(np.float32)
    mask = rng.random((30, 6)) < 0.6
    settings = {"baseline": baseline, "scale": scale, "ddof": ddof, "epsilon": 1e-6}
    expected = reference(rewards, mask, **settings)
    poisoned = np.where(mask, rewards, np.nan)
    np.testing.assert_allclose(
        group_advantages(poisoned, mask, **settings), expected, rtol=1e-5, atol=1e-6
    )


def test_three_axes_give_each_order_its_own_baseline():
    # Pooled: mean 0.5 over 1, 1, 0, 0. Per order: both orders are flat, so nothing is left.
    rewards = jnp.array([[[1.0, 1], [0, 0]]])
    pooled = group_advantages(rewards.reshape(1, 4), scale="none")
    np.testing.assert_array_equal(pooled, [[0.5, 0.5, -0.5, -0.5]])
    np.testing.assert_array_equal(group_advantages(rewards, scale="none"), np.zeros((1, 2, 2)))


def test_compiled_integers_and_bfloat16_come_out_as_float32():
    for dtype in (jnp.int32, jnp.bfloat16):
        advantages = jax.jit(group_advantages)(jnp.array([[1, 0]], dtype), jnp.array([[1, 1]]))
        assert advantages.dtype == jnp.float32
        # Mean 0.5, squares 2 * 0.25, sample std sqrt(0.5) = 0.70711, 0.5 / 0.70711 = 0.70711.
        np.testing.assert_allclose(advantages, [[0.7071068, -0.7071068]], 1e-5)


def test_an_unknown_baseline_is_named_with_its_choices():
    with pytest.raises(ValueError, match=r"baseline: expected one of mean, .*got 'meen' \(did"):
        group_advantages(jnp.ones((1, 2)), baseline="meen")


def test_a_mask_of_another_shape_is_refused_while_tracing():
    with pytest.raises(ValueError, match=r"mask_BxG: expected shape \[2, 3\]; got \[3\]"):
        jax.eval_shape(group_advantages, jnp.ones((2, 3)), jnp.ones(3, bool))


def test_scalars_complex_rewards_and_a_negative_ddof_are_refused():
    with pytest.raises(ValueError, match=r"rewards_BxG: expected axes \[..., G\]; got shape \[\]"):
        group_advantages(1.0)
    with pytest.raises(TypeError, match="rewards_BxG: expected real numbers; got dtype complex"):
        group_advantages(jnp.ones((1, 2), jnp.complex64))
    with pytest.raises(ValueError, match="ddof: expected a number >= 0; got -1"):
        group_advantages(jnp.ones((1, 2)), ddof=-1)


def test_the_batch_mean_is_that_of_all_groups():
    # Mean 3 / 4, and with the population deviation sqrt(3) / 4: 1 / sqrt(3) and -sqrt(3).
    advantages = group_advantages(
        jnp.array([[1.0, 1], [1, 0]]), baseline="batch_mean", scale="batch_std", ddof=0, epsilon=0.0
    )
    np.testing.assert_allclose(advantages, [[0.57735, 0.57735], [0.57735, -1.73205]], 1e-5)


REWARDS = jnp.array([[2.0, jnp.nan], [0.0, 1.0]])
PENALTIES = jnp.array([[[0.5, 0.25, jnp.nan], [0, 0, 0]], [[0, 0, 0], [1.0, 0, 0.5]]])
TOKENS = jnp.array([[[1, 1, 0], [0, 0, 0]], [[1, 0, 0], [1, 0, 1]]])


def test_a_token_answers_for_the_penalties_from_it_on():
    advantages = token_advantages(REWARDS, PENALTIES, TOKENS, baseline="none", scale="none")
    # 2 - 0.75, 2 - 0.25; 0; 1 - 1.5, and 1 - 0.5 behind a token that does not count.
    want = [[[1.25, 1.75, 0], [0, 0, 0]], [[0, 0, 0], [-0.5, 0, 0.5]]]
    np.testing.assert_allclose(advantages, want, atol=1e-6)


def test_the_batch_of_tokens_is_normalised():
    advantages = token_advantages(REWARDS, PENALTIES, TOKENS, ddof=0, epsilon=0.0)
    returns = np.array([1.25, 1.75, 0, -0.5, 0.5])
    want = (returns - returns.mean()) / returns.std()
    np.testing.assert_allclose(advantages[TOKENS == 1], want, rtol=1e-5)
    assert (advantages[TOKENS == 0] == 0).all()


def test_baselines_of_a_group_are_those_of_its_rewards_alone():
    settings = {"baseline": "mean", "scale": "std", "ddof": 0, "epsilon": 0.0}
    advantages = token_advantages(REWARDS, PENALTIES, TOKENS, **settings)
    # The second group's rewards have the mean 0.5; its returns 0, -0.5 and 0.5 the deviation
    # sqrt(1 / 6). The first group's only rollout has its own mean, 2, and the deviation 0.25.
    np.testing.assert_allclose(advantages[0, 0], [-3, -1, 0], atol=1e-5)
    np.testing.assert_allclose(advantages[1, 0, 0], -0.5 * 6**0.5, rtol=1e-5)
    np.testing.assert_allclose(advantages[1, 1], [-1 * 6**0.5, 0, 0], atol=1e-5)


def test_equal_returns_have_no_advantage():
    zeros = jnp.zeros((1, 3, 2))
    advantages = token_advantages(jnp.full((1, 3), 0.9), zeros, jnp.ones((1, 3, 2)))
    np.testing.assert_array_equal(advantages, zeros)


def test_rewards_that_are_not_those_of_the_responses_are_an_error():
    with pytest.raises(ValueError, match=r"rewards_BxG: expected shape \[2, 2\]; got \[2\]"):
        token_advantages(jnp.zeros(2), PENALTIES, TOKENS)
