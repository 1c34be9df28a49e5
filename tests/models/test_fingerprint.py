"""A model is known by what its files hold."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from perl_jax.hub import revision_of
from perl_jax.models.fingerprint import fingerprint_of_model


@pytest.fixture
def model(tmp_path):
    directory = tmp_path / "model"
    directory.mkdir()
    weights(directory, 0)
    (directory / "config.json").write_text('{"a": 1}')
    (directory / "tokenizer.json").write_text("x" * 3_000_000)
    (directory / "README.md").write_text("one")
    return directory


def weights(directory, seed):
    values = np.random.default_rng(seed).normal(size=(700, 700)).astype(np.float32)
    save_file({"w": values}, directory / "model.safetensors")
    return directory / "model.safetensors"


def test_it_is_the_same_wherever_the_files_lie(model, tmp_path):
    before = fingerprint_of_model(model)
    (model / "README.md").write_text("another")
    assert fingerprint_of_model(str(model.rename(tmp_path / "moved"))) == before


def test_weights_of_the_same_size_are_another_model(model):
    before, size = fingerprint_of_model(model), (model / "model.safetensors").stat().st_size
    assert weights(model, 1).stat().st_size == size
    assert fingerprint_of_model(model) != before


def test_a_change_anywhere_in_a_configuration_or_a_tokenizer_is_another_model(model):
    found = {fingerprint_of_model(model)}
    (model / "config.json").write_text('{"a": 2}')
    found.add(fingerprint_of_model(model))
    (model / "tokenizer.json").write_text("x" * 1_234_567 + "y" + "x" * 1_765_432)
    found.add(fingerprint_of_model(model))
    (model / "tokenizer.json").rename(model / "vocab.json")
    found.add(fingerprint_of_model(model))
    assert len(found) == 4


def test_of_weights_of_any_size_about_a_megabyte_is_read(model, monkeypatch):
    # A sparse file of 150 GB.
    with (model / "model.safetensors").open("wb") as file:
        file.truncate(150 * 10**9)
    read = []

    def noted(path, start, stop):
        read.append(stop - start)
        return bytes(stop - start)

    monkeypatch.setattr("perl_jax.storage.read_range", noted)
    fingerprint_of_model(model)
    assert sum(read) == 2**20


def test_the_revision_is_that_of_the_hubs_cache(tmp_path):
    assert revision_of(tmp_path / "models--a--b" / "snapshots" / "abc123") == "abc123"
    assert revision_of(tmp_path / "abc123") is None
