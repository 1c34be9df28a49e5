import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.objectives import PRESETS, Objective, ObjectiveConfig, aggregate
from perl_jax.settings import read_config


@partial(jax.jit, static_argnums=0)
def loss(objective, logprobs, old, reference, rewards_BxG, mask):
    """The loss of B groups of G responses, as `perl_jax.update.losses` puts it together."""
    advantages = objective.advantages(rewards_BxG)
    if objective.penalises_rewards:
        penalties = objective.penalty(old, reference, mask)
        advantages = objective.penalised_advantages(rewards_BxG, penalties, mask)
    per_token, _ = objective.token_loss(logprobs, old, advantages, mask)
    if objective.kl_in == "loss":
        per_token += objective.kl_coefficient * objective.penalty(logprobs, reference, mask)
    return aggregate(per_token, mask, objective.aggregation, length=4)


# One group of two responses, of 1 and 2 tokens. Every ratio is 1 but the first response's, 1.25.
LOGPROBS = jnp.array([[[-1.0, 0], [-1, -1]]])
OLD = LOGPROBS.at[0, 0, 0].add(-jnp.log(1.25))
REFERENCE = LOGPROBS.at[0, 0, 0].add(jnp.log(2.0))
REWARDS = jnp.array([[1.0, 0.0]])
MASK = jnp.array([[[1, 0], [1, 1]]])


BY_HAND = {
    # Advantages +-0.5 / 0.70711 = +-0.70711 (sample std, epsilon is lost in rounding).
    # k3 of the first token: d = -log 2, exp(log 2) - 1 - log 2 = 0.306853.
    # Clipped at 1.2: ((-1.2 * 0.70711 + 0.04 * 0.306853) + 0.70711) / 2.
    "grpo": (-1.2 * 0.7071068 + 0.04 * 0.3068528 + 0.7071068) / 2,
    # Advantages +-0.5: (-1.2 * 0.5 + 2 * 0.5) / (2 responses * length 4).
    "dr_grpo": (-1.2 * 0.5 + 2 * 0.5) / 8,
    # The clip is at 1.28, so 1.25 stays; three tokens.
    "dapo": (-1.25 * 0.7071068 + 2 * 0.7071068) / 3,
    # The first response's ratio is 1.25 as a sequence too, clipped at 1.0004.
    "gspo": (-1.0004 * 0.7071068 + 0.7071068) / 2,
    # -1.25 * 0.70711 * -1 and 0.70711 * -1 twice, over three tokens.
    "cispo": (1.25 - 2) * 0.7071068 / 3,
    # Before the batch the first token was 2.5 times less likely than under the reference: k1 is
    # -log 2.5, and its reward is 1 + 0.05 log 2.5. Leave-one-out: that minus 0, and 0 minus that;
    # sums of tokens, mean of two responses.
    "rloo": (-1.2 + 2) * (1 + 0.05 * 0.9162907) / 2,
    # Returns x, 0 and 0, of any x: minus their mean and over their population deviation these are
    # sqrt 2, -sqrt 1/2 and -sqrt 1/2.
    "reinforce_pp": (-1.2 * 1.4142136 + 2 * 0.7071068) / 3,
    # As grpo, over tokens, with a coefficient of 0.01.
    "perl": (-1.2 * 0.7071068 + 0.01 * 0.3068528 + 2 * 0.7071068) / 3,
}


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_gives_its_loss_by_hand(name):
    value = loss(PRESETS[name], LOGPROBS, OLD, REFERENCE, REWARDS, MASK)
    np.testing.assert_allclose(value, BY_HAND[name], rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_finite_and_differentiable_for_groups_without_signal(name):
    gradient = jax.grad(lambda x: loss(PRESETS[name], x, OLD, REFERENCE, REWARDS * 0, MASK))
    assert np.all(np.isfinite(gradient(LOGPROBS)))
    nothing = jnp.zeros_like(MASK)
    gradient = jax.grad(lambda x: loss(PRESETS[name], x, OLD, REFERENCE, REWARDS, nothing))
    np.testing.assert_array_equal(gradient(LOGPROBS), np.zeros(LOGPROBS.shape))


def test_only_perl_bounds_the_ratio_of_a_negative_advantage():
    # The second response becomes exp(2) = 7.389 times likelier, token by token: 3 times with the
    # dual clip. Its advantage is -0.70711 and its share of the token mean 2 / 3. The clipped gain
    # of the first response and the penalty are those of above.
    old = OLD.at[0, 1].add(-2.0)
    first = -1.2 * 0.7071068 + 0.01 * 0.3068528
    perl = loss(PRESETS["perl"], LOGPROBS, old, REFERENCE, REWARDS, MASK)
    np.testing.assert_allclose(perl, (first + 2 * 3 * 0.7071068) / 3, rtol=2e-5)
    unbounded = {name: preset.dual_clip for name, preset in PRESETS.items() if name != "perl"}
    assert set(unbounded.values()) == {None}


def test_a_preset_is_frozen_and_changed_by_making_another():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["grpo"].clip_high = 0.3
    assert dataclasses.replace(PRESETS["grpo"], clip_high=0.3).clip_high == 0.3


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("baseline", "average", "baseline: expected one of mean, leave_one_out, batch_mean, none"),
        ("scale", "stdd", r"scale: .* \(did you mean 'std'\?\)"),
        ("level", "word", "level: expected one of token, sequence"),
        ("aggregation", "mean", "aggregation: expected one of token_mean"),
        ("kl", "k5", "kl: expected one of k1, k2, k3, abs"),
        ("clip_high", -1, "clip_high: expected a number >= 0; got -1"),
        ("kl_coefficient", -0.1, "kl_coefficient: expected a number >= 0"),
        ("dual_clip", 0.5, "dual_clip: expected a number > 1"),
        ("surrogate", "cispos", r"surrogate: expected one of clipped, cispo; .* mean 'cispo'"),
    ],
)
def test_a_wrong_field_is_an_error_where_the_objective_is_made(field, value, message):
    with pytest.raises(ValueError, match=message):
        Objective(**{field: value})


