"""The key/value caches of prompts and of their responses."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from perl_jax.attention import KeyValues, RowKeyValues, attend, attend_to_rows

# L layers, J key/value heads, F numbers per head.
CacheSizes = tuple[int, int, int]


class PromptCache(NamedTuple):
    """Keys and values ``[L, B, J, T, F]`` of whole prompts; ``valid``, bool ``[B, T]``.

    Heads precede tokens because decoding reads them so: a CPU would otherwise transpose the whole
    cache at every step.
    """

    keys: jax.Array
    values: jax.Array
    valid: jax.Array

    @classmethod
    def empty(cls, sizes: CacheSizes, prompts: int, length: int, dtype: DTypeLike) -> "PromptCache":
        """Zeros for ``prompts`` of ``length`` tokens, none of them valid."""
        layers, heads, width = sizes
        shape = (layers, prompts, heads, length, width)
        valid = jnp.zeros((prompts, length), bool)
        return cls(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), valid)


def of_layer(keys: jax.Array, values: jax.Array, valid: jax.Array) -> KeyValues:
    """Reorders one layer of a `PromptCache`, ``[B, J, T, F]``, for attention: ``[B, T, J, F]``."""
    return KeyValues(jnp.moveaxis(keys, 1, 2), jnp.moveaxis(values, 1, 2), valid)


class ResponseCache(NamedTuple):
    """Keys and values ``[L, S, J, N, B, F]`` of the responses so far.

    In this order XLA writes a step's keys and values in place. In other orders a compiled decode
    step on a TPU holds a second copy of the whole cache.
    """

    keys: jax.Array
    values: jax.Array

    @classmethod
    def empty(
        cls, sizes: CacheSizes, prompts: int, responses: int, slots: int, dtype: DTypeLike
    ) -> "ResponseCache":
        """Zeros for ``responses`` of ``slots`` tokens to each of ``prompts``."""
        layers, heads, width = sizes
        shape = (layers, slots, heads, responses, prompts, width)
        return cls(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))

    def write(
        self, layer: jax.Array, slot: jax.Array, keys: jax.Array, values: jax.Array
    ) -> "ResponseCache":
        """Writes a layer's new ``[B, N, R, J, F]`` from ``slot`` on."""
        start = (layer, slot, 0, 0, 0, 0)
        new = (jnp.transpose(part, (2, 3, 1, 0, 4))[None] for part in (keys, values))
        return ResponseCache(
            *(jax.lax.dynamic_update_slice(*pair, start) for pair in zip(self, new, strict=True))
        )

    def read(self, layer: jax.Array, valid: jax.Array) -> KeyValues:
        """One layer for attention: ``[B, N, S, J, F]``."""
        keys, values = (jnp.transpose(part[layer], (3, 2, 0, 1, 4)) for part in self)
        return KeyValues(keys, values, valid)

    def attend(
        self, queries: jax.Array, layer: jax.Array, valid: jax.Array, prefix: KeyValues
    ) -> jax.Array:
        """Attention of ``[B, N, 1, H, F]`` to a layer and to the prefix of all rows."""
        return attend(queries, self.read(layer, valid), prefix)

    def by_rows(self) -> "CacheOfRows":
        """The same cache in the order of a CPU."""
        keys, values = self
        return CacheOfRows(
            jnp.transpose(keys, (0, 4, 2, 3, 5, 1)), jnp.transpose(values, (0, 4, 2, 3, 1, 5))
        )

    def by_slots(self) -> "ResponseCache":
        """Itself."""
        return self


class CacheOfRows(NamedTuple):
    """A `ResponseCache` in another order: keys ``[L, B, J, N, F, S]``, values ``[.., S, F]``.

    This is how the products of a CPU read them. From the other order it would copy a layer into
    this one, number by number, at every step.
    """

    keys: jax.Array
    values: jax.Array

    def by_rows(self) -> "CacheOfRows":
        """Itself."""
        return self

    def by_slots(self) -> ResponseCache:
        """The same cache in its usual order."""
        keys, values = self
        return ResponseCache(
            jnp.transpose(keys, (0, 5, 2, 3, 1, 4)), jnp.transpose(values, (0, 4, 2, 3, 1, 5))
        )

    def write(
        self, layer: jax.Array, slot: jax.Array, keys: jax.Array, values: jax.Array
    ) -> "CacheOfRows":
        """Writes a layer's new ``[B, N, R, J, F]`` from ``slot`` on."""
        keys, values = jnp.transpose(keys, (0, 3, 1, 4, 2)), jnp.transpose(values, (0, 3, 1, 2, 4))
        return CacheOfRows(
            jax.lax.dynamic_update_slice(self.keys, keys[None], (layer, 0, 0, 0, 0, slot)),
            jax.lax.dynamic_update_slice(self.values, values[None], (layer, 0, 0, 0, slot, 0)),
        )

    def read(self, layer: jax.Array, valid: jax.Array) -> RowKeyValues:
        """One layer for attention."""
        return RowKeyValues(self.keys[layer], self.values[layer], valid)

    def attend(
        self, queries: jax.Array, layer: jax.Array, valid: jax.Array, prefix: KeyValues
    ) -> jax.Array:
        """As `ResponseCache.attend`."""
        return attend_to_rows(queries, self.read(layer, valid), prefix)


Cache = ResponseCache | CacheOfRows
