"""Features of images, and the tokens that show them.

The row of an image token in a table of features ``[S, M, 1 + K, D]`` holds what stands in the place
of the token's embedding, and what is added to its hidden state after each of the first K layers.
The s-th of S equal parts of a batch reads shard s, so nothing moves between shards. Several tokens
may show one row; its gradient is their sum.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from perl_jax.mesh import split_first_axis


class AddedFeatures(NamedTuple):
    """What is added to hidden states after the first K layers.

    Attributes:
        table: ``[S, M, K, D]``.
        rows: int32 ``[B, ...]``, counted within the shard; -1: the token shows no image.
    """

    table: jax.Array
    rows: jax.Array

    def add(self, layer: jax.Array, x: jax.Array) -> jax.Array:
        """The hidden states ``[B, ..., D]`` after the layer of this number, features added."""

        def added() -> jax.Array:
            of_layer = jax.lax.dynamic_index_in_dim(self.table, layer, axis=2, keepdims=False)
            return x + jnp.where(_are_shown(self.rows, x), _at_tokens(of_layer, self.rows, x), 0)

        return jax.lax.cond(layer < self.table.shape[2], added, lambda: x)

    def at_tokens(self, x: jax.Array, mesh: Mesh | None) -> "AddedAtTokens":
        """The same for hidden states like ``x``.

        What devices have to send each other for it, they send before the layers, not in each.
        """
        shown = _are_shown(self.rows, x)

        def of_layer(layer: int) -> jax.Array:
            taken = _at_tokens(self.table[:, :, layer], self.rows, x)
            return split_first_axis(jnp.where(shown, taken, 0), mesh)

        return AddedAtTokens(jnp.stack([of_layer(n) for n in range(self.table.shape[2])]))


class AddedAtTokens(NamedTuple):
    """What is added to the hidden state of each token after the first K layers.

    Attributes:
        values: ``[K, B, ..., D]``, 0 where the token shows no image.
    """

    values: jax.Array

    def taken(self, tokens: jax.Array) -> "AddedAtTokens":
        """What is added to some tokens of each row, int ``[B, C]``."""
        return AddedAtTokens(jnp.take_along_axis(self.values, tokens[None, ..., None], axis=2))

    def add(self, layer: jax.Array, x: jax.Array) -> jax.Array:
        """As `AddedFeatures.add`."""

        def added() -> jax.Array:
            return x + jax.lax.dynamic_index_in_dim(self.values, layer, axis=0, keepdims=False)

        return jax.lax.cond(layer < len(self.values), added, lambda: x)


class ImageFeatures(NamedTuple):
    """A table of features ``[S, M, 1 + K, D]`` and its rows, as those of `AddedFeatures`."""

    table: jax.Array
    rows: jax.Array

    def embed(self, x: jax.Array) -> jax.Array:
        """The embeddings ``[B, ..., D]``, with those of tokens that show an image replaced."""
        first = _at_tokens(self.table[:, :, 0], self.rows, x)
        return jnp.where(_are_shown(self.rows, x), first, x)

    @property
    def added(self) -> AddedFeatures | None:
        """What is added after layers; None where K is 0."""
        later = self.table[:, :, 1:]
        return AddedFeatures(later, self.rows) if later.shape[2] else None


def _are_shown(rows: jax.Array, x: jax.Array) -> jax.Array:
    return (rows >= 0).reshape(*x.shape[:-1], 1)


def _at_tokens(features: jax.Array, rows: jax.Array, x: jax.Array) -> jax.Array:
    """The rows of features ``[S, M, D]`` at the tokens of ``x``; any row where there is none."""
    rows = jnp.maximum(rows, 0).reshape(len(features), -1)
    shown = jax.vmap(lambda of_shard, row: of_shard[row])(features, rows)
    return shown.reshape(x.shape).astype(x.dtype)
