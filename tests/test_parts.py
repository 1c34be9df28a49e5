"""The parts of a run are told what they need of each other."""

from types import SimpleNamespace

from perl_jax.experience.config import RolloutConfig
from perl_jax.parts import make_rewarder
from perl_jax.rewards import RewardConfig


def test_the_rewarder_of_a_run_knows_what_the_template_of_its_model_opens():
    config = SimpleNamespace(reward=RewardConfig(), rollout=RolloutConfig(max_new_tokens=77))
    parts = SimpleNamespace(grader="grader", processor=SimpleNamespace(opening="<think>\\n"))
    rewarder = make_rewarder(config, parts)
    assert (rewarder.opening, rewarder.max_new_tokens) == ("<think>\\n", 77)
    assert rewarder.grader == "grader"
