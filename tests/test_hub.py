"""From a model's name to its directory, without a network."""

import json

import pytest

from perl_jax.hub import resolve_directory


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """An empty cache of the hub, and no way out."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("make", [str, lambda path: path], ids=["str", "Path"])
def test_a_directory_is_itself(make, tmp_path):
    assert resolve_directory(make(tmp_path)) == tmp_path


def test_a_directory_that_looks_like_a_hub_id_is_itself(tmp_path, monkeypatch):
    (tmp_path / "organisation" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve_directory("organisation/name").resolve() == tmp_path / "organisation" / "name"


def test_a_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()
    assert resolve_directory("~/model") == tmp_path / "model"


def test_a_file_is_no_model(tmp_path):
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(NotADirectoryError, match=r"model\.safetensors: expected a model directory"):
        resolve_directory(file)


@pytest.mark.parametrize(
    "path",
    [
        "nowhere", "/nowhere/at/all", "./nowhere", "../nowhere", "~/nowhere", "a/b/c", "a b/c",
        "organisation/name@",
    ],
)  # fmt: skip
def test_what_is_neither_a_directory_nor_a_hub_id_is_named(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such directory; expected a directory with"):
        resolve_directory(path)


@pytest.mark.parametrize(
    "hub_id", ["organisation/name", "organisation/name@refs/pr/1", "or--ganisation/name"]
)
def test_a_hub_id_that_cannot_be_fetched_says_how_to_get_it(hub_id):
    message = f"^{hub_id}: no such directory, and the model hub did not give it"
    with pytest.raises(FileNotFoundError, match=message) as caught:
        resolve_directory(hub_id)
    assert f"hf download {hub_id.partition('@')[0]}`" in str(caught.value)


def test_an_adapter_without_its_model_is_named_with_what_to_do(tmp_path):
    base = "Qwen/Qwen2.5-VL-7B-Instruct"
    adapter = {"peft_type": "LORA", "base_model_name_or_path": base, "r": 8}
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter))
    message = rf"this is an adapter \(LoRA\) without its model, {base}: give that model, and "
    with pytest.raises(ValueError, match=message):
        resolve_directory(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"this is an adapter .* which adapter_config.json does"):
        resolve_directory(tmp_path)


def test_an_adapter_file_beside_a_whole_model_is_left_alone(tmp_path):
    for name in ("adapter_config.json", "config.json"):
        (tmp_path / name).write_text("{}")
    assert resolve_directory(tmp_path) == tmp_path
