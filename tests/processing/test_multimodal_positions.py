"""Positions: the example worked by hand, and what holds for any prompt."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perl_jax.processing import multimodal_positions


def test_the_worked_example_of_an_image_of_2_by_3_tokens_at_position_17():
    is_image = np.array([False] * 17 + [True] * 6 + [False] * 2)
    positions, delta = multimodal_positions(is_image, [(4, 6)], merge_size=2)
    assert positions.dtype == np.int32
    np.testing.assert_array_equal(positions[:, :17], np.tile(np.arange(17), (3, 1)))
    np.testing.assert_array_equal(
        positions[:, 17:],
        [
            [17, 17, 17, 17, 17, 17, 20, 21],
            [17, 17, 17, 18, 18, 18, 20, 21],
            [17, 18, 19, 17, 18, 19, 20, 21],
        ],
    )
    assert delta == -3


def test_the_longer_side_of_a_tall_image_sets_the_next_position():
    positions, delta = multimodal_positions(np.array([True] * 3 + [False]), [(6, 2)], merge_size=2)
    np.testing.assert_array_equal(positions, [[0, 0, 0, 3], [0, 1, 2, 3], [0, 0, 0, 3]])
    assert delta == 0


def test_text_alone_counts_up():
    positions, delta = multimodal_positions(np.zeros(5, bool), [], merge_size=2)
    np.testing.assert_array_equal(positions, np.tile(np.arange(5), (3, 1)))
    assert delta == 0


def test_adjacent_images_are_told_apart_by_their_grids():
    positions, delta = multimodal_positions(np.ones(5, bool), [(2, 2), (4, 4)], merge_size=2)
    np.testing.assert_array_equal(positions, [[0, 1, 1, 1, 1], [0, 1, 1, 2, 2], [0, 1, 2, 1, 2]])
    assert delta == -2


sizes = st.tuples(st.integers(1, 4), st.integers(1, 4))


@given(st.lists(st.tuples(st.integers(0, 3), sizes), max_size=4), st.integers(0, 3))
def test_positions_start_where_the_text_before_them_ends(parts, tail):
    is_image, grids = [], []
    for text, (rows, columns) in parts:
        is_image += [False] * text + [True] * (rows * columns)
        grids.append((2 * rows, 2 * columns))
    is_image = np.array(is_image + [False] * tail, bool)
    if not len(is_image):
        return
    positions, delta = multimodal_positions(is_image, grids, merge_size=2)
    assert positions.max() + 1 - len(is_image) == delta
    # An image of r x c tokens takes r*c tokens but only advances by the longer side.
    saved = sum(max(r, c) - r * c for _, (r, c) in parts)
    assert delta == saved
    np.testing.assert_array_equal(positions[0, ~is_image], positions[2, ~is_image])
    assert (np.diff(positions[0]) >= 0).all()


@pytest.mark.parametrize(
    ("is_image", "grids", "message"),
    [
        ([True] * 3, [(4, 4)], "3 image tokens for 4 image features"),
        ([True] * 4, [], "4 image tokens for 0 image features"),
        ([True, True, False, True, True], [(4, 4)], "token 0 are not adjacent"),
    ],
)
def test_image_tokens_that_do_not_fit_the_grids_are_errors(is_image, grids, message):
    with pytest.raises(ValueError, match=message):
        multimodal_positions(np.array(is_image), grids, merge_size=2)


def test_the_mask_must_be_a_vector_of_booleans():
    with pytest.raises(ValueError, match=r"expected bool \[T\]"):
        multimodal_positions(np.zeros(3, np.int32), [], merge_size=2)