def test_a_section_has_the_values_of_its_preset_but_for_those_that_it_gives():
    for name, preset in PRESETS.items():
        read = read_config(ObjectiveConfig, {"preset": name})
        assert dataclasses.asdict(read) == {**dataclasses.asdict(preset), "preset": name}
    assert read_config(ObjectiveConfig, {}) == ObjectiveConfig()
    assert dataclasses.asdict(ObjectiveConfig()) == {
        **dataclasses.asdict(PRESETS["perl"]), "preset": "perl",
    }  # fmt: skip
    alone = read_config(ObjectiveConfig, {"clip_high": 0.28})
    assert (alone.clip_high, alone.dual_clip, alone.kl_coefficient) == (0.28, 3.0, 0.01)
    given = read_config(ObjectiveConfig, {"preset": "perl", "dual_clip": None})
    assert given.dual_clip is None


def test_an_unknown_preset_is_one_line_with_the_choices():
    with pytest.raises(ValueError, match=r"preset: expected one of grpo, .*, perl; got 'dappo' "):
        read_config(ObjectiveConfig, {"preset": "dappo"})


def test_an_adaptive_coefficient_begins_above_0():
    with pytest.raises(ValueError, match="kl_target: expected a kl_coefficient above 0"):
        Objective(kl_target=0.1)


def test_a_penalty_of_the_loss_is_in_no_advantage():
    with pytest.raises(ValueError, match="kl_in: expected reward or token_reward; got loss"):
        PRESETS["grpo"].penalised_advantages(REWARDS, LOGPROBS, MASK)


@pytest.mark.parametrize("changes", [{"level": "sequence"}, {"dual_clip": 3.0}])
def test_cispo_has_no_settings_of_the_clipped_loss(changes):
    with pytest.raises(ValueError, match=r"surrogate: expected clipped .* got cispo with"):
        Objective(surrogate="cispo", **changes)


def test_rollouts_are_compared_over_all_orders_or_under_their_own():
    rewards = jnp.array([[[1.0, 0.0], [1.0, 1.0]]])
    pooled = Objective(scale="none").advantages(rewards)
    np.testing.assert_allclose(pooled, [[[0.25, -0.75], [0.25, 0.25]]])
    apart = Objective(scale="none", pool_orders=False).advantages(rewards)
    np.testing.assert_allclose(apart, [[[0.5, -0.5], [0.0, 0.0]]])
