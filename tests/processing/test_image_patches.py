"""Resizing, normalising and cutting: hand-computed values, an oracle, hashes of the reference."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perl_jax.processing import (
    ImageError,
    ImageSettings,
    extract_patches,
    picture_of,
    read_image_settings,
    smart_resize,
)

PUBLISHED = {"factor": 28, "min_pixels": 3136, "max_pixels": 12845056}


@pytest.fixture(scope="module")
def settings(checkpoint):
    return read_image_settings(checkpoint)


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((10, 1000), (28, 560)),
        ((14, 14), (56, 56)),
        ((42, 42), (56, 56)),
        ((70, 70), (56, 56)),
        ((98, 98), (112, 112)),
        ((1, 199), (28, 812)),
        ((199, 1), (812, 28)),
        ((1, 1), (56, 56)),
        ((56, 84), (56, 84)),
        ((4000, 6000), (2912, 4368)),
    ],
)
def test_sizes_round_to_multiples_of_28_with_halves_to_even(size, resized):
    assert smart_resize(*size, **PUBLISHED) == resized


def test_a_lower_maximum_shrinks_both_sides_alike():
    limits = {**PUBLISHED, "max_pixels": 1003520}
    assert smart_resize(4000, 6000, **limits) == (812, 1204)
    # The square root of 1e6 / 1e5 is 3.1623, and 1000 / 3.1623 is 11.29 times 28.
    assert smart_resize(1000, 1000, factor=28, min_pixels=1, max_pixels=100_000) == (308, 308)


def test_a_higher_minimum_enlarges_both_sides_alike():
    # The square root of 1e6 / 1e4 is 10, and 1000 is 35.7 times 28.
    assert smart_resize(100, 100, factor=28, min_pixels=1_000_000, max_pixels=2_000_000) == (
        1008,
        1008,
    )


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_every_resized_image_is_made_of_whole_tokens_within_the_limits(height, width):
    if max(height, width) > 200 * min(height, width):
        return
    limits = {"factor": 28, "min_pixels": 3136, "max_pixels": 100352}
    rows, columns = smart_resize(height, width, **limits)
    assert rows % 28 == columns % 28 == 0
    assert rows * columns >= 3136
    # A side never falls below one token, which may leave a thin image above the maximum.
    assert rows * columns <= 100352 or min(rows, columns) == 28


@pytest.mark.reliability("33")
@pytest.mark.parametrize("size", [(1, 201), (30000, 1), (149, 30000)])
def test_an_aspect_ratio_over_200_is_an_error_that_names_the_size(size):
    with pytest.raises(ImageError, match=rf"{size[1]}x{size[0]} pixels.*200 times"):
        smart_resize(*size, **PUBLISHED)


def test_an_aspect_ratio_of_200_is_accepted():
    assert smart_resize(5, 1000, **PUBLISHED) == (28, 812)


def test_every_value_stands_where_the_definition_puts_it(settings, picture):
    """Rows run over units, then over the patches of a unit; columns over channel, frame, pixel."""
    rgb = picture(56, 84)
    image = extract_patches(rgb, settings)
    assert image.grid == (4, 6)
    assert image.patches.shape == (24, 1176)
    assert image.patches.dtype == np.float32
    mean, std = np.float32(settings.mean), np.float32(settings.std)
    for row in range(24):
        unit, inside = divmod(row, 4)
        top = 28 * (unit // 3) + 14 * (inside // 2)
        left = 28 * (unit % 3) + 14 * (inside % 2)
        patch = rgb[top : top + 14, left : left + 14]
        normalised = (np.float32(patch.astype(np.float64) * (1 / 255)) - mean) / std
        frame = normalised.transpose(2, 0, 1)
        expected = np.stack([frame, frame], axis=1)
        np.testing.assert_array_equal(image.patches[row].reshape(3, 2, 14, 14), expected)


def test_white_and_black_have_the_values_of_the_published_mean_and_deviation(settings):
    white = extract_patches(np.full((56, 56, 3), 255, np.uint8), settings).patches
    black = extract_patches(np.zeros((56, 56, 3), np.uint8), settings).patches
    channels = white.reshape(-1, 3, 392)
    np.testing.assert_allclose(channels[0, :, 0], [1.93033625, 2.07488384, 2.14589700], rtol=1e-6)
    channels = black.reshape(-1, 3, 392)
    np.testing.assert_allclose(
        channels[0, :, 0], [-1.79226253, -1.75209713, -1.48021974], rtol=1e-6
    )


GOLDEN = {
    # (height, width, max_pixels): (grid, start of the SHA-256 of the reference's patches)
    (56, 84, 12845056): ((4, 6), "fe41e16112cf5c1e"),
    (101, 67, 12845056): ((8, 4), "677c1419260613b4"),
    (1, 1, 12845056): ((4, 4), "a6558f0c6a3c3782"),
    (10, 1000, 12845056): ((2, 40), "f93b620491e8fdc2"),
    (333, 512, 100352): ((18, 28), "a2508350d09145f5"),
    (900, 31, 12845056): ((64, 2), "97bf9886f8182373"),
    (640, 480, 12845056): ((46, 34), "852c7135ad118d6e"),
}


@pytest.mark.parametrize("case", GOLDEN, ids=str)
def test_patches_have_the_hashes_of_the_reference(settings, picture, case):
    height, width, max_pixels = case
    settings = dataclasses.replace(settings, max_pixels=max_pixels)
    image = extract_patches(picture(height, width), settings)
    digest = hashlib.sha256(image.patches.tobytes()).hexdigest()[:16]
    assert (image.grid, digest) == GOLDEN[case]


def test_preprocessing_leaves_its_input_alone(settings, picture):
    rgb = picture(30, 40)
    rgb.flags.writeable = False
    extract_patches(rgb, settings)
    np.testing.assert_array_equal(rgb, picture(30, 40))


@pytest.mark.parametrize("rgb", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8)])
def test_only_rgb_bytes_are_cut(settings, rgb):
    with pytest.raises(ValueError, match=r"expected uint8 \[H, W, 3\]"):
        extract_patches(rgb, settings)


def test_the_published_settings_are_read(settings):
    assert (settings.min_pixels, settings.max_pixels) == (3136, 12845056)
    assert (settings.patch_size, settings.temporal_patch_size, settings.merge_size) == (14, 2, 2)
    assert settings.mean == (0.48145466, 0.4578275, 0.40821073)
    assert settings.std == (0.26862954, 0.26130258, 0.27577711)
    assert settings.rescale_factor == 1 / 255


def test_settings_as_transformers_5_saves_them_read_the_same(directory, settings):
    published = directory / "preprocessor_config.json"
    saved = json.loads(published.read_text())
    saved["size"] = {
        "shortest_edge": saved.pop("min_pixels"),
        "longest_edge": saved.pop("max_pixels"),
    }
    saved |= {"do_resize": True, "do_convert_rgb": True, "resample": 3, "rescale_factor": 1 / 255}
    published.unlink()
    (directory / "processor_config.json").write_text(json.dumps({"image_processor": saved}))
    assert read_image_settings(directory) == settings


def test_settings_of_the_saved_processor_go_before_those_of_the_published_file(directory):
    saved = json.loads((directory / "preprocessor_config.json").read_text())
    (directory / "processor_config.json").write_text(
        json.dumps({"image_processor": {**saved, "max_pixels": 50176}})
    )
    assert read_image_settings(directory).max_pixels == 50176


def test_a_processor_config_without_image_settings_is_passed_over(directory, settings):
    (directory / "processor_config.json").write_text('{"processor_class": "Qwen2_5_VLProcessor"}')
    assert read_image_settings(directory) == settings


def test_pixel_fields_of_their_own_go_before_size(directory, edit):
    edit("preprocessor_config.json", size={"shortest_edge": 1, "longest_edge": 2})
    assert read_image_settings(directory).min_pixels == 3136


def test_other_means_and_deviations_are_honoured(directory, edit, picture):
    edit("preprocessor_config.json", image_mean=[0, 0, 0], image_std=[1, 1, 1])
    patches = extract_patches(picture(56, 56), read_image_settings(directory)).patches
    assert patches[0, 0] == np.float32(picture(56, 56)[0, 0, 0] / 255)


def test_arguments_replace_the_limits_of_the_directory(checkpoint, settings):
    replaced = read_image_settings(checkpoint, min_pixels=784, max_pixels=100352)
    assert replaced == dataclasses.replace(settings, min_pixels=784, max_pixels=100352)


@pytest.mark.reliability("51")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_pixels": 0}, "min_pixels: expected an integer of at least 1, got 0"),
        ({"max_pixels": -784}, "max_pixels: expected an integer of at least 1, got -784"),
        ({"max_pixels": 1e6}, "max_pixels: expected an integer"),
        ({"min_pixels": True}, "min_pixels: expected an integer"),
        ({"min_pixels": 2000, "max_pixels": 1000}, "min_pixels is 2000, more than max_pixels"),
        ({"max_pixels": 784}, "min_pixels is 3136, more than max_pixels, 784"),
    ],
)
def test_impossible_limits_are_errors(checkpoint, arguments, message):
    with pytest.raises(ValueError, match=message):
        read_image_settings(checkpoint, **arguments)


@pytest.mark.parametrize(
    "field",
    ["min_pixels", "max_pixels", "patch_size", "temporal_patch_size", "merge_size", "image_mean",
     "image_std"],
)  # fmt: skip
def test_a_missing_field_is_named_with_its_file(directory, edit, field):
    edit("preprocessor_config.json", **{field: None})
    with pytest.raises(ValueError, match=rf"preprocessor_config.json: the field {field}"):
        read_image_settings(directory)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("do_resize", False),
        ("do_rescale", False),
        ("do_normalize", False),
        ("do_convert_rgb", False),
        ("resample", 2),
        ("patch_size", "14"),
        ("merge_size", 0),
        ("image_mean", [0.5]),
        ("image_std", ["a", "b", "c"]),
        ("min_pixels", 99999999),
        ("rescale_factor", "1/255"),
        ("rescale_factor", 10**400),
        ("image_mean", [0.5, float("nan"), 0.5]),
    ],
)
def test_a_setting_that_is_not_supported_is_named_with_its_file(directory, edit, field, value):
    edit("preprocessor_config.json", **{field: value})
    with pytest.raises(ValueError, match=rf"preprocessor_config.json: .*{field}"):
        read_image_settings(directory)


def test_a_directory_without_image_settings_is_an_error_that_names_the_file(directory):
    (directory / "preprocessor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"preprocessor_config.json"):
        read_image_settings(directory)


@pytest.mark.parametrize("text", ["{", "[]", '{"a": 1'])
def test_a_damaged_settings_file_is_named(directory, text):
    (directory / "preprocessor_config.json").write_text(text)
    with pytest.raises(ValueError, match=r"preprocessor_config.json"):
        read_image_settings(directory)


@pytest.mark.parametrize("size", [(56, 84), (28, 28), (140, 56)])
def test_the_picture_of_patches_is_the_one_that_was_cut(size):
    rgb = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    settings = ImageSettings(28 * 28, 560 * 560, 14, 2, 2, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
    patches = extract_patches(rgb, settings)
    assert np.array_equal(picture_of(patches, settings), rgb)


def test_equal_pictures_have_one_digest_and_others_another():
    settings = ImageSettings(28 * 28, 560 * 560, 14, 2, 2, (0.5,) * 3, (0.5,) * 3)

    def digest(rgb):
        return extract_patches(rgb, settings).digest

    rgb = np.zeros((56, 84, 3), np.uint8)
    changed = rgb.copy()
    changed[30, 40, 1] = 1
    assert digest(rgb) == digest(rgb.copy())
    # The same bytes in another shape are another picture.
    assert len({digest(one) for one in (rgb, changed, rgb.reshape(84, 56, 3))}) == 3
    assert len(digest(rgb)) == 32
