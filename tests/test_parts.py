"""The identity of a run is that of its settings, its rows, its model's content and its code."""

import shutil
from dataclasses import replace

import pytest

from perl_jax.config import TrainConfig
from perl_jax.parts import identify
from perl_jax.settings import read_config
from perl_jax.training.checkpoint import FingerprintError
from tests.data.pipeline.numbers import Numbers
from tests.test_runs import settings
from tests.update.real_runs import POLICY


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
