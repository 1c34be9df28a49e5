import dataclasses

import numpy as np
import pytest

from perl_jax.models import parse_config
from perl_jax.models.patches import patch_coordinates, segments
from perl_jax.models.prompts import pack_prompts
from perl_jax.models.qwen2_5_vl.inputs import window_order
from perl_jax.types import ImagePatches, Prompt
from tests.models.fixtures import pack_images
from tests.models.published import published_config

CONFIG = parse_config(published_config("3B"))
VISION = CONFIG.vision


def image(grid, seed=0):
    patches = np.random.default_rng(seed).normal(size=(grid[0] * grid[1], 1176))
    return ImagePatches(patches.astype(np.float32), grid)


def test_windows_tile_an_image_from_its_top_left_corner():
    """5 x 7 units in windows of 4 x 4: sizes 16, 12, 4, 3; their patches end at 64, 112, ..."""
    order, sizes = window_order((10, 14), VISION)
    assert np.cumsum(sizes * 4).tolist() == [64, 112, 128, 140]
    want = [
        *range(0, 4), *range(7, 11), *range(14, 18), *range(21, 25),
        *range(4, 7), *range(11, 14), *range(18, 21), *range(25, 28),
        *range(28, 32), *range(32, 35),
    ]  # fmt: skip
    assert order.tolist() == want


def test_an_image_that_windows_divide_has_only_whole_windows():
    order, sizes = window_order((16, 16), VISION)
    assert sizes.tolist() == [16, 16, 16, 16]
    assert sorted(order) == list(range(64))


def test_patches_of_a_unit_are_neighbours():
    assert patch_coordinates((4, 4), 2).tolist() == [
        [0, 0], [0, 1], [1, 0], [1, 1], [0, 2], [0, 3], [1, 2], [1, 3],
        [2, 0], [2, 1], [3, 0], [3, 1], [2, 2], [2, 3], [3, 2], [3, 3],
    ]  # fmt: skip


def test_a_segment_gathers_its_run_and_every_patch_knows_its_place():
    got = segments([3, 2], num_patches=8, num_segments=3, longest=4)
    assert got.valid.tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert got.patches[got.valid].tolist() == [0, 1, 2, 3, 4]
    flat = got.patches.reshape(-1)
    assert flat[got.place[:5]].tolist() == [0, 1, 2, 3, 4]


def test_packed_images_return_to_reading_order():
    """Marking every unit with its number shows where the features would come from."""
    grids = [(4, 6), (14, 10), (2, 22)]
    images, first = [], 0
    for grid in grids:
        units = grid[0] * grid[1] // 4
        marks = np.repeat(np.arange(first, first + units), 4)[:, None]
        images.append(ImagePatches(np.broadcast_to(marks, (4 * units, 1176)) + 0.0, grid))
        first += units
    packed = pack_images(images, CONFIG)
    by_unit = packed.patches[::4, 0]
    assert by_unit[packed.reading_order][:first].tolist() == list(range(first))
    # Patches of one window belong to one image, and no image's segment reaches into another.
    for row, valid in zip(packed.images.patches, packed.images.valid, strict=True):
        numbers = packed.patches[row[valid], 0]
        assert len(set(np.searchsorted([6, 41, 52], numbers, side="right"))) <= 1


def test_sizes_in_one_bucket_give_arrays_of_one_shape():
    shapes = {
        tuple(
            array.shape for array in (packed.patches, packed.windows.patches, packed.images.patches)
        )
        for grids in (
            [(10, 14), (12, 16)],
            [(16, 12), (14, 10)],
            [(14, 12), (12, 16)],
            [(16, 12), (16, 12)],
        )
        for packed in [pack_images([image(grid) for grid in grids], CONFIG)]
    }
    assert len(shapes) == 1


def test_features_of_a_batch_are_numbered_in_reading_order():
    token = CONFIG.image_token
    first = prompt([1, token, token, token, token, token, token, 2], [(4, 6)])
    text = prompt([1, 2, 3], [])
    second = prompt([token] * 4, [(4, 4)])
    inputs = pack_prompts([first, text, second], CONFIG, length=8)
    assert inputs.feature_rows.tolist() == [
        [-1, 0, 1, 2, 3, 4, 5, -1],
        [-1] * 8,
        [6, 7, 8, 9, -1, -1, -1, -1],
    ]
    assert inputs.valid.sum(axis=1).tolist() == [8, 3, 4]


def prompt(tokens, grids):
    positions = np.broadcast_to(np.arange(len(tokens)), (3, len(tokens)))
    return Prompt(np.array(tokens, np.int32), positions, 0, tuple(image(g) for g in grids))


def test_a_batch_without_images_has_no_image_arrays():
    assert pack_prompts([prompt([1, 2], [])], CONFIG).images is None


def test_image_tokens_must_be_as_many_as_features():
    bad = prompt([1, CONFIG.image_token, 2], [(4, 6)])
    with pytest.raises(ValueError, match=r"prompt 1 with 1 images: .* image features; got 1 and 6"):
        pack_prompts([prompt([1], []), bad], CONFIG)


def test_an_empty_prompt_or_batch_is_an_error():
    with pytest.raises(ValueError, match="prompts: expected at least one, got none"):
        pack_prompts([], CONFIG)
    with pytest.raises(ValueError, match="prompt 0: expected at least one token, got none"):
        pack_prompts([prompt([], [])], CONFIG)


def test_patches_must_fit_their_grid():
    with pytest.raises(ValueError, match=r"image 1: grid: expected positive multiples of 2"):
        pack_images([dataclasses.replace(image((4, 6)), grid=(3, 8))], CONFIG)
    with pytest.raises(ValueError, match=r"image 2: patches: expected \(16, 1176\)"):
        pack_images([image((4, 4)), dataclasses.replace(image((4, 6)), grid=(4, 4))], CONFIG)
