"""Every choice of an objective, by hand, and through the loss that the update minimises."""

from typing import Literal, get_args, get_origin, get_type_hints

import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.objectives import Objective
from perl_jax.objectives.aggregation import token_weights
from perl_jax.update import losses
from perl_jax.update.packing import MicroBatch

# Two groups of three responses, of one token each but the first, which has two. Log-probabilities
# are -1, and were so before the batch but for the first token, whose ratio is 2.
LOGPROBS = np.full((2, 3, 2), -1, np.float32)
OLD = LOGPROBS.copy()
OLD[0, 0, 0] -= np.log(2)
# The first response's tokens are exp(0.5) and exp(-0.5) times as likely as under the reference.
REFERENCE = LOGPROBS.copy()
REFERENCE[0, 0] -= [0.5, -0.5]
REWARDS = np.array([[1, 0, 0], [0, 0, 0]], np.float32)
MASK = np.zeros(LOGPROBS.shape, bool)
MASK[..., 0] = MASK[0, 0, 1] = True
LENGTH = 8

# Rewards minus the mean of their group, not divided, are 2/3, -1/3 and -1/3, and 0 in the second
# group. The ratio 2 is clipped at 1.2. So seven tokens add up to -GAIN.
PLAIN = {"scale": "none"}
GAIN = (1.2 + 1) * 2 / 3 - 1 / 3 - 1 / 3
BY_HAND = {
    # The weight of cispo is 1.2 too. It is multiplied with the log-probability, -1.
    "surrogate": {"clipped": -GAIN / 7, "cispo": GAIN / 7},
    "baseline": {
        "mean": -GAIN / 7,
        "leave_one_out": -(2.2 * 1 - 0.5 - 0.5) / 7,
        # The mean of one reward of 1 and five of 0 is 1/6.
        "batch_mean": -(2.2 * 5 / 6 - 5 / 6) / 7,
        "none": -2.2 / 7,
    },
    "scale": {
        "none": -GAIN / 7,
        # Of 1, 0, 0: squares 6/9, over 2. Of 1 and five times 0: squares 30/36, over 5.
        "std": -GAIN / (1 / 3) ** 0.5 / 7,
        "batch_std": -GAIN / (1 / 6) ** 0.5 / 7,
    },
    # The first response's ratio is sqrt(2), clipped at 1.2 for both of its tokens.
    "level": {"token": -GAIN / 7, "sequence": -(GAIN + 0.2 * 2 / 3) / 7},
    "aggregation": {
        "token_mean": -GAIN / 7,
        "sequence_mean_token_mean": -(1.1 * 2 / 3 - 2 / 3) / 6,
        "sequence_mean_token_sum": -GAIN / 6,
        "constant_length": -GAIN / 6 / LENGTH,
    },
    # Of k1. In the loss, 0.5 and -0.5 add up to 0. Before the batch the first token was half as
    # likely: 0.5 - log 2 and -0.5 add up to -log 2, and -0.5 is to come at the second token.
    "kl_in": {
        "loss": -GAIN / 7,
        "reward": -GAIN * (1 + np.log(2)) / 7,
        "token_reward": -(1.2 * (2 / 3 + np.log(2)) + (2 / 3 + 0.5) - 2 / 3) / 7,
    },
    # Differences of 0.5 and -0.5.
    "kl": {
        "k1": -GAIN / 7,
        "k2": (0.125 + 0.125 - GAIN) / 7,
        "k3": (np.exp(-0.5) - 0.5 + np.exp(0.5) - 1.5 - GAIN) / 7,
        "abs": (0.5 + 0.5 - GAIN) / 7,
    },
}
CHOICES = {
    field: get_args(kind)
    for field, kind in get_type_hints(Objective).items()
    if get_origin(kind) is Literal
}


def test_every_choice_of_every_field_has_its_loss_by_hand():
    assert {field: set(values) for field, values in BY_HAND.items()} == {
        field: set(choices) for field, choices in CHOICES.items()
    }
    assert all(len(set(values.values())) == len(values) for values in BY_HAND.values())


def minimised(monkeypatch, objective):
    """What the update makes of these arrays, whatever policy they are from."""
    entropy = jnp.zeros(LOGPROBS.shape)
    monkeypatch.setattr(losses, "response_logprobs", lambda *_: (jnp.asarray(LOGPROBS), entropy))
    advantages, in_loss = objective.advantages(REWARDS), objective.kl_in == "loss"
    if not in_loss:
        penalties = objective.penalty(OLD, REFERENCE, MASK)
        advantages = objective.penalised_advantages(REWARDS, penalties, MASK)
    values = {
        "weights": token_weights(MASK, objective.aggregation, LENGTH),
        "advantages": np.asarray(advantages),
        "old": OLD,
        "sampled": OLD,
        **({"reference": REFERENCE} if objective.kl_coefficient and in_loss else {}),
    }
    batch = MicroBatch(*[None] * 5, values=values)
    return losses.policy_gradient_loss(
        None, batch, None, head=None, objective=objective, importance_cap=None
    )


@pytest.mark.parametrize(
    ("field", "choice"), [(field, one) for field, choices in CHOICES.items() for one in choices]
)
def test_the_update_minimises_the_loss_by_hand(monkeypatch, field, choice):
    settings = {**PLAIN, "kl_coefficient": float(field.startswith("kl")), field: choice}
    if field == "kl_in":
        settings["kl"] = "k1"
    loss, stats = minimised(monkeypatch, Objective(**settings))
    np.testing.assert_allclose(loss, BY_HAND[field][choice], rtol=1e-5)
    np.testing.assert_allclose(stats["sum/policy/loss"], loss)
