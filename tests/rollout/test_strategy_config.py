"""How the settings of rollouts and of evaluations become the strategy of the sampler."""

import pytest

from perl_jax.evaluation.config import EvaluationConfig
from perl_jax.experience.config import RolloutConfig
from perl_jax.rollout import Strategy
from perl_jax.rollout.config import StrategyConfig

TRUNCATED = {"top_k": 5, "top_p": 0.9, "min_p": 0.05, "stop": ("</answer>",)}


@pytest.mark.parametrize("kind", [RolloutConfig, EvaluationConfig])
def test_every_field_reaches_the_sampler(kind):
    made = kind(temperature=0.7, **TRUNCATED).strategy()
    assert made == Strategy(temperature=0.7, **TRUNCATED)


def test_by_default_rollouts_are_draws_of_the_policy_and_answers_are_greedy():
    assert RolloutConfig().strategy() == Strategy()
    assert EvaluationConfig().strategy() == Strategy(temperature=0.0)
    assert RolloutConfig(stop=("\n",)).truncated_by == ()


@pytest.mark.parametrize("field", ["top_k", "top_p", "min_p"])
def test_what_leaves_out_tokens_is_named_and_refused_where_the_best_is_taken(field):
    settings = {field: {"top_k": 1, "top_p": 0.5, "min_p": 1.0}[field]}
    assert StrategyConfig(**settings).truncated_by == (field,)
    EvaluationConfig(temperature=1.0, **settings)
    with pytest.raises(ValueError, match=f"{field}: expected a temperature above 0 with it"):
        EvaluationConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_k": 0}, "top_k: expected at least 1.*; got 0"),
        ({"top_p": 0.0}, "top_p: expected a share above 0, up to 1; got 0.0"),
        ({"top_p": 1.1}, "top_p: expected a share above 0, up to 1; got 1.1"),
        ({"min_p": -0.1}, "min_p: expected a share from 0 to 1; got -0.1"),
        ({"min_p": 1.5}, "min_p: expected a share from 0 to 1; got 1.5"),
        ({"stop": ("a", "")}, r"stop\[1\]: expected a text of at least one character; got ''"),
    ],
)
def test_a_setting_out_of_its_range_is_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        RolloutConfig(**settings)
