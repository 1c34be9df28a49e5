"""Qwen3-VL agrees with transformers' implementation, on the same tokens and pixels.

The tests imported here state what holds of every family; the fixtures give them this one.
"""

import jax
import numpy as np
import pytest

from perl_jax.models import load_model, save_model
from perl_jax.processing import load_processor
from tests.models.fixtures import assert_close, fixture_prompts, random_image
from tests.models.qwen3 import QWEN3_PROMPTS, SPECIAL, write_tiny_qwen3
from tests.models.test_parity import (  # noqa: F401
    compiled,
    one_program,
    reference,
    test_bfloat16_is_as_near_to_float32_as_transformers_bfloat16,
    test_cached_steps_equal_one_pass_over_the_whole_sequence,
    test_greedy_tokens_equal_those_of_generate,
    test_image_features_equal_those_of_transformers,
    test_logits_equal_those_of_transformers,
    test_logits_of_a_prompt_alone_equal_those_of_transformers,
    test_padded_batches_give_the_logits_of_transformers,
    test_positions_equal_those_of_transformers,
)

pytestmark = pytest.mark.parity

VARIANTS = [
    pytest.param(layout, tied, shards, dtype, id=f"{layout}-{tied}-{shards}-{dtype}")
    for layout, tied, shards, dtype in [
        ("hub", True, 1, "bfloat16"),
        ("hub", False, 3, "float32"),
        ("v5", True, 3, "float32"),
        ("v5", False, 1, "bfloat16"),
    ]
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_tiny_qwen3(tmp_path_factory.mktemp("qwen3"))


@pytest.fixture(scope="module")
def model(checkpoint):
    return load_model(checkpoint, dtype="float32")


@pytest.fixture(scope="module")
def processor(checkpoint):
    return load_processor(checkpoint)


@pytest.fixture(scope="module")
def prompts(processor):
    return fixture_prompts(processor, QWEN3_PROMPTS)


@pytest.mark.parametrize("name", ["smallest", "shown_twice", "five_images"])
def test_more_images_and_smaller_ones_agree(
    name,
    model,
    reference,  # noqa: F811
    prompts,
    one_program,  # noqa: F811
):
    prompt = prompts[name]
    assert_close(one_program.features(model, prompt), reference.features(prompt))
    assert_close(one_program.logits(model, prompt), reference.logits([prompt])[0])
    np.testing.assert_array_equal(prompt.positions, reference.positions(prompt)[0])


@pytest.mark.parametrize(("layout", "tied", "shards", "dtype"), VARIANTS)
def test_every_form_of_checkpoint_loads_and_returns_to_transformers(
    layout, tied, shards, dtype, tmp_path, prompts
):
    from tests.models.reference import Reference

    form = {"layout": layout, "tied": tied, "shards": shards, "dtype": dtype, "seed": shards}
    source = write_tiny_qwen3(tmp_path / "source", **form)
    model = load_model(source, dtype="float32")
    reference = Reference(source)  # noqa: F811
    prompt = prompts["two_images"]
    assert_close(np.asarray(model.logits(prompt)), reference.logits([prompt])[0])

    save_model(model, tmp_path / "saved", max_shard_bytes=10**9 if shards == 1 else 1_000_000)
    again = Reference(tmp_path / "saved")
    assert not any(again.loading.values()), again.loading
    before, after = reference.model.state_dict(), again.model.state_dict()
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() for name in before)


@pytest.mark.parametrize(
    ("text", "vision", "section"),
    [
        # One key/value head; heads times their width less than the width of the model; one feature.
        (
            {"num_key_value_heads": 1, "head_dim": 8},
            {"deepstack_visual_indexes": [0]},
            (2, 1, 1),
        ),
        # Four features, of the first and the last block among them, for four layers.
        ({"num_hidden_layers": 4}, {"deepstack_visual_indexes": [0, 1, 3, 4]}, (8, 4, 4)),
    ],
    ids=["one-of-each", "four-features"],
)
def test_other_shapes_agree(text, vision, section, tmp_path, prompts):
    from tests.models.reference import Reference

    source = write_tiny_qwen3(tmp_path, text=text, vision=vision, mrope_section=section)
    prompt = prompts["two_images"]
    got = load_model(source, dtype="float32").logits(prompt)
    assert_close(np.asarray(got), Reference(source).logits([prompt])[0])


@pytest.mark.parametrize("special", SPECIAL)
def test_special_checkpoints_agree(special, tmp_path, prompts):
    from tests.models.reference import Reference

    source = SPECIAL[special](tmp_path)
    prompt = prompts["two_images"]
    got = load_model(source, dtype="float32").logits(prompt)
    assert_close(np.asarray(got), Reference(source).logits([prompt])[0])


# Text's width, MLP, heads and key/value heads, and the vision tower's width, MLP and heads.
WIDTHS = {
    "heads as wide as published": (512, 384, 8, 2, 144, 538, 2),
    "8B": (4096, 12288, 32, 8, 1152, 4304, 16),
}


@pytest.mark.parametrize(
    "size", ["heads as wide as published", pytest.param("8B", marks=pytest.mark.soak)]
)
def test_layers_of_published_widths_agree(size, tmp_path, processor):
    """Two text layers and four vision blocks, and a small vocabulary."""
    from tests.models.reference import Reference

    width, mlp, heads, kv_heads, *of_vision = WIDTHS[size]
    source = write_tiny_qwen3(
        tmp_path,
        tied=False,
        text={
            "hidden_size": width,
            "intermediate_size": mlp,
            "num_hidden_layers": 2,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "head_dim": 128,
        },
        vision={
            **dict(zip(("hidden_size", "intermediate_size", "num_heads"), of_vision, strict=True)),
            "depth": 4,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [1, 2],
        },
        mrope_section=(24, 20, 20),
    )
    rng = np.random.default_rng(0)
    prompt = processor.encode(
        "<image><image>Which?", [random_image(rng, size) for size in ((160, 224), (64, 96))]
    )
    want = Reference(source).logits([prompt])[0]
    jax.clear_caches()
    assert_close(np.asarray(load_model(source, dtype="float32").logits(prompt)), want)


def test_a_layer_sees_a_feature_of_deepstack_only_after_the_one_before(
    model,
    reference,  # noqa: F811
    prompts,
    one_program,  # noqa: F811
):
    """The input of text layer j + 1 less the output of layer j is feature j, at image tokens."""
    prompt = prompts["ragged"]
    inner = reference.model.model.language_model.layers
    inputs, outputs = {}, {}

    def note(layer, arguments, out):
        number = list(inner).index(layer)
        inputs[number], outputs[number] = arguments[0], out

    hooks = [layer.register_forward_hook(note) for layer in inner]
    try:
        reference.logits([prompt])
    finally:
        for hook in hooks:
            hook.remove()
    is_image = prompt.tokens == reference.model.config.image_token_id
    features = one_program.features(model, prompt)
    for layer in range(4):
        moved = (inputs[layer + 1] - outputs[layer]).numpy()[0]
        assert not moved[~is_image].any()
        want = features[: is_image.sum(), layer + 1] if layer < 3 else np.zeros((1, 64))
        np.testing.assert_allclose(moved[is_image], np.broadcast_to(want, (is_image.sum(), 64)),
                                   atol=2e-4)  # fmt: skip
