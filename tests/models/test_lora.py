"""Adapters: beside a map they are what they are within its weight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from perl_jax.experience.rollout_copy import RolloutCopy
from perl_jax.mesh import make_mesh, rearranged
from perl_jax.models import abstract_model, load_model, save_model
from perl_jax.models.lora import (
    LoraConfig,
    adapted_maps,
    adapters_of,
    is_adapter,
    linear_maps,
    merged,
    placed,
    with_adapters,
)
from perl_jax.models.paths import leaves_of, with_leaves
from perl_jax.processing import load_processor
from perl_jax.testing import write_tiny_checkpoint
from tests.models.fixtures import relative_error
from tests.models.qwen3 import write_tiny_qwen3

EVERY = LoraConfig(rank=4, alpha=6.0, paths=(".*",))
FAMILIES = {"qwen2_5_vl": write_tiny_checkpoint, "qwen3_vl": write_tiny_qwen3}


def moved(model, seed=1):
    """The model with adapters that change something."""
    rng = np.random.default_rng(seed)
    definition, state = nnx.split(model)

    def value(path, leaf):
        if not is_adapter(path):
            return leaf.get_value()
        noise = 0.1 * rng.standard_normal(leaf.shape).astype(np.float32)
        return placed(noise, leaf.get_value().sharding)

    return nnx.merge(definition, with_leaves(state, value))


def arrays(model):
    return {path: leaf.get_value() for path, leaf in leaves_of(nnx.state(model)).items()}


@pytest.fixture(scope="module", params=FAMILIES)
def place(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "model"
    return FAMILIES[request.param](path, tied=False, dtype="float32")


@pytest.fixture(scope="module")
def base(place):
    return load_model(place, dtype="float32")


@pytest.fixture(scope="module")
def prompt(place):
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    return load_processor(place).encode("<image> Which digit is it?", [image])


def test_new_adapters_change_nothing_and_moved_ones_do(base, prompt):
    adapted = with_adapters(base, EVERY, seed=0)
    want = np.asarray(base.logits(prompt))
    np.testing.assert_array_equal(adapted.logits(prompt), want)
    assert relative_error(moved(adapted).logits(prompt), want) > 0.1


def test_merged_adapters_are_adapters_beside_the_maps(base, prompt):
    adapted = moved(with_adapters(base, EVERY, seed=0))
    whole = merged(adapted)
    assert relative_error(whole.logits(prompt), adapted.logits(prompt)) < 1e-5
    assert nnx.split(whole)[0] == nnx.split(base)[0]


def test_a_merged_weight_is_w_and_alpha_by_rank_times_b_a(base):
    adapted = moved(with_adapters(base, EVERY, seed=0))
    before, after = arrays(adapted), arrays(merged(adapted))
    for path in adapted_maps(adapted):
        w, a, b = (
            np.asarray(before[f"{path}.{name}"], np.float64)
            for name in ("weight", "lora_A", "lora_B")
        )
        want = w + 6 / 4 * np.einsum("...or,...ri->...oi", b, a)
        np.testing.assert_allclose(after[f"{path}.weight"], want, atol=1e-5)


def test_every_map_but_the_convolution_can_have_an_adapter(base):
    maps = set(linear_maps(base))
    assert "vision.patch_embed" not in maps
    weights = {p.removesuffix(".weight") for p in arrays(base) if p.endswith(".weight")}
    tables = {"text.embed_tokens", "vision.pos_embed", "vision.patch_embed"}
    norms = {path for path in weights if "norm" in path or "ln_q" in path}
    assert maps == weights - tables - norms


def test_a_seed_gives_the_same_adapters_and_each_map_its_own(base):
    one, same, other = (dict(adapters_of(with_adapters(base, EVERY, seed))) for seed in (3, 3, -4))
    for path, leaf in one.items():
        np.testing.assert_array_equal(leaf, same[path])
        if path.endswith("lora_A"):
            bound = 1 / np.sqrt(leaf.shape[-1])
            assert 0.7 * bound < leaf.max() <= bound
            assert -bound <= leaf.min() < -0.7 * bound
            assert not np.array_equal(leaf, other[path])
        else:
            assert not np.any(leaf)
    q, o = (one[f"text.layers.self_attn.{name}.lora_A"] for name in ("q_proj", "v_proj"))
    assert not np.array_equal(q, o)


def test_patterns_choose_maps_by_their_whole_path(base):
    paths = (r"text\.layers\.self_attn\.[qv]_proj", r"vision\.blocks\.attn\..*")
    chosen = adapted_maps(with_adapters(base, LoraConfig(paths=paths), seed=0))
    assert set(chosen) == {
        "text.layers.self_attn.q_proj",
        "text.layers.self_attn.v_proj",
        "vision.blocks.attn.qkv",
        "vision.blocks.attn.proj",
    }


def test_a_pattern_without_a_map_is_refused_and_the_maps_are_named(base):
    with pytest.raises(ValueError, match=r"'q_proj' matches no linear map; they are .*q_proj"):
        with_adapters(base, LoraConfig(paths=("text.*", "q_proj")), seed=0)


def test_dropout_is_refused():
    with pytest.raises(ValueError, match=r"dropout: expected 0, .*; got 0\.1"):
        LoraConfig(dropout=0.1)


def test_adapters_of_a_bfloat16_model_are_float32_and_add_up_there(place):
    base = load_model(place, dtype="bfloat16")
    adapted = with_adapters(base, EVERY, seed=0)
    dtypes = {is_adapter(path): leaf.dtype for path, leaf in arrays(adapted).items()}
    assert dtypes == {True: jnp.float32, False: jnp.bfloat16}
    assert {leaf.dtype for leaf in arrays(merged(adapted)).values()} == {jnp.dtype("bfloat16")}


def test_shapes_of_adapters_take_no_memory(base):
    abstract = abstract_model(base.config, dtype="bfloat16", mesh=make_mesh(2, 2, 2))
    got = dict(adapters_of(with_adapters(abstract, EVERY, seed=0)))
    want = dict(adapters_of(with_adapters(base, EVERY, seed=0)))
    assert {path: (one.shape, one.dtype) for path, one in got.items()} == {
        path: (one.shape, one.dtype) for path, one in want.items()
    }


def test_on_a_mesh_adapters_are_split_as_their_maps_and_the_same(place, base, prompt):
    mesh = make_mesh(2, 2, 2)
    on_mesh = load_model(place, dtype="float32", mesh=mesh)
    adapted = with_adapters(on_mesh, EVERY, seed=0)
    for path, leaf in adapters_of(with_adapters(base, EVERY, seed=0)):
        np.testing.assert_array_equal(dict(adapters_of(adapted))[path], leaf)
    specs = {path: leaf.sharding.spec for path, leaf in adapters_of(adapted)}
    assert tuple(specs["text.layers.mlp.up_proj.lora_A"]) == (None, None, "fsdp")
    assert tuple(specs["text.layers.mlp.up_proj.lora_B"]) == (None, "tensor", None)
    adapted = moved(adapted)
    whole, before = arrays(merged(adapted)), arrays(on_mesh)
    assert all(whole[path].sharding == leaf.sharding for path, leaf in before.items())
    want = moved(with_adapters(base, EVERY, seed=0)).logits(prompt)
    copy = RolloutCopy(adapted, mesh, rearranged(mesh, 8, 1, 1))(adapted)
    assert not adapted_maps(copy)
    beside = RolloutCopy(adapted, mesh, rearranged(mesh, 8, 1, 1), merge=False)(adapted)
    assert adapted_maps(beside).keys() == adapted_maps(adapted).keys()
    for model in (adapted, copy, beside):
        assert relative_error(model.logits(prompt), want) < 1e-5


def test_on_a_single_device_rollouts_read_the_policy_or_a_copy_with_merged_adapters(place, prompt):
    adapted = moved(with_adapters(load_model(place, dtype="bfloat16"), EVERY, seed=0))
    copy = RolloutCopy(adapted, None, None)(adapted)
    assert not adapted_maps(copy)
    whole = merged(adapted)
    for path, leaf in arrays(copy).items():
        np.testing.assert_array_equal(leaf, arrays(whole)[path])
    assert adapted_maps(adapted)


def test_a_saved_model_has_its_adapters_merged(base, prompt, tmp_path):
    adapted = moved(with_adapters(base, EVERY, seed=0))
    save_model(adapted, tmp_path / "whole")
    loaded = load_model(tmp_path / "whole", dtype="float32")
    assert relative_error(loaded.logits(prompt), adapted.logits(prompt)) < 1e-5


def test_in_bfloat16_merged_and_beside_differ_as_bfloat16_does(place, prompt):
    base = load_model(place, dtype="bfloat16")
    adapted = moved(with_adapters(base, EVERY, seed=0))
    beside, whole = (
        jax.nn.log_softmax(model.logits(prompt)) for model in (adapted, merged(adapted))
    )
    exact = moved(with_adapters(load_model(place, dtype="float32"), EVERY, seed=0))
    exact = jax.nn.log_softmax(exact.logits(prompt))
    assert relative_error(beside, whole) < 2 * relative_error(whole, exact)
