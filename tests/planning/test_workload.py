"""A typical example in numbers, and what cannot be one."""

from dataclasses import replace

import pytest

from perl_jax.experience.config import RolloutConfig
from perl_jax.models import read_config
from perl_jax.planning.workload import Step, Workload, make_batch, make_groups
from perl_jax.update.learner import UpdateConfig
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
    assert step.orders == 8 * 2


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
