"""Tokens that stand flat and in rows, and the gradients of what moves between the two."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perl_jax.models.rows import Rows, move
from perl_jax.update.layout import Padded, RowShape, lay_out

# Two shards, each of one prompt of up to 3 tokens and one order of two responses.
TO = Padded((1, 3), (1, 2, 4), RowShape(1, 5), tokens=8, predicted=7)


@pytest.fixture(scope="module")
def rows():
    shards = [
        lay_out([3], [0], np.array([[3, 4]]), TO),
        lay_out([2], [0], np.array([[1, 2]]), TO),
    ]
    return jax.tree.map(lambda *parts: jnp.asarray(np.concatenate(parts)), *shards)


def test_what_is_moved_comes_back_and_padding_is_zero(rows):
    x = jnp.arange(1.0, 2 * 8 * 2 + 1).reshape(2, 8, 2, 1)
    prompts, own = (part[..., 0] for part in rows.in_rows(x, (2, 3), None))
    assert prompts[:, :, 0].tolist() == [[1, 3, 5], [17, 19, 0]]
    assert own[:, 0, :, 0].tolist() == [[7, 9, 11, 13, 15], [21, 0, 0, 0, 0]]
    back = rows.from_rows(prompts[..., None], own[..., None], None)
    real = np.asarray(rows.source) >= 0
    np.testing.assert_array_equal(back, np.where(real[..., None, None], x, 0))
    held = rows.held((2, 3))
    np.testing.assert_array_equal(held[0], prompts[:, :, 0] > 0)
    np.testing.assert_array_equal(held[1], own[:, :, :, 0] > 0)


def test_flat_tokens_and_predicted_ones(rows):
    prompts = np.array([[10, 11, 12], [20, 21, 99]])
    responses = np.array([[[1, 2, 3, 99], [4, 5, 6, 7]], [[8, 99, 99, 99], [9, 13, 99, 99]]])
    flat = rows.flat(prompts, responses, fill=-1)
    assert flat.tolist() == [[10, 11, 12, 1, 2, 4, 5, 6], [20, 21, 9, -1, -1, -1, -1, -1]]
    assert rows.predicted(responses).tolist() == [[1, 2, 3, 4, 5, 6, 7], [8, 9, 13, 0, 0, 0, 0]]
    read = rows.predicting(flat[..., None], None)[..., 0]
    assert read[0].tolist() == [12, 1, 2, 12, 4, 5, 6]
    assert read[1, :3].tolist() == [21, 21, 9]
    scores = rows.of_responses(jnp.ones((2, 7)), responses.shape)
    assert scores.sum(-1).tolist() == [[3, 4], [1, 2]]


def test_the_gradient_of_a_move_is_that_of_a_gather(rows):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 3)))

    def plain(x):
        cells = rows.cells
        taken = jnp.take_along_axis(x, jnp.maximum(cells, 0)[..., None], axis=1)
        return jnp.sum(jnp.sin(jnp.where(cells[..., None] < 0, 0, taken)))

    def moved(x):
        return jnp.sum(jnp.sin(move(x, rows.cells, rows.cell_of)))

    np.testing.assert_allclose(jax.grad(moved)(x), jax.grad(plain)(x), rtol=1e-6)


def test_a_move_back_has_no_scatter(rows):
    text = str(jax.make_jaxpr(jax.grad(lambda x: move(x, rows.cells, rows.cell_of).sum()))(
        jnp.ones((2, 8, 3))
    ))  # fmt: skip
    assert "gather" in text
    assert "scatter" not in text


def test_rows_are_a_tree_of_arrays(rows):
    assert len(jax.tree.leaves(rows)) == 7
    assert isinstance(jax.tree.map(lambda part: part, rows), Rows)
