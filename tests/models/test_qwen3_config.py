"""Qwen3-VL's sizes: what a config.json may say, and what it says of the published models."""

import copy

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from perl_jax.models import abstract_model, parse_config, read_config
from perl_jax.models.paths import leaves_of
from perl_jax.models.qwen3_vl.family import stored_tensors
from perl_jax.models.qwen3_vl.text import rotary_axes
from tests.models.published import QWEN3_PARAMETERS, QWEN3_TENSORS, published_qwen3


def parameters(config):
    return leaves_of(nnx.state(abstract_model(config, dtype=jnp.bfloat16)))


@pytest.mark.parametrize("size", QWEN3_PARAMETERS)
def test_a_published_size_has_exactly_the_published_parameters_and_tensors(size):
    config = parse_config(published_qwen3(size))
    leaves = parameters(config)
    assert sum(leaf.size for leaf in leaves.values()) == QWEN3_PARAMETERS[size]
    names = [
        name
        for path, leaf in leaves.items()
        for name in stored_tensors(path, leaf.shape, config).names
    ]
    assert len(set(names)) == len(names) == QWEN3_TENSORS[size]


@pytest.mark.parametrize("kind", ["Instruct", "Thinking"])
@pytest.mark.parametrize("size", QWEN3_PARAMETERS)
def test_published_sizes_are_known_without_their_files(size, kind):
    config = read_config(f"Qwen/Qwen3-VL-{size}-{kind}")
    assert config == parse_config(published_qwen3(size))


def test_stored_names_are_the_published_ones_of_every_kind():
    config = parse_config(published_qwen3("8B"))
    leaves = parameters(config)
    stored = {
        name: entry.shape
        for path, leaf in leaves.items()
        for entry in [stored_tensors(path, leaf.shape, config)]
        for name in entry.names
    }
    vision, text = "model.visual.", "model.language_model."
    for name, shape in {
        f"{vision}patch_embed.proj.weight": (1152, 3, 2, 16, 16),
        f"{vision}patch_embed.proj.bias": (1152,),
        f"{vision}pos_embed.weight": (2304, 1152),
        f"{vision}blocks.26.norm2.bias": (1152,),
        f"{vision}blocks.0.attn.qkv.weight": (3456, 1152),
        f"{vision}blocks.0.mlp.linear_fc1.weight": (4304, 1152),
        f"{vision}merger.norm.weight": (1152,),
        f"{vision}merger.linear_fc2.weight": (4096, 4608),
        f"{vision}deepstack_merger_list.2.norm.weight": (4608,),
        f"{vision}deepstack_merger_list.0.linear_fc1.bias": (4608,),
        f"{text}embed_tokens.weight": (151936, 4096),
        f"{text}layers.35.self_attn.q_norm.weight": (128,),
        f"{text}layers.0.self_attn.k_proj.weight": (1024, 4096),
        f"{text}norm.weight": (4096,),
        "lm_head.weight": (151936, 4096),
    }.items():
        assert stored[name] == shape, name


def saved_by_v5(size):
    """What transformers 5 saves: rope_parameters, a dtype at the root, other names of parts."""
    content = published_qwen3(size)
    text, vision = content["text_config"], content["vision_config"]
    text["rope_parameters"] = {**text.pop("rope_scaling"), "rope_theta": text.pop("rope_theta")}
    text["pad_token_id"] = None
    text.pop("tie_word_embeddings", None)
    vision["model_type"] = "qwen3_vl_vision"
    vision["rope_parameters"] = {"rope_theta": 10000.0, "rope_type": "axial"}
    return content | {"dtype": "bfloat16", "hidden_size": 7}


@pytest.mark.parametrize("size", QWEN3_PARAMETERS)
def test_both_layouts_give_the_same_configuration(size):
    assert parse_config(saved_by_v5(size)) == parse_config(published_qwen3(size))


@pytest.mark.parametrize(
    ("root", "text", "tied"),
    [(True, None, True), (False, True, False), (None, True, True), (None, None, False)],
)
def test_of_two_statements_about_tying_the_outer_one_counts(root, text, tied):
    content = published_qwen3("2B")
    content["tie_word_embeddings"] = root
    content["text_config"]["tie_word_embeddings"] = text
    assert parse_config(content).tied is tied


def test_frequencies_of_height_and_width_take_turns_with_time_and_leave_it_the_tail():
    axes = rotary_axes(parse_config(published_qwen3("8B")).text)
    assert np.flatnonzero(axes == 1).tolist() == list(range(1, 59, 3))
    assert np.flatnonzero(axes == 2).tolist() == list(range(2, 60, 3))
    assert np.flatnonzero(axes == 0).tolist() == [*range(0, 60, 3), 60, 61, 62, 63]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text_config": None}, "text_config: expected an object, got None"),
        ({"text_config.head_dim": None}, "text_config: head_dim: expected a whole number, got"),
        ({"text_config.attention_bias": True}, "attention_bias: expected False, got True"),
        ({"text_config.hidden_act": "gelu"}, "hidden_act: expected 'silu', got 'gelu'"),
        ({"text_config.num_key_value_heads": 5}, "expected a divisor of num_attention_heads"),
        ({"text_config.rope_theta": None}, "rope_theta: expected a finite number, got None"),
        ({"text_config.rope_scaling": None}, "rope_scaling: expected an object, got None"),
        (
            {"rope_scaling.mrope_interleaved": False},
            "mrope_interleaved: expected True, got False",
        ),
        ({"rope_scaling.rope_type": "yarn"}, "rope_type: expected 'default' or 'mrope', got"),
        ({"rope_scaling.mrope_section": None}, "mrope_section: expected a list of integers"),
        ({"rope_scaling.mrope_section": [24, 20, 21]}, "expected three numbers that sum to 64"),
        ({"vision_config.hidden_act": "gelu"}, "expected 'gelu_pytorch_tanh', got 'gelu'"),
        ({"vision_config.num_position_embeddings": 2300}, "the square of a whole number, got 2300"),
        ({"vision_config.out_hidden_size": 7}, "the text model's hidden_size 2048, got 7"),
        ({"vision_config.deepstack_visual_indexes": [11, 5]}, r"ascending numbers .* got \[11, 5"),
        ({"vision_config.deepstack_visual_indexes": [5, 5]}, r"ascending numbers .* got \[5, 5\]"),
        ({"vision_config.deepstack_visual_indexes": [24]}, r"below the depth 24, .* got \[24\]"),
        ({"vision_config.deepstack_visual_indexes": []}, r"at least one, got \[\]"),
        ({"text_config.num_hidden_layers": 2}, "as the text model has layers, 2, got 3"),
        ({"image_token_id": None}, "image_token_id: expected a whole number, got None"),
    ],
)
def test_a_field_that_is_missing_or_wrong_is_named(change, message):
    content = copy.deepcopy(published_qwen3("2B"))
    for field, value in change.items():
        *outer, name = field.split(".")
        place = content
        if outer:
            place = content["text_config"] if outer[0] == "rope_scaling" else content
            place = place[outer[0]]
        place[name] = value
    with pytest.raises(ValueError, match=message):
        parse_config(content)
