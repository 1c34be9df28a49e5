"""A typical example in numbers, and what cannot be one."""

from dataclasses import replace

import numpy as np
import pytest

from perl_jax.experience.config import RolloutConfig
from perl_jax.models import read_config
from perl_jax.planning.workload import Step, Workload, log_normal, make_batch, make_groups
from perl_jax.update.config import UpdateConfig
from tests.planning.conftest import WORKLOAD


def test_images_are_reduced_as_the_configuration_says(config):
    sizes = read_config("Qwen/Qwen2.5-VL-7B-Instruct")
    big = replace(
        config,
        model=replace(config.model, max_pixels=512 * 512),
        data=replace(config.data, max_prompt_tokens=8192),
        learner=UpdateConfig(),
        rollout=RolloutConfig(groups=8, max_new_tokens=8),
    )
    step = Step.of(big, sizes, Workload(images=3, pixels=10**7, text_tokens=192, pass_rate=1.0))
    # 504 x 504 pixels: 36 x 36 patches, 18 x 18 tokens between a start and an end token.
    assert step.grid == (36, 36)
    assert step.prompt == 3 * (18 * 18 + 2) + 192
    assert (step.draws.drawn, step.orders_of_group) == (8, 2)


def test_groups_have_as_many_image_tokens_as_features(config, step):
    sizes = read_config(config.model.path)
    groups = (group,) = make_groups(1, step, WORKLOAD, sizes)
    tokens = group.prompts[0].tokens
    assert len(tokens) == step.prompt
    assert (tokens == sizes.image_token).sum() == 2 * 2 * 2
    assert len(group.images) == 2
    assert len(group.prompts) == 2
    batch = make_batch(config, groups, step)
    assert batch.lengths.tolist() == [[[8, 8], [8, 8]]]
    assert batch.mask.shape == batch.tokens.shape == (1, 2, 2, 8)


def test_a_prompt_longer_than_the_run_allows_is_refused(config):
    sizes = read_config(config.model.path)
    with pytest.raises(ValueError, match=r"at most data.max_prompt_tokens = 40; got one of 112"):
        Step.of(config, sizes, replace(WORKLOAD, text_tokens=100))


def test_a_mean_above_the_longest_is_refused(config):
    sizes = read_config(config.model.path)
    with pytest.raises(ValueError, match=r"at most rollout.max_new_tokens = 8; got 9"):
        Step.of(config, sizes, replace(WORKLOAD, response_tokens=9))


def test_lengths_have_the_mean_and_the_variation_that_are_asked_for():
    drawn = log_normal(300, 0.5, 10**6, (1000, 10, 10))
    # Lengths are rounded up.
    assert drawn.mean() == pytest.approx(300.5, rel=0.01)
    assert drawn.std() / drawn.mean() == pytest.approx(0.5, rel=0.02)
    assert (drawn[0] == log_normal(300, 0.5, 10**6, (1000, 10, 10))[0]).all()
    cut = log_normal(300, 1.0, 512, (100, 10))
    assert (cut.min() >= 1, cut.max()) == (True, 512)
    assert (log_normal(7, 0.0, 512, (10,)) == 7).all()


def test_a_batch_has_the_lengths_that_are_given(config, step):
    groups = make_groups(1, step, WORKLOAD, read_config(config.model.path))
    lengths = np.array([[[3, 8], [1, 2]]], np.int32)
    batch = make_batch(config, groups, step, lengths)
    assert (batch.mask.sum(-1) == lengths).all()
    assert batch.tokens.shape == (1, 2, 2, 8)


def test_ladders_that_are_auto_are_fitted_to_the_example_as_a_run_does(config, step):
    auto = replace(
        config,
        learner=UpdateConfig(),
        rollout=RolloutConfig(groups=8, num_rollouts=2, max_new_tokens=8),
    )
    fitted = step.fit_ladders(auto, read_config(config.model.path), WORKLOAD)
    assert fitted.learner.packing.prompt_lengths[0] == step.prompt
    assert fitted.rollout.sampler.prompt_lengths[0] == step.prompt
    # Two images of sixteen patches of four groups.
    assert fitted.learner.packing.patches[0] >= 2 * 16
    # Ladders that are set stay.
    same = step.fit_ladders(config, read_config(config.model.path), WORKLOAD)
    assert same.rollout.sampler.prompt_lengths == (40,)
