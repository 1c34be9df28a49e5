"""Every defect of Qwen3-VL that the published descriptions warn of shows in the logits."""

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
from perl_jax.models.vision import PatchEmbedding
from perl_jax.processing import positions
from tests.models.fixtures import fixture_prompts
from tests.models.qwen3 import QWEN3_PROMPTS, SPECIAL
from tests.models.test_qwen3_golden import (  # noqa: F401
    SHOWN,
    check_logits,
    checkpoint,
    golden,
    model,
    of_special,
    processor,
    prompts,
)


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
    """Images are packed, and then changed by ``change(packed, images)``."""
    pack = ImageSizes.pack
    return lambda patch: patch.setattr(
        ImageSizes, "pack", lambda self, images: change(pack(self, images), images)
    )


def seeing_each_other(packed, _):
    total = int(packed.images.valid.sum())
    one = patches.segments([total], len(packed.patches), 1, total)
    return dataclasses.replace(packed, images=one)


def coordinates_swapped(packed, _):
    return dataclasses.replace(packed, coordinates=packed.coordinates[:, ::-1].copy())


def no_coordinates(packed, _):
    return dataclasses.replace(packed, coordinates=np.zeros_like(packed.coordinates))


def rotated_in_raster_order(packed, images):
    coordinates = packed.coordinates.copy()
    raster = [np.stack(np.divmod(np.arange(i.num_patches), i.grid[1]), axis=-1) for i in images]
    coordinates[: sum(map(len, raster))] = np.concatenate(raster)
    return dataclasses.replace(packed, coordinates=coordinates)


def in_windows(packed, images):
    """Patches attend within squares of 8 x 8, as most blocks of Qwen2.5-VL's do."""
    of_image = np.repeat(np.arange(len(images)), [image.num_patches for image in images])
    squares = packed.coordinates[: len(of_image)] // 8
    keys = np.concatenate([of_image[:, None], squares], axis=-1)
    _, window = np.unique(keys, axis=0, return_inverse=True)
    order, lengths = np.argsort(window, kind="stable"), np.bincount(window)
    cut = patches.segments(lengths, len(packed.patches), len(lengths), lengths.max())
    place = cut.place.copy()
    place[order] = cut.place[: len(order)]
    chosen = np.where(cut.valid, order[cut.patches], 0)
    return dataclasses.replace(packed, images=patches.Segments(chosen, cut.valid, place))


def without_patch_bias(patch):
    call = PatchEmbedding.__call__
    patch.setattr(PatchEmbedding, "__call__", lambda self, x: call(self, x) - self.bias[...][None])


def twice_the_frequencies(coordinates, config):
    """As many for each of row and column as there are for both."""
    half = config.head_dim // 2
    frequencies = config.rope_theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angles = jnp.asarray(coordinates, jnp.float32)[:, :, None] * frequencies[None, None]
    angles = angles.reshape(-1, 2 * half)
    return jnp.cos(angles), jnp.sin(angles)


def mergers_rotated(patch):
    """The merger of each feature is that of the next one."""
    scan = vision.scan_layers

    def otherwise(modules, apply, carry, inputs, remat):
        if carry is not None:
            return scan(modules, apply, carry, inputs, remat)
        _, out = scan(modules, apply, carry, jnp.roll(inputs, 1, axis=0), remat)
        return None, jnp.roll(out, -1, axis=0)

    patch.setattr(vision, "scan_layers", otherwise)


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
            lambda self, *arguments, **named: change(encode(self, *arguments, **named)),
        )

    return inject


def added_otherwise(change):
    """What is added after a layer is ``change(add, layers, layer, x)``."""
    add = image_features.AddedAtTokens.add

    def otherwise(self, layer, x):
        return change(lambda layer, x: add(self, layer, x), len(self.values), layer, x)

    return lambda patch: patch.setattr(image_features.AddedAtTokens, "add", otherwise)


def before_the_layer(features):
    first = features.at[:, 0].add(features[:, 1])
    return first.at[:, 1:].set(jnp.pad(features[:, 2:], [(0, 0), (0, 1), (0, 0)]))


def all_at_once(add, layers, layer, x):
    def every():
        y = x
        for number in range(layers):
            y = add(jnp.int32(number), y)
        return y

    return jax.lax.cond(layer == 0, every, lambda: x)


def one_layer_late(add, layers, layer, x):
    return jax.lax.cond(layer > 0, lambda: add(layer - 1, x), lambda: x)


def to_text_tokens_too(patch):
    of_tokens = image_features.AddedFeatures.at_tokens

    def everywhere(self, x, mesh):
        return of_tokens(self._replace(rows=jnp.maximum(self.rows, 0)), x, mesh)

    patch.setattr(image_features.AddedFeatures, "at_tokens", everywhere)


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


