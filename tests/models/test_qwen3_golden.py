"""Qwen3-VL agrees with stored results of transformers; `test_qwen3_defects` breaks it."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from perl_jax.models import layers, load_model, patches
from perl_jax.models.qwen3_vl.inputs import learned_positions
from perl_jax.models.qwen3_vl.sizes import VisionConfig
from perl_jax.processing import load_processor
from tests.models.fixtures import (
    OneProgram,
    assert_close,
    fixture_prompts,
    greedy_tokens,
    pack_images,
    sample_rows,
)
from tests.models.make_golden import GOLDEN_QWEN3
from tests.models.qwen3 import QWEN3_PROMPTS, SPECIAL, write_tiny_qwen3

SHOWN = "two_images"  # shows every defect


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN_QWEN3) as arrays:
        return dict(arrays)


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


@pytest.fixture(scope="module")
def one_program(model, prompts):
    return OneProgram(prompts, model.config)


def check_logits(policy, prompts, golden):
    for name, prompt in prompts.items():
        assert_close(sample_rows(np.asarray(policy.logits(prompt))), golden[f"{name}/logits"])


def test_logits_equal_the_golden_ones(model, prompts, golden, one_program):
    for name, prompt in prompts.items():
        got = sample_rows(one_program.logits(model, prompt))
        assert_close(got, golden[f"{name}/logits"])
    check_logits(model, {SHOWN: prompts[SHOWN]}, golden)


@pytest.mark.parametrize("special", SPECIAL)
def test_logits_of_special_checkpoints_equal_the_golden_ones(special, prompts, golden, tmp_path):
    policy = load_model(SPECIAL[special](tmp_path), dtype="float32")
    check_logits(policy, {"two_images": prompts["two_images"]}, of_special(golden, special))


def of_special(golden, special):
    """The arrays of a special checkpoint, by the names that those of the others have."""
    start = f"{special}/"
    return {n.removeprefix(start): array for n, array in golden.items() if n.startswith(start)}


def test_positions_equal_the_golden_ones(prompts, golden):
    for name, prompt in prompts.items():
        np.testing.assert_array_equal(prompt.positions, golden[f"{name}/positions"])


def test_features_of_every_layer_equal_the_golden_ones(model, prompts, golden, one_program):
    assert model.config.feature_shape == (4, 64)
    for name, prompt in prompts.items():
        if prompt.images:
            got, want = (
                sample_rows(one_program.features(model, prompt)),
                golden[f"{name}/features"],
            )
            for layer in range(4):
                assert_close(got[:, layer], want[:, layer])


def test_greedy_tokens_equal_the_golden_ones(model, processor, prompts, golden):
    got = greedy_tokens(model, processor, prompts["two_images"], 16)
    assert got == golden["two_images/greedy"].tolist()


def test_an_image_is_encoded_the_same_alone_and_among_others(model, prompts):
    encode = nnx.jit(lambda model, images: model.encode_images(images))
    images = prompts["three_images"].images
    together = np.asarray(encode(model, pack_images(images, model.config)))
    first = 0
    for image in images:
        count = image.num_patches // 4
        alone = np.asarray(encode(model, pack_images([image], model.config)))[:count]
        of_all = together[first : first + count]
        assert np.linalg.norm(of_all - alone) <= 1e-6 * np.linalg.norm(alone)
        first += count


def test_the_norms_of_patches_add_a_millionth_to_the_variance():
    """Patches that vary little show it; those of the fixtures do not."""
    assert VisionConfig.norm_eps == 1e-6
    norm = layers.LayerNorm(2, VisionConfig.norm_eps, dtype=jnp.float32)
    got = norm(jnp.array([0.001, -0.001]))
    np.testing.assert_allclose(got, np.array([1, -1]) / np.sqrt(2), rtol=1e-6)


def test_places_in_the_table_of_learned_positions_keep_its_corners():
    """A grid of 4 x 6 on a table of 48 x 48, as the description works it out."""
    neighbours, shares = learned_positions(patches.patch_coordinates((4, 6), 2), (4, 6), 48)
    assert neighbours[:6, 0].tolist() == [0, 9, 720, 729, 18, 28]
    b, a = shares[:, 2] + shares[:, 3], shares[:, 1] + shares[:, 3]
    np.testing.assert_allclose(b[:6], [0, 0, 2 / 3, 2 / 3, 0, 0], atol=1e-5)
    np.testing.assert_allclose(a[:6], [0, 0.4, 0, 0.4, 0.8, 0.2], atol=1e-5)
    assert (neighbours[-1, 0], shares[-1, 0]) == (48 * 48 - 1, 1)
    one_row = learned_positions(np.array([[0, 0], [0, 1]]), (1, 2), 48)
    assert one_row[0][:, 0].tolist() == [0, 47]
