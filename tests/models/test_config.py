import copy
import json

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from perl_jax.models import abstract_model, parse_config, read_config
from perl_jax.models.qwen2_5_vl.family import hub_name, stored_tensors
from perl_jax.testing import write_tiny_checkpoint
from tests.models.published import PARAMETERS, TENSORS, published_config


def parameters(size):
    model = abstract_model(parse_config(published_config(size)), dtype=jnp.bfloat16)
    return {".".join(path): leaf for path, leaf in nnx.to_flat_state(nnx.state(model))}


@pytest.mark.parametrize("size", PARAMETERS)
def test_a_published_size_has_exactly_the_published_number_of_parameters(size):
    leaves = parameters(size).values()
    assert all(isinstance(leaf.get_raw_value(), jax.ShapeDtypeStruct) for leaf in leaves)
    assert sum(leaf.size for leaf in leaves) == PARAMETERS[size]


@pytest.mark.parametrize("size", TENSORS)
def test_a_published_size_has_exactly_the_published_number_of_tensors(size):
    config = parse_config(published_config(size))
    names = [
        name
        for path, leaf in parameters(size).items()
        for name in stored_tensors(path, leaf.shape, config).names
    ]
    assert len(set(names)) == len(names) == TENSORS[size]


def test_both_layouts_give_the_same_configuration(tmp_path):
    hub = write_tiny_checkpoint(tmp_path / "hub", layout="hub")
    nested = write_tiny_checkpoint(tmp_path / "v5", layout="v5")
    assert read_config(hub) == read_config(nested)


def test_tying_may_be_said_inside_text_config(tmp_path):
    path = write_tiny_checkpoint(tmp_path, layout="v5", tied=True) / "config.json"
    content = json.loads(path.read_text())
    del content["tie_word_embeddings"]
    assert not parse_config(content).tied
    content["text_config"]["tie_word_embeddings"] = True
    assert parse_config(content).tied


def test_names_of_both_kinds_translate_to_the_hubs():
    assert hub_name("model.visual.blocks.0.norm1.weight") == "visual.blocks.0.norm1.weight"
    assert hub_name("model.language_model.norm.weight") == "model.norm.weight"
    assert hub_name("model.layers.0.mlp.up_proj.weight") == "model.layers.0.mlp.up_proj.weight"
    assert hub_name("lm_head.weight") == "lm_head.weight"


@pytest.mark.reliability("67")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "qwen2_vl"}, "expected 'qwen2_5_vl' or 'qwen3_vl', got 'qwen2_vl'"),
        ({"auto_map": {"AutoModel": "x.Y"}}, "auto_map: models that bring their own code"),
        ({"hidden_size": None}, "hidden_size: expected a whole number, got None"),
        ({"hidden_size": "2048"}, "hidden_size: expected a whole number, got '2048'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers: expected at least 1, got 0"),
        ({"num_attention_heads": 3}, "num_attention_heads: expected a divisor of hidden_size"),
        ({"num_key_value_heads": 5}, "num_key_value_heads: expected a divisor of num_attention"),
        ({"hidden_act": "gelu"}, "hidden_act: expected 'silu', got 'gelu'"),
        ({"use_sliding_window": True}, "use_sliding_window: expected False, got True"),
        ({"rope_scaling": None}, "rope_scaling: expected an object, got None"),
        ({"rope_scaling.type": "yarn"}, "rope_scaling: type: expected 'mrope' or 'default'"),
        ({"rope_scaling.mrope_section": [16, 24]}, "expected three numbers that sum to 64"),
        ({"rope_scaling.mrope_section": [16, 24, 23]}, "expected three numbers that sum to 64"),
        ({"rope_scaling.mrope_section": "16"}, "mrope_section: expected a list of integers"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps: expected a finite number, got 'small'"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps: expected a finite number, got nan"),
        ({"rms_norm_eps": 10**400}, "rms_norm_eps: expected a finite number, got 10000"),
        ({"vision_config": []}, r"vision_config: expected an object, got \[\]"),
        ({"vision_config.depth": None}, "vision_config: depth: expected a whole number"),
        ({"vision_config.out_hidden_size": 7}, "expected the text model's hidden_size 2048, got 7"),
        ({"vision_config.fullatt_block_indexes": [32]}, "numbers below the depth 32, got"),
        ({"vision_config.window_size": 14}, "window_size: expected at least patch_size x spatial"),
        ({"vision_config.num_heads": 640}, "a multiple of 4"),
        ({"image_token_id": None}, "image_token_id: expected a whole number, got None"),
    ],
)
def test_a_field_that_is_missing_or_wrong_is_named(change, message):
    content = copy.deepcopy(published_config("3B"))
    for field, value in change.items():
        *outer, name = field.split(".")
        section = content[outer[0]] if outer else content
        section[name] = value
    with pytest.raises(ValueError, match=message):
        parse_config(content)


