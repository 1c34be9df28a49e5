"""Directories of PEFT: ours are loaded by PEFT, PEFT's by us, and others are refused."""

import json
import warnings

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from perl_jax.models import load_model
from perl_jax.models.adapter_files import (
    CONFIG,
    WEIGHTS,
    read_adapter,
    save_adapter,
    with_adapter,
)
from perl_jax.models.lora import LoraConfig, adapters_of, with_adapters
from perl_jax.processing import load_processor
from perl_jax.testing import write_tiny_checkpoint
from tests.models.fixtures import assert_close, relative_error
from tests.models.qwen3 import write_tiny_qwen3
from tests.models.test_lora import EVERY, moved

FAMILIES = {"qwen2_5_vl": write_tiny_checkpoint, "qwen3_vl": write_tiny_qwen3}


@pytest.fixture(scope="module", params=FAMILIES)
def place(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "model"
    return FAMILIES[request.param](path, tied=False, dtype="float32")


@pytest.fixture(scope="module")
def base(place):
    return load_model(place, dtype="float32")


@pytest.fixture(scope="module")
def adapted(base):
    return moved(with_adapters(base, EVERY, seed=0))


@pytest.fixture(scope="module")
def prompt(place):
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    return load_processor(place).encode("<image> Which digit is it?", [image])


@pytest.fixture
def written(adapted, tmp_path):
    save_adapter(adapted, tmp_path / "adapter", "Somewhere/Model")
    return tmp_path / "adapter"


def changed(directory, **fields):
    content = json.loads((directory / CONFIG).read_text()) | fields
    (directory / CONFIG).write_text(json.dumps(content))


def test_what_is_written_is_read_bit_for_bit(adapted, base, written):
    read = read_adapter(written, with_adapters(base, EVERY, seed=5))
    want = dict(adapters_of(adapted))
    assert read.keys() == want.keys()
    for path, leaf in want.items():
        np.testing.assert_array_equal(read[path], leaf)
        assert read[path].sharding == leaf.sharding


def test_names_are_those_of_peft_and_one_for_each_layer(adapted, written):
    tensors = load_file(written / WEIGHTS)
    layer = "base_model.model.model.language_model.layers.1.self_attn.q_proj"
    q = dict(adapters_of(adapted))["text.layers.self_attn.q_proj.lora_A"]
    np.testing.assert_array_equal(tensors[f"{layer}.lora_A.weight"], q[1])
    assert "base_model.model.model.visual.blocks.0.attn.qkv.lora_B.weight" in tensors
    assert "base_model.model.lm_head.lora_B.weight" in tensors
    config = json.loads((written / CONFIG).read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 6.0)
    assert config["base_model_name_or_path"] == "Somewhere/Model"
    named = {
        f"base_model.model.{m}.lora_{x}.weight" for m in config["target_modules"] for x in "AB"
    }
    assert named == tensors.keys()


def test_a_directory_merges_into_a_model_without_a_configuration(adapted, base, written, prompt):
    whole = with_adapter(base, written)
    assert relative_error(whole.logits(prompt), adapted.logits(prompt)) < 1e-5


def test_names_of_an_earlier_transformers_are_read(place, adapted, base, written):
    if base.config.model_type != "qwen2_5_vl":
        pytest.skip("the family has had one naming")
    before = {
        name.replace("model.model.language_model.", "model.model.").replace(
            "model.model.visual.", "model.visual."
        ): tensor
        for name, tensor in load_file(written / WEIGHTS).items()
    }
    assert "base_model.model.visual.merger.mlp.0.lora_A.weight" in before
    save_file(before, written / WEIGHTS)
    read = read_adapter(written, with_adapters(base, EVERY, seed=5))
    for path, leaf in adapters_of(adapted):
        np.testing.assert_array_equal(read[path], leaf)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"r": 8}, r"expected learner\.lora\.rank = 4; got 8"),
        ({"lora_alpha": 3}, r"expected learner\.lora\.alpha = 6; got 3"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern: expected {}"),
        ({"alpha_pattern": {"q_proj": 2}}, "alpha_pattern: expected {}"),
        ({"use_dora": True}, "use_dora: expected False"),
        ({"use_rslora": True}, "use_rslora: expected False"),
        ({"bias": "all"}, "bias: expected 'none'"),
        ({"peft_type": "IA3"}, "peft_type: expected 'LORA'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save: expected"),
        ({"r": "many"}, "expected r and lora_alpha"),
    ],
)
def test_adapters_of_another_kind_are_refused(fields, message, base, adapted, written):
    changed(written, **fields)
    with pytest.raises(ValueError, match=message):
        read_adapter(written, adapted)


def test_adapters_of_other_maps_are_refused_by_name(base, written):
    few = with_adapters(base, LoraConfig(rank=4, alpha=6.0, paths=("text.*",)), seed=0)
    with pytest.raises(ValueError, match=r"surplus: base_model\.model\.lm_head"):
        read_adapter(written, few)
    tensors = load_file(written / WEIGHTS)
    del tensors["base_model.model.lm_head.lora_A.weight"]
    save_file(tensors, written / WEIGHTS)
    with pytest.raises(ValueError, match=r"missing: base_model\.model\.lm_head\.lora_A"):
        read_adapter(written, with_adapters(base, EVERY, seed=0))
    tensors["base_model.model.lm_head.lora_A.weight"] = np.zeros((4, 3), np.float32)
    save_file(tensors, written / WEIGHTS)
    with pytest.raises(ValueError, match=r"shape: .*lm_head\.lora_A.*expected \(4, 64\)"):
        read_adapter(written, with_adapters(base, EVERY, seed=0))


def test_a_model_without_adapters_and_a_missing_file_are_refused(base, written):
    with pytest.raises(ValueError, match=r"learner\.lora"):
        save_adapter(base, written / "none", "")
    with pytest.raises(ValueError, match=r"learner\.lora"):
        read_adapter(written, base)
    (written / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match="adapter_model"):
        with_adapter(base, written)


@pytest.fixture
def peft():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("peft", reason="peft is not installed (make test FULL=1 has it)")


@pytest.fixture
def reference(place):
    from tests.models.reference import Reference

    return Reference(place)


@pytest.mark.parity
def test_peft_gives_our_logits_with_our_adapters(peft, reference, adapted, base, written, prompt):
    without = reference.logits([prompt])[0]
    reference.model = peft.PeftModel.from_pretrained(reference.model, written)
    got = reference.logits([prompt])[0]
    assert relative_error(got, without) > 0.1
    assert_close(got, np.asarray(adapted.logits(prompt)))


@pytest.mark.parity
def test_we_give_pefts_logits_with_its_adapters(peft, reference, base, prompt, tmp_path):
    import torch

    targets = (
        r".*language_model.*\.(q_proj|v_proj|down_proj)|.*visual\.merger\.(mlp\.[02]|linear_fc\d)"
    )
    config = peft.LoraConfig(r=3, lora_alpha=5, lora_dropout=0.1, target_modules=targets)
    reference.model = peft.get_peft_model(reference.model, config)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in reference.model.named_parameters():
        if ".lora_" in name:
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data = 0.2 * noise
    reference.model.eval()
    reference.model.save_pretrained(tmp_path / "theirs")
    want = reference.logits([prompt])[0]
    assert_close(np.asarray(with_adapter(base, tmp_path / "theirs").logits(prompt)), want)
    mine = LoraConfig(
        rank=3,
        alpha=5.0,
        paths=(r"text\.layers\..*\.(q_proj|v_proj|down_proj)", r"vision\.merger\..*"),
    )
    read_adapter(tmp_path / "theirs", with_adapters(base, mine, seed=0))
