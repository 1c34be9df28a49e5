"""Qwen3-VL agrees with stored results of transformers, and defects would be seen."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.attention import attend
from perl_jax.models import decoder, image_features, layers, load_model, patches, vision_language
from perl_jax.models import text as shared
from perl_jax.models.prompts import pack_prompts
from perl_jax.models.qwen3_vl import inputs, text, vision
from perl_jax.models.qwen3_vl.inputs import ImageSizes, learned_positions
from perl_jax.models.qwen3_vl.sizes import VisionConfig
from perl_jax.processing import load_processor
from tests.models.fixtures import (
    assert_close,
    fixture_prompts,
    greedy_tokens,
    pack_images,
    sample_rows,
)
from tests.models.make_golden import GOLDEN_QWEN3
from tests.models.qwen3 import QWEN3_PROMPTS, write_tiny_qwen3


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


def check_logits(policy, prompts, golden):
    for name, prompt in prompts.items():
        assert_close(sample_rows(np.asarray(policy.logits(prompt))), golden[f"{name}/logits"])


def test_logits_equal_the_golden_ones(model, prompts, golden):
    check_logits(model, prompts, golden)


def test_positions_equal_the_golden_ones(prompts, golden):
    for name, prompt in prompts.items():
        np.testing.assert_array_equal(prompt.positions, golden[f"{name}/positions"])


def test_features_of_every_layer_equal_the_golden_ones(model, prompts, golden):
    assert model.config.feature_shape == (4, 64)
    for name, prompt in prompts.items():
        if prompt.images:
            count = sum(len(image.patches) for image in prompt.images) // 4
            features = model.encode_images(pack_images(prompt.images, model.config))
            got, want = sample_rows(np.asarray(features)[:count]), golden[f"{name}/features"]
            for layer in range(4):
                assert_close(got[:, layer], want[:, layer])


def test_greedy_tokens_equal_the_golden_ones(model, processor, prompts, golden):
    got = greedy_tokens(model, processor, prompts["two_images"], 16)
    assert got == golden["two_images/greedy"].tolist()


def test_an_image_is_encoded_the_same_alone_and_among_others(model, prompts):
    images = prompts["three_images"].images
    together = np.asarray(model.encode_images(pack_images(images, model.config)))
    first = 0
    for image in images:
        count = image.num_patches // 4
        alone = np.asarray(model.encode_images(pack_images([image], model.config)))[:count]
        of_all = together[first : first + count]
        assert np.linalg.norm(of_all - alone) <= 1e-6 * np.linalg.norm(alone)
        first += count


# Defects that the published description lists, under our own names.


def learned_otherwise(change):
    """Learned positions are looked up by ``change(coordinates, grid, side)``."""
    return lambda patch: patch.setattr(inputs, "learned_positions", change)


def around(where, side):
    """Neighbours and shares of exact places ``[P, 2]`` in the table."""
    low = np.clip(np.floor(where), 0, side - 1).astype(np.int32)
    high = np.minimum(low + 1, side - 1)
    (y0, x0), (y1, x1), (b, a) = low.T, high.T, (where - low).T
    neighbours = np.stack([y0 * side + x0, y0 * side + x1, y1 * side + x0, y1 * side + x1], -1)
    return neighbours, np.stack([(1 - b) * (1 - a), (1 - b) * a, b * (1 - a), b * a], -1)


def half_pixels(coordinates, grid, side):
    return around(np.clip((coordinates + 0.5) * side / np.array(grid) - 0.5, 0, side - 1), side)


def nearest(coordinates, grid, side):
    spans = np.maximum(np.array(grid) - 1, 1)
    return around(np.round(coordinates * (side - 1) / spans), side)


def by_row_and_column(coordinates, grid, side):
    return around(np.minimum(coordinates, side - 1).astype(float), side)


def in_raster_order(coordinates, grid, side):
    raster = np.stack(np.divmod(np.arange(len(coordinates)), grid[1]), axis=-1)
    return learned_positions(raster, grid, side)


def with_rows_for_columns(coordinates, grid, side):
    return learned_positions(coordinates[:, ::-1], grid[::-1], side)


def packing(change):
    """Images are packed, and then changed by ``change(packed)``."""
    pack = ImageSizes.pack
    return lambda patch: patch.setattr(
        ImageSizes, "pack", lambda self, images: change(pack(self, images))
    )


def seeing_each_other(packed):
    total = int(packed.images.valid.sum())
    one = patches.segments([total], len(packed.patches), 1, total)
    return dataclasses.replace(packed, images=one)


def coordinates_swapped(packed):
    return dataclasses.replace(packed, coordinates=packed.coordinates[:, ::-1].copy())


def no_coordinates(packed):
    return dataclasses.replace(packed, coordinates=np.zeros_like(packed.coordinates))


def gelu(approximate):
    real = jax.nn.gelu
    return lambda patch: patch.setattr(
        jax.nn, "gelu", lambda x, **_: real(x, approximate=approximate)
    )


def root_mean_square(patch):
    def call(self, x):
        scale = jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + self.epsilon)
        weight, bias = (jnp.broadcast_to(p[...], x.shape) for p in (self.weight, self.bias))
        return x * scale * weight + bias

    patch.setattr(layers.LayerNorm, "__call__", call)


def mergers_otherwise(change):
    """A merger's input is normalised by ``change(merger, patches)``."""

    def call(self, x):
        units = change(self, x).reshape(-1, self.width)
        return self.linear_fc2(jax.nn.gelu(self.linear_fc1(units), approximate=False))

    return lambda patch: patch.setattr(vision.PatchMerger, "__call__", call)


