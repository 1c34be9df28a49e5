"""Keys and values that stay between calls: of prompts, and of responses to them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from perl_jax.attention import KeyValues

# Layers, key/value heads, and the width of a head: L, J, F.
CacheSizes = tuple[int, int, int]


class PromptCache(NamedTuple):
    """Keys and values of whole prompts, all layers together: the prefix of their responses.

    Heads stand before tokens, as the products of decoding read them: otherwise every step of a
    CPU would transpose the whole cache first.

    Attributes:
        keys: ``[L, B, J, T, F]``.
        values: ``[L, B, J, T, F]``.
        valid: bool ``[B, T]``, False at padding.
    """

    keys: jax.Array
    values: jax.Array
    valid: jax.Array

    @classmethod
    def of(cls, own: KeyValues) -> "PromptCache":
        """From the keys and values ``[L, B, 1, T, J, F]`` of prompts that were read."""
        keys, values = (jnp.moveaxis(part[:, :, 0], 3, 2) for part in (own.keys, own.values))
        return cls(keys, values, own.valid[:, 0])

    @classmethod
    def empty(cls, sizes: CacheSizes, prompts: int, length: int, dtype: DTypeLike) -> "PromptCache":
        """Room for ``prompts`` of ``length`` tokens, none of them valid."""
        layers, heads, width = sizes
        shape = (layers, prompts, heads, length, width)
        valid = jnp.zeros((prompts, length), bool)
        return cls(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), valid)


def of_layer(keys: jax.Array, values: jax.Array, valid: jax.Array) -> KeyValues:
    """One layer of a `PromptCache`, ``[B, J, T, F]``, as attention takes it: ``[B, T, J, F]``."""
    return KeyValues(jnp.moveaxis(keys, 1, 2), jnp.moveaxis(values, 1, 2), valid)


class ResponseCache(NamedTuple):
    """Keys and values of the responses so far, all layers together.

    Slots stand before heads and rollouts, and prompts beside features: so XLA writes a step's keys
    and values where they are. In other orders a compiled decode step on a TPU holds a second copy
    of the whole cache.

    Attributes:
        keys: ``[L, S, J, N, B, F]``.
        values: ``[L, S, J, N, B, F]``.
    """

    keys: jax.Array
    values: jax.Array

    @classmethod
    def empty(
        cls, sizes: CacheSizes, prompts: int, responses: int, slots: int, dtype: DTypeLike
    ) -> "ResponseCache":
        """Room for ``responses`` of ``slots`` tokens to each of ``prompts``."""
        layers, heads, width = sizes
        shape = (layers, slots, heads, responses, prompts, width)
        return cls(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))

    def write(
        self, layer: jax.Array, slot: jax.Array, keys: jax.Array, values: jax.Array
    ) -> "ResponseCache":
        """Puts a layer's new ``[B, N, R, J, F]`` at ``slot`` and after."""
        start = (layer, slot, 0, 0, 0, 0)
        new = (jnp.transpose(part, (2, 3, 1, 0, 4))[None] for part in (keys, values))
        return ResponseCache(
            *(jax.lax.dynamic_update_slice(*pair, start) for pair in zip(self, new, strict=True))
        )

    def read(self, layer: jax.Array, valid: jax.Array) -> KeyValues:
        """A layer's ``[B, N, S, J, F]``."""
        keys, values = (jnp.transpose(part[layer], (3, 2, 0, 1, 4)) for part in self)
        return KeyValues(keys, values, valid)
