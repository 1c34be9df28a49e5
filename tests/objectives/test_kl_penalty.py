import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.objectives import Objective, adapted_kl_coefficient, kl_penalty

KINDS = ["k1", "k2", "k3", "abs"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # d = -1 - (-1.5) = 0.5 and -2 - (-1) = -1.
        ("k1", [0.5, -1.0]),
        ("k2", [0.125, 0.5]),  # 0.25 / 2, 1 / 2
        ("k3", [0.1065307, 0.7182818]),  # exp(-0.5) - 1 + 0.5, exp(1) - 1 - 1
        ("abs", [0.5, 1.0]),
    ],
)
def test_each_kind_has_its_formula(kind, expected):
    penalty = kl_penalty(jnp.array([-1.0, -2.0]), jnp.array([-1.5, -1.0]), kind)
    np.testing.assert_allclose(penalty, expected, 1e-6)


def test_k3_of_nearly_equal_policies_keeps_its_digits():
    # About d^2 / 2 = 2^-21; the naive form in float32 gives a multiple of 2^-23 or so.
    penalty = kl_penalty(jnp.array([2.0**-10]), jnp.array([0.0]), "k3")
    np.testing.assert_allclose(penalty, [2.0**-21], rtol=1e-3)


def test_k3_is_bounded_at_ten_and_its_gradient_stops_there():
    # d = -3: exp(3) - 1 - 3 = 16.09, bounded to 10. d = -2.5: 12.182 - 3.5 = 8.682, not bounded.
    # d = -1000 does not overflow. Gradient in the free region: 1 - exp(-d) = 1 - 12.182.
    logprobs, reference = jnp.array([-3.0, -2.5, -1000.0]), jnp.zeros(3)
    np.testing.assert_allclose(kl_penalty(logprobs, reference, "k3"), [10, 8.682494, 10], 1e-6)
    gradient = jax.grad(lambda x: jnp.sum(kl_penalty(x, reference, "k3")))(logprobs)
    np.testing.assert_allclose(gradient, [0, -11.182494, 0], 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_agrees_with_finite_differences_and_spares_the_reference(kind):
    with jax.enable_x64(True):
        rng = np.random.default_rng(2)
        logprobs, reference = -rng.exponential(1.0, (2, 4, 3))

        @jax.jit
        def total(logprobs, reference):
            return jnp.sum(kl_penalty(logprobs, reference, kind))

        gradient, into_reference = jax.grad(total, argnums=(0, 1))(logprobs, reference)
        step = 1e-6
        for place in np.ndindex(4, 3):
            bump = np.zeros((4, 3))
            bump[place] = step
            difference = total(logprobs + bump, reference) - total(logprobs - bump, reference)
            np.testing.assert_allclose(gradient[place], difference / (2 * step), rtol=1e-6)
        np.testing.assert_array_equal(into_reference, np.zeros((4, 3)))


@pytest.mark.parametrize("kind", ["k1", "k3"])
def test_the_unbiased_kinds_average_to_the_exact_divergence(kind):
    # Expectation over the policy's own draws: sum_v p_v * estimate(v) = KL(p || q).
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.5, 0.3])
    estimates = kl_penalty(jnp.log(p), jnp.log(q), kind)
    np.testing.assert_allclose(np.sum(p * np.asarray(estimates)), np.sum(p * np.log(p / q)), 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_masked_changes_neither_penalty_nor_gradient(kind):
    logprobs = jnp.array([-1.0, jnp.nan, -jnp.inf])
    reference = jnp.array([-2.0, 0.0, -jnp.inf])
    mask = jnp.array([1, 0, 0])
    penalty = kl_penalty(logprobs, reference, kind, mask=mask)
    alone = kl_penalty(logprobs[:1], reference[:1], kind)
    np.testing.assert_array_equal(penalty, [alone[0], 0, 0])
    gradient = jax.grad(lambda x: jnp.sum(kl_penalty(x, reference, kind, mask=mask)))(logprobs)
    assert gradient[0] != 0
    np.testing.assert_array_equal(gradient[1:], [0, 0])


def test_an_unknown_kind_and_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match="kind: expected one of k1, k2, k3, abs; got 'k4'"):
        kl_penalty(jnp.ones(2), jnp.ones(2), "k4")
    with pytest.raises(ValueError, match=r"reference_logprobs: expected shape \[2\]; got \[1\]"):
        jax.eval_shape(kl_penalty, jnp.ones(2), jnp.ones(1))


@pytest.mark.parametrize(
    ("kl", "factor"),
    [
        # 10 % above the target of 0.5; 50 rollouts of 100.
        (0.55, 1 + 0.1 / 2),
        (0.45, 1 - 0.1 / 2),
        # No further than by a fifth.
        (5.0, 1 + 0.2 / 2),
        (-1.0, 1 - 0.2 / 2),
        (0.5, 1.0),
        (np.nan, 1.0),
        (np.inf, 1.0),
    ],
)
def test_an_adaptive_coefficient_moves_with_the_error_up_to_a_fifth(kl, factor):
    moved = adapted_kl_coefficient(0.04, kl, 50, target=0.5, horizon=100)
    np.testing.assert_allclose(moved, 0.04 * factor, rtol=1e-6)
    objective = Objective(kl_coefficient=0.04, kl_target=0.5, kl_horizon=100)
    np.testing.assert_array_equal(objective.next_kl_coefficient(0.04, kl, 50), moved)
    assert Objective(kl_coefficient=0.04).next_kl_coefficient(0.04, kl, 50) == np.float32(0.04)


@pytest.mark.parametrize("settings", [{"target": 0, "horizon": 1}, {"target": 1, "horizon": 0}])
def test_a_target_and_a_horizon_are_positive(settings):
    with pytest.raises(ValueError, match="expected a number > 0; got 0"):
        adapted_kl_coefficient(0.1, 0.1, 1, **settings)
