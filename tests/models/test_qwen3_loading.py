"""Directories of Qwen3-VL in and out, and those that are refused."""

import json

import pytest
from safetensors.numpy import load_file, save_file

from perl_jax.models import load_model, save_model
from tests.models.qwen3 import write_tiny_qwen3
from tests.models.test_loading import tensors_of


@pytest.mark.parametrize("layout", ["hub", "v5"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("shards", "dtype"), [(1, "bfloat16"), (3, "float32")])
def test_what_is_saved_is_what_was_loaded(layout, tied, shards, dtype, tmp_path):
    source = write_tiny_qwen3(
        tmp_path / "source", layout=layout, tied=tied, shards=shards, dtype=dtype
    )
    limit = 10**9 if shards == 1 else 1_000_000
    model = load_model(source, dtype="float32")
    save_model(model, tmp_path / "saved", max_shard_bytes=limit)
    before, after = tensors_of(source), tensors_of(tmp_path / "saved")
    assert before.keys() == after.keys()
    for name in before:
        assert before[name].dtype == after[name].dtype
        assert before[name].tobytes() == after[name].tobytes(), name
    configs = [json.loads((d / "config.json").read_text()) for d in (source, tmp_path / "saved")]
    assert configs[0] == configs[1]
    assert (tmp_path / "saved" / "model.safetensors").exists() == (shards == 1)


def test_a_directory_under_other_names_is_refused_with_all_of_them(tmp_path):
    source = write_tiny_qwen3(tmp_path)
    tensors = load_file(source / "model.safetensors")
    old = {name.replace("model.language_model.", "model."): t for name, t in tensors.items()}
    save_file(old, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"missing: model.language_model.embed_tokens.weight"):
        load_model(source, dtype="float32")


@pytest.mark.parametrize(("tied", "says"), [(True, False), (False, True)])
def test_a_head_must_be_there_exactly_where_it_is_not_tied(tied, says, tmp_path):
    source = write_tiny_qwen3(tmp_path, tied=tied)
    content = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**content, "tie_word_embeddings": says}))
    message = "surplus: lm_head.weight" if says else "missing: lm_head.weight"
    with pytest.raises(ValueError, match=message):
        load_model(source, dtype="float32")
