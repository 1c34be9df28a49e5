"""The parts of a run: ladders are fitted in one place, and alike every time."""

from dataclasses import replace

import pytest

from perl_jax.config import TrainConfig, WarmstartConfig
from perl_jax.mesh import MeshConfig
from perl_jax.parts import fingerprint, fit_ladders, open_rows
from perl_jax.settings import plain, read_config
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
    settings = config(
        rollout={"groups": 16, "max_new_tokens": 48}, learner={"packing": {"micro_groups": 16}}
    )
    return settings, open_rows(settings)


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
    settings, rows = train
    again = fit_ladders(settings, open_rows(settings))
    assert again == fit_ladders(settings, rows)


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


def test_the_identity_of_a_run_holds_auto_and_not_what_was_fitted(train):
    settings, rows = train
    other = replace(settings, compilation=replace(settings.compilation, cache=None))
    assert fingerprint(settings, rows.source) == fingerprint(other, rows.source)
    assert fingerprint(settings, rows.source) != fingerprint(fit_ladders(*train), rows.source)


def test_shards_hold_their_part_of_a_micro_batch(train):
    settings, rows = train
    split = fit_ladders(replace(settings, mesh=MeshConfig(data=2, fsdp=2, tensor=2)), rows)
    assert split.learner.packing.patches[0] == 4 * 16
    assert split.learner.packing.orders == (8,)


def test_supervised_training_has_one_order_and_its_own_longest_response():
    settings = config(WarmstartConfig, rows=4, max_response_tokens=44)
    fitted = fit_ladders(settings, open_rows(settings))
    assert fitted.learner.packing.orders == (4,)
    assert fitted.learner.packing.response_lengths == (44,)


def test_a_rate_that_falls_to_nothing_gets_a_size_for_unpermuted_groups(train):
    settings, rows = train
    schedule = replace(settings.permutation.schedule, kind="linear")
    falling = replace(
        settings, steps=100, permutation=replace(settings.permutation, schedule=schedule)
    )
    assert fit_ladders(falling, rows).learner.packing.orders == (16, 24, 32)
