"""Configuration files become dataclasses, and what is wrong with them is said with its path."""

import importlib.util
import re
from dataclasses import replace
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from perl_jax.config import TrainConfig, WarmstartConfig
from perl_jax.overrides import shipped_configs
from perl_jax.permutation import Schedule
from perl_jax.settings import plain, read_config

CONFIGS = Path(__file__).parent.parent / "configs"
LEAST = {
    "model": {"path": "somewhere"},
    "data": {"train": {"digits": {}}},
    "steps": 10,
}


def get_config(name):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def test_what_is_not_given_has_the_default_of_its_dataclass():
    config = read_config(TrainConfig, LEAST)
    assert config == read_config(TrainConfig, ConfigDict(LEAST))
    assert config.permutation.schedule == Schedule()
    assert config.rollout.num_rollouts == 6


def test_lists_become_tuples_and_whole_numbers_floats():
    given = {**LEAST, "learner": {"frozen": ["vision.*"]}, "rollout": {"temperature": 1}}
    config = read_config(TrainConfig, given)
    assert config.learner.frozen == ("vision.*",)
    assert isinstance(config.rollout.temperature, float)


@pytest.mark.reliability("46", "47", "48", "49", "53", "54")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rolout": {}}, "config.rolout: unknown key (did you mean 'rollout'?)"),
        ({"rollout": {"group": 3}}, "config.rollout.group: unknown key (did you mean 'groups'?)"),
        ({"steps": "10"}, "config.steps: expected int; got str '10'"),
        ({"steps": True}, "config.steps: expected int; got bool True"),
        ({"steps": 0}, "config.steps: expected at least 1; got 0"),
        ({"optimizer": {"learning_rate": -1.0}}, "config.optimizer.learning_rate: expected"),
        ({"optimizer": {"name": "adam"}}, "config.optimizer.name: expected one of adamw"),
        ({"permutation": {"schedule": {"kind": "linaer"}}}, "config.permutation.schedule.kind"),
        ({"permutation": {"rules": {"x": {"movable": "al"}}}}, "config.permutation.rules.x"),
        ({"learner": {"remat": "layer"}}, "one of none, activations, wide, inputs, layers"),
        ({"reward": {"weights": {"acc": 1.0}}}, "config.reward.weights: expected some of accuracy"),
        ({"data": {"train": {}}}, "config.data.train.source: expected exactly one of digits"),
        ({"model": {}}, "config.model.path: expected a model directory or a hub id"),
        (
            {"learner": {"updates_per_batch": 5}, "rollout": {"groups": 4}},
            "config.learner.updates_per_batch: expected at most rollout.groups = 4; got 5",
        ),
        (
            {"rollout": {"num_rollouts": 1}, "permutation": {"num_orders": 0}},
            "expected a group of at least 2 rollouts",
        ),
        (
            {
                "learner": {"packing": {"response_lengths": (64,)}},
                "rollout": {"max_new_tokens": 65},
            },
            "config.learner.packing.response_lengths: expected a rung for rollout.max_new_tokens",
        ),
        ({"rollout": 3}, "config.rollout: expected fields of RolloutConfig; got 3"),
    ],
)
def test_what_is_wrong_is_said_with_its_path(change, message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        read_config(TrainConfig, {**LEAST, **change})


def test_a_missing_field_is_named():
    with pytest.raises(ValueError, match="config: expected steps; got only model, data"):
        read_config(TrainConfig, {k: v for k, v in LEAST.items() if k != "steps"})


@pytest.mark.parametrize(
    "name",
    [
        "demo", "demo_qwen3", "own_data", "qwen2_5_vl_7b_perl", "qwen2_5_vl_3b_gpu",
        "qwen2_5_vl_3b_v5e16", "qwen2_5_vl_7b_v5e64", "qwen2_5_vl_7b_v5p16", "qwen2_5_vl_7b_v6e32",
        "qwen2_5_vl_7b_8gpu", "qwen2_5_vl_32b_v5p64", "qwen2_5_vl_72b_v5p256", "qwen3_vl_4b_v5e16",
        "qwen3_vl_8b_v5e64", "qwen3_vl_8b_8gpu", "qwen3_vl_32b_v5p64", "qwen2_5_vl_7b_lora_gpu",
        "qwen3_vl_4b_lora_gpu", "qwen3_vl_8b_lora_gpu", "qwen2_5_vl_7b_lora_v6e8",
        "qwen3_vl_8b_lora_v6e8",
    ],
)  # fmt: skip
def test_the_shipped_configurations_are_valid(name):
    config = read_config(TrainConfig, get_config(name))
    assert read_config(TrainConfig, plain(config)) == config


def test_configurations_for_real_models_evaluate_within_what_a_step_holds():
    names = [name for name in shipped_configs() if re.search(r"_\d+b_", name)]
    assert len(names) == 18
    for name in names:
        config = read_config(TrainConfig, get_config(name))
        evaluation, rollout = config.evaluation, config.rollout
        assert config.data.held_out.parquet.paths != config.data.train.parquet.paths
        assert evaluation.num_orders > 1
        # A checkpoint of each evaluation is there to choose the best from.
        assert evaluation.every == config.checkpoint.every
        assert evaluation.max_new_tokens == rollout.max_new_tokens
        # No more images and responses at once than in a step, which is what the plans are of.
        assert evaluation.batch <= rollout.groups
        assert evaluation.batch * (1 + evaluation.num_orders) <= rollout.sampler.rows


def test_the_warm_start_is_valid():
    config = read_config(WarmstartConfig, get_config("tiny_warmstart"))
    assert config.fresh is not None
    assert config.data.train.digits.first_from == 680 * 64


def test_the_warm_start_of_the_second_family_differs_in_the_model_alone():
    first, second = (
        read_config(WarmstartConfig, get_config(name))
        for name in ("tiny_warmstart", "tiny_qwen3_warmstart")
    )
    assert (first.fresh.family, second.fresh.family) == ("qwen2_5_vl", "qwen3_vl")
    assert second.fresh.words == first.fresh.words
    rate = replace(second.optimizer, learning_rate=first.optimizer.learning_rate)
    assert replace(second, fresh=first.fresh, optimizer=rate) == first


def test_the_published_run_has_the_published_settings():
    config = read_config(TrainConfig, get_config("qwen2_5_vl_7b_perl"))
    assert config.optimizer.learning_rate == 1e-6
    assert (config.objective.kl, config.objective.kl_coefficient) == ("k3", 0.01)
    assert (config.rollout.groups, config.rollout.num_rollouts) == (128, 6)
    assert config.permutation.num_orders == 1
    assert config.learner.updates_per_batch == 4
    assert (config.data.max_prompt_tokens, config.rollout.max_new_tokens) == (8192, 2048)
    assert config.rollout.temperature == 1.0
    assert (config.objective.clip_low, config.objective.clip_high) == (0.2, 0.2)
    assert config.objective.aggregation == "token_mean"
    assert config.permutation.schedule.kind == "linear"
