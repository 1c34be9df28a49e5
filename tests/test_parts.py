"""The parts of a run: its ladders are fitted alike every time, and its identity is its content."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from perl_jax import parts
from perl_jax.config import TrainConfig, WarmstartConfig
from perl_jax.experience.config import RolloutConfig
from perl_jax.mesh import MeshConfig, make_mesh
from perl_jax.models.lora import LoraConfig, adapted_maps, with_adapters
from perl_jax.models.opening import load_policy
from perl_jax.parts import (
    fit_ladders,
    identify,
    make_learner,
    make_rewarder,
    make_rollout_copy,
    open_rows,
)
from perl_jax.rewards import RewardConfig
from perl_jax.settings import plain, read_config
from perl_jax.training.checkpoint import FingerprintError
from tests.data.pipeline.numbers import Numbers
from tests.test_runs import settings
from tests.update.real_runs import POLICY

DIGITS = {
    "model": {"path": str(POLICY), "compute_dtype": "float32"},
    "data": {
        "train": {"digits": {"rows": 512}},
        "held_out": {"digits": {"split": "held_out", "rows": 16}},
        "max_prompt_tokens": 80,
    },
    "steps": 2,
    "permutation": {"schedule": {"kind": "constant"}},
    "evaluation": {"examples": 16, "num_orders": 1, "max_new_tokens": 40},
}


def config(kind=TrainConfig, **changes):
    return read_config(kind, {**DIGITS, **changes})


@pytest.fixture(scope="module")
def train():
    given = config(
        rollout={"groups": 16, "max_new_tokens": 48}, learner={"packing": {"micro_groups": 16}}
    )
    return given, open_rows(given)


def test_ladders_of_the_demo_are_those_that_a_hand_would_choose(train):
    """Digits have at most 56 tokens of prompt and four images of four patches."""
    fitted = fit_ladders(*train)
    packing, sampler = fitted.learner.packing, fitted.rollout.sampler
    assert packing.prompt_lengths[0] == sampler.prompt_lengths[0] == 56
    assert packing.patches[0] == 16 * 16
    assert packing.images[0] == 16 * 4
    assert packing.orders == (32,)
    assert packing.response_lengths == sampler.response_lengths == (48,)
    assert sampler.patches[:2] == (64, 256)


def test_ladders_are_the_same_every_time(train):
    given, rows = train
    again = fit_ladders(given, open_rows(given))
    assert again == fit_ladders(given, rows)


def test_every_ladder_is_fitted_and_nothing_else_changes(train):
    fitted = fit_ladders(*train)
    for section, names in (
        (fitted.rollout.sampler, ("prompt_lengths", "response_lengths", "patches")),
        (fitted.learner.packing, ("prompt_lengths", "response_lengths", "patches", "images",
                                  "orders")),
    ):  # fmt: skip
        assert all(isinstance(getattr(section, name), tuple) for name in names)
    before, after = plain(train[0]), plain(fitted)
    for one in (before, after):
        del one["rollout"]["sampler"]
        del one["learner"]["packing"]
    assert before == after


def test_fitted_ladders_and_the_cache_of_programs_do_not_change_the_identity(train):
    given, rows = train
    fitted = fit_ladders(given, rows)
    other = replace(fitted, compilation=replace(given.compilation, cache=None))
    saved = identify(given, given, rows.source).record()
    now = identify(other, other, rows.source)
    assert all("auto" in change or "cache" in change for change in now.compare("here", saved, ()))


def test_shards_hold_their_part_of_a_micro_batch(train):
    given, rows = train
    split = fit_ladders(replace(given, mesh=MeshConfig(data=2, fsdp=2, tensor=2)), rows)
    assert split.learner.packing.patches[0] == 4 * 16
    assert split.learner.packing.orders == (8,)


def test_supervised_training_has_one_order_and_its_own_longest_response():
    given = config(WarmstartConfig, rows=4, max_response_tokens=44)
    fitted = fit_ladders(given, open_rows(given))
    assert fitted.learner.packing.orders == (4,)
    assert fitted.learner.packing.response_lengths == (44,)


def test_a_rate_that_falls_to_nothing_gets_a_size_for_unpermuted_groups(train):
    given, rows = train
    schedule = replace(given.permutation.schedule, kind="linear")
    falling = replace(given, steps=100, permutation=replace(given.permutation, schedule=schedule))
    assert fit_ladders(falling, rows).learner.packing.orders == (16, 24, 32)


@pytest.fixture
def model(tmp_path):
    return shutil.copytree(POLICY, tmp_path / "model")


def identity(model, rows=3):
    config = read_config(TrainConfig, settings(model={"path": str(model)}))
    return identify(config, config, Numbers(rows))


def test_a_model_that_moves_is_the_same_one(model, tmp_path):
    before = identity(model).record()
    assert identity(model.rename(tmp_path / "moved")).compare("here", before, ()) == []


def test_an_equally_large_other_model_at_the_same_path_is_refused(model):
    before = identity(model).record()
    weights = model / "model.safetensors"
    content = weights.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    weights.write_bytes(content[:header] + bytes(byte ^ 1 for byte in content[header:]))
    with pytest.raises(FingerprintError, match=rf"model: saved as \w+ from {model}, now"):
        identity(model).compare("here", before, ())


def test_other_rows_are_refused(model):
    with pytest.raises(FingerprintError, match="data: saved as numbers 3, now numbers 4"):
        identity(model, 4).compare("here", identity(model).record(), ())


def test_a_fresh_model_is_known_by_what_was_asked_for(model):
    given = read_config(TrainConfig, settings(seed=5))
    made = replace(given, model=replace(given.model, path=str(model)))
    one = identify(given, made, Numbers(3))
    assert (one.kind, one.origin, one.record()["config"]["seed"]) == ("train", str(model), 5)
    assert one.record()["config"]["model"]["path"] == given.model.path


def test_the_rewarder_of_a_run_knows_what_the_template_of_its_model_opens():
    config = SimpleNamespace(reward=RewardConfig(), rollout=RolloutConfig(max_new_tokens=77))
    processor = SimpleNamespace(opening="<think>\\n")
    parts = SimpleNamespace(grader="grader", processor=processor, functions="functions")
    rewarder = make_rewarder(config, parts)
    assert (rewarder.opening, rewarder.max_new_tokens) == ("<think>\\n", 77)
    assert (rewarder.grader, rewarder.functions) == ("grader", "functions")


def test_a_schedule_counts_every_update_of_every_epoch(monkeypatch):
    monkeypatch.setattr(parts, "Learner", lambda model, banned, **settings: settings)
    learner = {"updates_per_batch": 3, "epochs_per_batch": 4}
    given = config(steps=5, learner=learner, rollout={"max_new_tokens": 48})
    assert make_learner(given, None, None, None)["total_updates"] == 5 * 3 * 4


def test_rollouts_read_the_policy_itself_unless_their_adapters_are_to_be_merged():
    adapted = with_adapters(load_policy(config().model, None), LoraConfig(rank=2), seed=0)

    def copied(**rollout):
        given = config(learner={"lora": {"rank": 2}}, rollout=rollout)
        copy = make_rollout_copy(given, adapted, None)
        return None if copy is None else copy(adapted)

    assert copied() is None
    assert copied(merge_adapters=False) is None
    assert not adapted_maps(copied(merge_adapters=True))
    with pytest.raises(ValueError, match="mesh: expected one of the update too"):
        copied(mesh={"data": 2})


def test_on_a_mesh_of_the_rollouts_own_adapters_are_merged_unless_they_are_to_stay():
    mesh = make_mesh(1, 8, 1)
    loaded = load_policy(config().model, mesh)
    adapted = with_adapters(loaded, LoraConfig(rank=2), seed=0)

    def copied(**rollout):
        rollout = {"mesh": {"data": 8}, **rollout}
        given = config(mesh={"fsdp": 8}, learner={"lora": {"rank": 2}}, rollout=rollout)
        return make_rollout_copy(given, adapted, mesh)(adapted)

    assert not adapted_maps(copied())
    beside = adapted_maps(copied(merge_adapters=False))
    assert beside.keys() == adapted_maps(adapted).keys()
    assert {one.lora_A.get_value().dtype.name for one in beside.values()} == {"float32"}


def test_adapters_are_merged_only_where_there_are_some():
    with pytest.raises(ValueError, match=r"merge_adapters: expected None without learner\.lora"):
        config(rollout={"merge_adapters": True})


def test_a_micro_batch_has_no_more_groups_than_an_update(train):
    given, rows = train
    few = replace(given, rollout=replace(given.rollout, groups=6))
    assert fit_ladders(few, rows).learner.packing.images[0] == 6 * 4
    twice = replace(few, learner=replace(few.learner, updates_per_batch=2))
    assert fit_ladders(twice, rows).learner.packing.images[0] == 3 * 4
    # A penalty in the rewards is scored over the whole batch.
    penalty = replace(twice.objective, kl_in="reward", kl_coefficient=0.1)
    assert fit_ladders(replace(twice, objective=penalty), rows).learner.packing.images[0] == 6 * 4


def test_sampling_has_no_size_for_evaluations_where_there_are_none(train):
    given, rows = train
    longer = replace(given, evaluation=replace(given.evaluation, max_new_tokens=500))
    assert fit_ladders(longer, rows).rollout.sampler.response_lengths == (250, 500)
    alone = replace(longer, data=replace(longer.data, held_out=None))
    assert fit_ladders(alone, rows).rollout.sampler.response_lengths == (48,)
