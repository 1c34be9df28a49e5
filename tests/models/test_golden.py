"""Agreement with stored results of transformers, and proof that defects would be seen."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.attention import attend
from perl_jax.models import decoder, layers, patches, vision_language
from perl_jax.models.prompts import pack_prompts
from perl_jax.models.qwen2_5_vl import text, vision
from perl_jax.models.qwen2_5_vl.inputs import ImageSizes
from tests.models.fixtures import OneProgram, assert_close, greedy_tokens, sample_rows
from tests.models.make_golden import GOLDEN

SHOWN = "three_images"  # shows every defect


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


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


def test_positions_equal_the_golden_ones(prompts, golden):
    for name, prompt in prompts.items():
        np.testing.assert_array_equal(prompt.positions, golden[f"{name}/positions"])


def test_image_features_equal_the_golden_ones(model, prompts, golden, one_program):
    for name, prompt in prompts.items():
        if prompt.images:
            features = one_program.features(model, prompt)
            assert features.shape[1] == 1
            assert_close(sample_rows(features[:, 0]), golden[f"{name}/features"])


def test_greedy_tokens_equal_the_golden_ones(model, processor, prompts, golden):
    got = greedy_tokens(model, processor, prompts["two_images"], 16)
    assert got == golden["two_images/greedy"].tolist()


# Each defect was found in some implementation of this model (or its like), under our own names.


def vision_rope_of_distinct_frequencies(monkeypatch):
    def angles(coordinates, config):
        half = config.head_dim // 2
        frequencies = config.rope_theta ** (-jnp.arange(half) / half)
        row, column = (coordinates[:, i, None] * frequencies[None] for i in range(2))
        both = jnp.concatenate([row, column], axis=-1).astype(jnp.float32)
        return jnp.cos(both), jnp.sin(both)

    monkeypatch.setattr(vision, "rotary_angles", angles)


def packing_otherwise(monkeypatch, change):
    """Images are packed, and then changed by ``change(images, packed)``."""
    pack = ImageSizes.pack
    monkeypatch.setattr(ImageSizes, "pack", lambda self, images: change(images, pack(self, images)))


def images_that_see_each_other(monkeypatch):
    def joined(images, packed):
        total = sum(len(image.patches) for image in images)
        one = patches.segments([total], len(packed.patches), 1, total)
        return dataclasses.replace(packed, images=one)

    packing_otherwise(monkeypatch, joined)


def approximate_gelu(monkeypatch):
    gelu = jax.nn.gelu
    monkeypatch.setattr(jax.nn, "gelu", lambda x, approximate: gelu(x, approximate=True))


def no_windows(monkeypatch):
    packing_otherwise(
        monkeypatch, lambda _, packed: dataclasses.replace(packed, windows=packed.images)
    )


def features_left_in_window_order(monkeypatch):
    def in_window_order(_, packed):
        return dataclasses.replace(packed, reading_order=np.arange(len(packed.reading_order)))

    packing_otherwise(monkeypatch, in_window_order)


def one_dimensional_positions(monkeypatch):
    def pack(*args, **kwargs):
        packed = pack_prompts(*args, **kwargs)
        plain = np.broadcast_to(np.arange(packed.tokens.shape[1]), packed.positions.shape)
        return dataclasses.replace(packed, positions=plain)

    monkeypatch.setattr(vision_language, "pack_prompts", pack)


def sections_without_repetition(monkeypatch):
    """The sections laid once over all dimensions instead of twice over half of them."""

    def angles(positions, config, dtype):
        half = config.head_dim // 2
        frequencies = config.rope_theta ** (-jnp.arange(half) / half)
        axis = np.repeat(np.arange(3), 2 * np.array(config.mrope_section))
        turning = jnp.moveaxis(positions[axis], 0, -1)
        both = turning * jnp.broadcast_to(jnp.tile(frequencies, 2), turning.shape)
        return jnp.cos(both), jnp.sin(both)

    monkeypatch.setattr(text, "rotary_angles", angles)


def heads_tiled_instead_of_repeated(monkeypatch):
    def tiled(queries, own, prefix=None, **kwargs):
        b, n, r, h, f = queries.shape
        j = own.keys.shape[-2]
        grouped = queries.reshape(b, n, r, h // j, j, f).swapaxes(3, 4).reshape(queries.shape)
        out = attend(grouped, own, prefix, **kwargs)
        return out.reshape(b, n, r, j, h // j, f).swapaxes(3, 4).reshape(queries.shape)

    monkeypatch.setattr(decoder, "attend", tiled)


def rotation_of_adjacent_pairs(monkeypatch):
    def rotate(x, cos, sin):
        turned = jnp.stack([-x[..., 1::2], x[..., ::2]], axis=-1).reshape(x.shape)
        cos, sin = (jnp.broadcast_to(a[..., None, :], x.shape) for a in (cos, sin))
        return x * cos + turned * sin

    monkeypatch.setattr(text, "rotate", rotate)


def norm_without_its_weight(monkeypatch):
    def call(self, x):
        return x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + self.epsilon)

    monkeypatch.setattr(layers.RMSNorm, "__call__", call)


@pytest.mark.parametrize(
    "inject",
    [
        vision_rope_of_distinct_frequencies,
        images_that_see_each_other,
        approximate_gelu,
        no_windows,
        features_left_in_window_order,
        one_dimensional_positions,
        sections_without_repetition,
        heads_tiled_instead_of_repeated,
        rotation_of_adjacent_pairs,
        norm_without_its_weight,
    ],
    ids=lambda inject: inject.__name__,
)
def test_a_defect_in_the_model_is_seen(inject, model, prompts, golden, monkeypatch):
    """Where there is none, the first test of logits sees the same ones agree."""
    inject(monkeypatch)
    jax.clear_caches()
    with pytest.raises(AssertionError):
        check_logits(model, {SHOWN: prompts[SHOWN]}, golden)
    jax.clear_caches()


def test_a_wrong_position_of_generated_tokens_is_seen(model, processor, prompts, golden):
    """Positions counted from the padded length, or without the images' own advance."""
    prompt = dataclasses.replace(prompts["two_images"], rope_delta=0)
    assert greedy_tokens(model, processor, prompt, 16) != golden["two_images/greedy"].tolist()