def normalised(x, weight, bias):
    wide = x - x.mean(-1, keepdims=True)
    wide = wide * jax.lax.rsqrt(jnp.mean(wide**2, -1, keepdims=True) + 1e-6)
    return wide * jnp.broadcast_to(weight, x.shape) + jnp.broadcast_to(bias, x.shape)


def joined_always(merger, x):
    weight, bias = (
        jnp.resize(p[...], merger.width) for p in (merger.norm.weight, merger.norm.bias)
    )
    return normalised(x.reshape(-1, merger.width), weight, bias)


def per_patch_always(merger, x):
    norm, shape = merger.norm, (len(x) // 4, 4, x.shape[-1])
    # The norm of joined patches has a weight for each of the four.
    own = (4, shape[-1]) if merger.norm_width == merger.width else (1, shape[-1])
    weight, bias = (
        jnp.broadcast_to(part[...].reshape(1, *own), shape) for part in (norm.weight, norm.bias)
    )
    return normalised(x.reshape(shape), weight, bias)


def blocks_tapped(change):
    """DeepStack takes the outputs of other blocks."""

    def inject(patch):
        call = vision.VisionTower.__call__

        def otherwise(self, *arguments, **named):
            config = self.config
            self.config = dataclasses.replace(config, deepstack_blocks=change)
            try:
                return call(self, *arguments, **named)
            finally:
                self.config = config

        patch.setattr(vision.VisionTower, "__call__", otherwise)

    return inject


def features_otherwise(change):
    """The table ``[M, 1 + K, D]`` is changed before the text model sees it."""

    def inject(patch):
        encode = vision_language.VisionLanguageModel.encode_images
        patch.setattr(
            vision_language.VisionLanguageModel,
            "encode_images",
            lambda self, *arguments: change(encode(self, *arguments)),
        )

    return inject


def added_otherwise(change):
    """What is added after a layer is ``change(added, layer, x)``."""
    add = image_features.AddedFeatures.add
    return lambda patch: patch.setattr(
        image_features.AddedFeatures,
        "add",
        lambda self, layer, x: change(lambda layer, x: add(self, layer, x), self, layer, x),
    )


def all_at_once(add, added, layer, x):
    def every():
        y = x
        for number in range(added.table.shape[2]):
            y = add(jnp.int32(number), y)
        return y

    return jax.lax.cond(layer == 0, every, lambda: x)


def one_layer_late(add, added, layer, x):
    return jax.lax.cond(layer > 0, lambda: add(layer - 1, x), lambda: x)


def to_text_tokens_too(add, added, layer, x):
    everywhere = image_features.AddedFeatures(added.table, jnp.maximum(added.rows, 0))
    return ADD(everywhere, layer, x)


def axes(change):
    """Frequencies turn with ``change(config)``."""
    return lambda patch: patch.setattr(text, "rotary_axes", change)


def in_chunks(config):
    return np.repeat(np.arange(3), config.mrope_section)


def one_dimensional(patch):
    def pack(*args, **kwargs):
        packed = pack_prompts(*args, **kwargs)
        plain = np.broadcast_to(np.arange(packed.tokens.shape[1]), packed.positions.shape)
        return dataclasses.replace(packed, positions=plain)

    patch.setattr(vision_language, "pack_prompts", pack)


def theta(patch):
    real = shared.multimodal_angles
    patch.setattr(
        shared,
        "multimodal_angles",
        lambda positions, axis, config, dtype: real(
            positions, axis, dataclasses.replace(config, rope_theta=1e6), dtype
        ),
    )


def projected(change):
    """Queries and keys ``[..., heads, F]`` become ``change(attention, q, k, rotary)``."""

    def project(self, x, rotary):
        q, k, v = (
            part(x).reshape(*x.shape[:-1], -1, self.head_dim)
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        return *change(self, q, k, rotary), v

    return lambda patch: patch.setattr(text.TextAttention, "project", project)


def without_norms(attention, q, k, rotary):
    return layers.rotate(q, *rotary), layers.rotate(k, *rotary)


def norms_after_rotation(attention, q, k, rotary):
    q, k = without_norms(attention, q, k, rotary)
    return attention.q_norm(q), attention.k_norm(k)


def norms_swapped(attention, q, k, rotary):
    return without_norms(attention, attention.k_norm(q), attention.q_norm(k), rotary)


def norms_over_all_heads(attention, q, k, rotary):
    def over_all(x, norm):
        scale = jax.lax.rsqrt(jnp.mean(x**2, axis=(-2, -1), keepdims=True) + norm.epsilon)
        return x * scale * jnp.broadcast_to(norm.weight[...], x.shape)

    return without_norms(
        attention, over_all(q, attention.q_norm), over_all(k, attention.k_norm), rotary
    )


def attention_otherwise(change):
    return lambda patch: patch.setattr(decoder, "attend", change)


def tiled(queries, own, prefix=None, **kwargs):
    b, n, r, h, f = queries.shape
    j = own.keys.shape[-2]
    grouped = queries.reshape(b, n, r, h // j, j, f).swapaxes(3, 4).reshape(queries.shape)
    out = attend(grouped, own, prefix, **kwargs)
    return out.reshape(b, n, r, j, h // j, f).swapaxes(3, 4).reshape(queries.shape)


def scaled_by_the_width(queries, own, prefix=None, **kwargs):
    """As if a head were 64 / 4 = 16 wide."""
    return attend(queries * 2**0.5, own, prefix, **kwargs)


DEFECTS = {
    "no learned positions": lambda patch: patch.setattr(
        vision.VisionTower, "interpolated", lambda self, images: jnp.zeros((1, 1))
    ),
    "learned positions in raster order": learned_otherwise(in_raster_order),
    "learned rows for columns": learned_otherwise(with_rows_for_columns),
    "half pixels": learned_otherwise(half_pixels),
    "nearest learned position": learned_otherwise(nearest),
    "table indexed by row and column": learned_otherwise(by_row_and_column),
    "no rotation of patches": packing(no_coordinates),
    "rotation of rows for columns": packing(coordinates_swapped),
    "theta of patches": lambda patch: patch.setattr(VisionConfig, "rope_theta", 1e6),
    "images that see each other": packing(seeing_each_other),
    "exact gelu everywhere": gelu(False),
    "approximate gelu everywhere": gelu(True),
    "root mean square norm": root_mean_square,
    "merger's norm of joined patches": mergers_otherwise(joined_always),
    "deepstack's norm of each patch": mergers_otherwise(per_patch_always),
    "taps before the block": blocks_tapped((0, 1, 2)),
    "deepstack left out": features_otherwise(lambda f: f.at[:, 1:].set(0)),
    "deepstack in reverse order": features_otherwise(lambda f: f.at[:, 1:].set(f[:, :0:-1])),
    "deepstack shifted by a token": features_otherwise(
        lambda f: f.at[:, 1:].set(jnp.roll(f[:, 1:], 1, axis=0))
    ),
    "deepstack after the first layer": added_otherwise(all_at_once),
    "deepstack one layer late": added_otherwise(one_layer_late),
    "deepstack at text tokens too": added_otherwise(to_text_tokens_too),
    "sections in chunks": axes(in_chunks),
    "height for width": axes(lambda config: np.array([0, 2, 1])[AXES(config)]),
    "time alone": axes(lambda config: np.zeros(config.head_dim // 2, int)),
    "one-dimensional positions": one_dimensional,
    "theta of text": theta,
    "no norm of queries and keys": projected(without_norms),
    "norms after the rotation": projected(norms_after_rotation),
    "norms over all heads": projected(norms_over_all_heads),
    "norms of queries and keys swapped": projected(norms_swapped),
    "heads tiled instead of repeated": attention_otherwise(tiled),
    "scale of the width by the heads": attention_otherwise(scaled_by_the_width),
}
AXES, ADD = text.rotary_axes, image_features.AddedFeatures.add


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_in_the_model_is_seen(defect, model, prompts, golden, monkeypatch):
    shown = {"two_images": prompts["two_images"]}
    DEFECTS[defect](monkeypatch)
    jax.clear_caches()
    with pytest.raises(AssertionError):
        check_logits(model, shown, golden)
    jax.clear_caches()


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