VISION = {"3B": {"out_hidden_size": 2048}, "7B": {}, "32B": {"out_hidden_size": 5120}}
VISION["32B"]["intermediate_size"] = 3456
TEXT_FIELDS = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
               "intermediate_size", "vocab_size", "hidden_act", "rms_norm_eps",
               "use_sliding_window")  # fmt: skip


def saved_by(version, size):
    """The config.json that `save_pretrained` of a version of transformers writes, in substance."""
    content = copy.deepcopy(published_config(size))
    rope = {"mrope_section": [16, 24, 24], "rope_type": "default", "type": "default"}
    text = {name: content[name] for name in TEXT_FIELDS}
    content |= {"transformers_version": version, "rope_scaling": rope}
    if version.startswith("4.49"):
        # Fields that equal the defaults of the class of vision_config are left out.
        content["vision_config"] = {"hidden_size": 1280, "in_chans": 3, "model_type": "qwen2_5_vl",
                                    "spatial_patch_size": 14, "tokens_per_second": 2}  # fmt: skip
        content["vision_config"] |= VISION[size]
        return content
    content["vision_config"] |= {"in_channels": 3, "initializer_range": 0.02}
    if version.startswith(("4.50", "4.51")):
        return content
    text |= {"model_type": "qwen2_5_vl_text", "rope_scaling": rope, "rope_theta": 1000000.0}
    if version.startswith(("4.52", "4.57")):
        return content | {"text_config": text | {"tie_word_embeddings": size == "3B"}}
    for name in (*TEXT_FIELDS, "rope_scaling", "rope_theta"):
        del content[name]
    for name in ("rope_scaling", "rope_theta"):
        del text[name]
    del content["vision_config"]["in_chans"]
    parameters = {"mrope_section": [16, 24, 24], "rope_theta": 1000000.0, "rope_type": "default"}
    return content | {"text_config": text | {"rope_parameters": parameters}}


@pytest.mark.parametrize("size", VISION)
@pytest.mark.parametrize("version", ["4.49.0", "4.50.3", "4.51.3", "4.52.4", "4.57.1", "5.2.0"])
def test_a_model_saved_by_any_version_of_transformers_is_the_published_one(version, size):
    assert parse_config(saved_by(version, size)) == parse_config(published_config(size))


def test_a_stated_field_of_the_vision_tower_counts_and_the_text_model_has_no_defaults():
    content = saved_by("4.49.0", "7B")
    content["vision_config"] |= {"depth": 33, "fullatt_block_indexes": [1]}
    vision = parse_config(content).vision
    assert (vision.depth, vision.full_attention_blocks, vision.num_heads) == (33, (1,), 16)
    del content["num_attention_heads"]
    with pytest.raises(ValueError, match="num_attention_heads: expected a whole number, got None"):
        parse_config(content)


def test_the_defaults_of_the_vision_tower_are_those_of_transformers():
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig

    theirs = Qwen2_5_VLVisionConfig()
    content = saved_by("4.49.0", "7B") | {"vision_config": {}}
    vision = parse_config(content).vision
    assert vision.hidden_size == theirs.hidden_size
    assert vision.intermediate_size == theirs.intermediate_size
    assert (vision.depth, vision.num_heads) == (theirs.depth, theirs.num_heads)
    assert vision.out_hidden_size == theirs.out_hidden_size
    assert (vision.in_channels, vision.window_size) == (theirs.in_channels, theirs.window_size)
    assert (vision.patch_size, vision.spatial_merge_size) == (14, theirs.spatial_merge_size)
    assert vision.full_attention_blocks == tuple(theirs.fullatt_block_indexes)


def test_a_file_that_is_absent_or_not_json_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config.json: the model directory lacks"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json: not valid JSON"):
        read_config(tmp_path)
