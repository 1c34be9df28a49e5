"""Which blocks of keys a block of queries reads."""

import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.kernels.parts import Blocks, Bounds, even, needed


def blocks_read(first, last, valid, blocks):
    bounds = Bounds(*(jnp.asarray(bound, jnp.int32)[None, None] for bound in (first, last)))
    found = needed(bounds, jnp.asarray(valid, jnp.int32)[None, None], Blocks(*blocks))
    return np.asarray(found[0, 0]).astype(int).tolist()


def test_a_causal_row_reads_no_block_after_its_own():
    number = np.arange(6)
    assert blocks_read(np.zeros(6), number, np.ones(6), (2, 2)) == [
        [1, 0, 0],
        [1, 1, 0],
        [1, 1, 1],
    ]


def test_a_second_response_does_not_read_the_blocks_of_the_first():
    first, last = [0, 0, 0, 0, 4, 4, 4, 4], np.arange(8)
    assert blocks_read(first, last, np.ones(8), (4, 2)) == [[1, 1, 0, 0], [0, 0, 1, 1]]


@pytest.mark.parametrize(
    ("seen", "first", "last"),
    [
        # Causal, in windows of 4, and in images of 22, 24 and 18.
        (0.5, np.zeros(64), np.arange(64)),
        (4 / 64, np.arange(64) // 4 * 4, np.arange(64) // 4 * 4 + 3),
        (24 / 64, np.repeat([0, 22, 46], [22, 24, 18]), np.repeat([21, 45, 63], [22, 24, 18])),
    ],
)
def test_the_blocks_that_are_expected_are_about_those_that_are_read(seen, first, last):
    blocks = Blocks(8, 8).seen_of(64, seen)
    read = np.mean(blocks_read(first, last, np.ones(64), blocks[:2]))
    assert read <= blocks.compared <= 1.5 * read
    assert Blocks(8, 8).seen_of(64, 1.0).compared == 1


def test_padding_and_queries_of_nothing_read_nothing():
    first, last = [0, 0, 0, 0], [7, 7, -1, -1]
    valid = [1, 1, 1, 0, 0, 0, 0, 0]
    assert blocks_read(first, last, valid, (2, 2)) == [[1, 1, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("length", "most", "block"),
    [(300, 384, 384), (1152, 384, 384), (1152, 512, 384), (40, 512, 128)],
)
def test_blocks_cover_a_row_with_little_padding(length, most, block):
    assert even(length, most, 128) == block