# Defects of the arrays that the model's program is given.
DEFECTS_OF_INPUTS = {
    "learned positions in raster order": learned_otherwise(in_raster_order),
    "learned rows for columns": learned_otherwise(with_rows_for_columns),
    "half pixels": learned_otherwise(half_pixels),
    "nearest learned position": learned_otherwise(nearest),
    "table indexed by row and column": learned_otherwise(by_row_and_column),
    "no rotation of patches": packing(no_coordinates),
    "rotation of rows for columns": packing(coordinates_swapped),
    "rotation of patches in raster order": packing(rotated_in_raster_order),
    "images that see each other": packing(seeing_each_other),
    "windows": packing(in_windows),
    "one-dimensional positions": one_dimensional,
}
# Defects of the program.
DEFECTS = {
    "no bias of the patch embedding": without_patch_bias,
    "no learned positions": lambda patch: patch.setattr(
        vision.VisionTower, "interpolated", lambda self, images: jnp.zeros((1, 1))
    ),
    "twice the frequencies of patches": lambda patch: patch.setattr(
        vision, "rotary_angles", twice_the_frequencies
    ),
    "theta of patches": lambda patch: patch.setattr(VisionConfig, "rope_theta", 1e6),
    "exact gelu everywhere": gelu(False),
    "approximate gelu everywhere": gelu(True),
    "root mean square norm": root_mean_square,
    "merger's norm of joined patches": mergers_otherwise(joined_always),
    "deepstack's norm of each patch": mergers_otherwise(per_patch_always),
    "taps before the block": blocks_tapped((0, 1, 2)),
    "deepstack's mergers rotated": mergers_rotated,
    "deepstack before the layer": features_otherwise(before_the_layer),
    "deepstack left out": features_otherwise(lambda f: f.at[:, 1:].set(0)),
    "deepstack in reverse order": features_otherwise(lambda f: f.at[:, 1:].set(f[:, :0:-1])),
    "deepstack shifted by a token": features_otherwise(
        lambda f: f.at[:, 1:].set(jnp.roll(f[:, 1:], 1, axis=0))
    ),
    "deepstack after the first layer": added_otherwise(all_at_once),
    "deepstack one layer late": added_otherwise(one_layer_late),
    "deepstack at text tokens too": to_text_tokens_too,
    "sections in chunks": axes(in_chunks),
    "height for width": axes(lambda config: np.array([0, 2, 1])[AXES(config)]),
    "time alone": axes(lambda config: np.zeros(config.head_dim // 2, int)),
    "theta of text": theta,
    "no norm of queries and keys": projected(without_norms),
    "norms after the rotation": projected(norms_after_rotation),
    "norms over all heads": projected(norms_over_all_heads),
    "norms of queries and keys swapped": projected(norms_swapped),
    "heads tiled instead of repeated": attention_otherwise(tiled),
    "scale of the width by the heads": attention_otherwise(scaled_by_the_width),
}
AXES = text.rotary_axes


@pytest.mark.parametrize("defect", DEFECTS_OF_INPUTS)
def test_a_defect_in_what_the_model_is_given_is_seen(
    defect,
    model,  # noqa: F811
    prompts,  # noqa: F811
    golden,  # noqa: F811
    monkeypatch,
):
    DEFECTS_OF_INPUTS[defect](monkeypatch)
    with pytest.raises(AssertionError):
        check_logits(model, {SHOWN: prompts[SHOWN]}, golden)


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_in_the_model_is_seen(
    defect,
    model,  # noqa: F811
    prompts,  # noqa: F811
    golden,  # noqa: F811
    monkeypatch,
):
    DEFECTS[defect](monkeypatch)
    jax.clear_caches()
    with pytest.raises(AssertionError):
        check_logits(model, {SHOWN: prompts[SHOWN]}, golden)
    jax.clear_caches()


# What shows only with other weights.
DEFECTS_OF_SPECIAL = {
    "small_theta": axes(lambda config: np.arange(config.head_dim // 2) % 3),
    "little_variance": lambda patch: patch.setattr(VisionConfig, "norm_eps", 1e-5),
}


@pytest.mark.parametrize("special", SPECIAL)
def test_a_defect_is_seen_with_a_special_checkpoint(
    special,
    model,  # noqa: F811
    prompts,  # noqa: F811
    golden,  # noqa: F811
    monkeypatch,
    tmp_path,
):
    shown = {SHOWN: prompts[SHOWN]}
    DEFECTS_OF_SPECIAL[special](monkeypatch)
    jax.clear_caches()
    check_logits(model, shown, golden)  # the usual one does not show it
    policy = load_model(SPECIAL[special](tmp_path), dtype="float32")
    with pytest.raises(AssertionError):
        check_logits(policy, shown, of_special(golden, special))
    jax.clear_caches()


def test_positions_that_advance_by_every_token_of_an_image_are_seen(
    processor,  # noqa: F811
    golden,  # noqa: F811
    monkeypatch,
):
    monkeypatch.setattr(positions, "max", lambda rows, columns: rows * columns, raising=False)
    prompt = fixture_prompts(processor, QWEN3_PROMPTS)["two_images"]
    assert not np.array_equal(prompt.positions, golden["two_images/positions"])
