"""Where the tokens of a micro-batch stand: flat, and in rows for attention.

Maps of single tokens (linear maps, norms, the unembedding) read the tokens of all prompts and
responses one after the other, and nothing else. Attention compares tokens of the same row, so it
reads them in padded rows: a row for each prompt, and M rows for the responses to an order, each
with one or several responses:

```
    flat:   p p p p p q q q a a a a b b c c c d        (W tokens, real ones but for the end)
    cells:  p p p p p | a a a a c c c                  (T and Q cells; M = 2 rows of an order)
            q q q . . | b b d . . . .
```

What moves between the two is a partial permutation, so its gradient moves the other way: it is a
gather as well, never a scatter.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from perl_jax.mesh import split_first_axis, split_heads

Array = jax.Array | np.ndarray


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rows:
    """The places of the tokens of S shards, each with P prompts and with N responses to O orders.

    A number of -1 stands for padding. Padded arrays of a shard are its prompts ``[P, T]`` and its
    responses ``[O, N, R]``, flattened. The last token of a response is predicted, but not read.

    Attributes:
        source: int32 ``[S, W]``, where a flat token stands in the padded arrays: the cells of
            prompts first, then those of responses.
        cells: int32 ``[S, P * T + O * M * Q]``, the flat token in a cell of attention's rows.
        cell_of: int32 ``[S, W]``, the cell of a flat token.
        starts: int32 ``[S * O, M, Q]``, the first cell of its row that a response's token attends
            to: that of its response.
        read_at: int32 ``[S, V]``, the flat token at which a response's token is predicted.
        place: int32 ``[S, V]``, where that predicted token stands in the padded responses.
        place_of: int32 ``[S, O * N * R]``, the inverse of ``place``.
    """

    source: Array
    cells: Array
    cell_of: Array
    starts: Array
    read_at: Array
    place: Array
    place_of: Array

    def flat(self, of_prompts: Array, of_responses: Array, fill: int = 0) -> jax.Array:
        """``[S * P, T]`` and ``[S * O, N, R]`` as ``[S, W]``, with ``fill`` at padding."""
        shards = len(self.source)
        parts = (
            jnp.reshape(of_prompts, (shards, -1)),
            jnp.reshape(of_responses, (shards, -1)),
        )
        padded = jnp.concatenate(parts, axis=1)
        source = jnp.asarray(self.source)
        taken = jnp.take_along_axis(padded, jnp.maximum(source, 0), axis=1)
        return jnp.where(source < 0, fill, taken)

    def in_rows(
        self, x: jax.Array, prompts: tuple[int, int], mesh: Mesh | None
    ) -> tuple[jax.Array, jax.Array]:
        """``[S, W, H, F]`` as prompts ``[S * P, T, H, F]`` and responses ``[S * O, M, Q, H, F]``.

        Cells of padding are 0; ``prompts`` are S * P and T.
        """
        cells = split_heads(move(split_heads(x, mesh), self.cells, self.cell_of), mesh)
        end = prompts[0] * prompts[1] // len(x)
        of_prompts, of_responses = cells[:, :end], cells[:, end:]
        return (
            of_prompts.reshape(*prompts, *x.shape[2:]),
            of_responses.reshape(*self.starts.shape, *x.shape[2:]),
        )

    def from_rows(
        self, of_prompts: jax.Array, of_responses: jax.Array, mesh: Mesh | None
    ) -> jax.Array:
        """What `in_rows` took apart, ``[S, W, H, F]``; 0 at padding."""
        shards = len(self.source)
        parts = (
            of_prompts.reshape(shards, -1, *of_prompts.shape[2:]),
            of_responses.reshape(shards, -1, *of_responses.shape[3:]),
        )
        cells = split_heads(jnp.concatenate(parts, axis=1), mesh)
        moved = move(cells, self.cell_of, self.cells)
        return split_heads(moved, mesh)

    def held(self, prompts: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
        """Which cells hold a token: bool ``[S * P, T]`` and ``[S * O, M, Q]``."""
        cells = jnp.asarray(self.cells) >= 0
        end = prompts[0] * prompts[1] // len(cells)
        return cells[:, :end].reshape(prompts), cells[:, end:].reshape(self.starts.shape)

    def predicting(self, x: jax.Array, mesh: Mesh | None) -> jax.Array:
        """The flat tokens ``[S, W, D]`` at which responses' tokens are predicted: ``[S, V, D]``."""
        read_at = jnp.maximum(jnp.asarray(self.read_at), 0)
        take = jax.vmap(lambda part, at: part.at[at].get(mode="promise_in_bounds"))
        return split_first_axis(take(x, read_at), mesh)

    def predicted(self, tokens: Array) -> jax.Array:
        """The predicted tokens ``[S, V]`` of responses ``[S * O, N, R]``; 0 at padding."""
        return move(jnp.reshape(tokens, (len(self.place), -1)), self.place, self.place_of)

    def of_responses(self, x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """What was computed for predicted tokens, ``[S, V]``, as ``[S * O, N, R]``, 0 elsewhere."""
        return move(x, self.place_of, self.place).reshape(shape)


def move(x: jax.Array, index: Array, inverse: Array) -> jax.Array:
    """Takes ``[S, A, ...]`` to ``[S, B, ...]`` by a partial permutation of each shard.

    ``index``, int ``[S, B]``, says where an element comes from, ``inverse``, int ``[S, A]``, where
    it goes to; -1: nowhere. What comes from nowhere is 0.
    """
    index, inverse = jnp.asarray(index), jnp.asarray(inverse)
    if jnp.issubdtype(x.dtype, jnp.floating):
        return _move(x, index, inverse)
    return _taken(x, index)


@jax.custom_vjp
def _move(x: jax.Array, index: jax.Array, inverse: jax.Array) -> jax.Array:
    return _taken(x, index)


def _taken(x: jax.Array, index: jax.Array) -> jax.Array:
    # A negative number would count from the end; one beyond the end is filled.
    numbers = jnp.where(index < 0, x.shape[1], index)
    take = partial(jnp.take, axis=0, mode="fill", fill_value=0)
    return jax.vmap(take)(x, numbers)


def _forward(x: jax.Array, index: jax.Array, inverse: jax.Array) -> tuple[jax.Array, Any]:
    return _taken(x, index), inverse


def _backward(inverse: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, None, None]:
    return _taken(cotangent, inverse), None, None


_move.defvjp(_forward, _backward)
