"""Checksums of arrays, computed on the devices that hold them.

A flipped bit on a disk is restored without an error, as another number. The checksum is a sum over
all elements, modulo 2^32, of a hash of the element's bits and its place in the whole array. A sum
of unsigned integers does not depend on order, so the same values give the same checksum on any
mesh. For a given place the hash is a bijection of the bits, so a change within one element is
always noticed. Two sums with different hashes miss any other change with probability 2^-64.
"""

from collections import defaultdict
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

_WORDS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}
_SEEDS = (0x9E3779B9, 0x85EBCA77)


def checksums(arrays: Mapping[str, jax.Array]) -> dict[str, str]:
    """The checksum of each array: 16 hexadecimal digits.

    Arrays are of booleans, integers or floating-point numbers of whole bytes. If they lie on
    several hosts, all of these hosts must call this.
    """
    # Arrays on different devices cannot be arguments of the same program.
    groups: dict[frozenset[jax.Device], dict[str, jax.Array]] = defaultdict(dict)
    for name, array in arrays.items():
        groups[frozenset(array.sharding.device_set)][name] = array
    sums = {name: pair for group in groups.values() for name, pair in _sums(group).items()}
    return {name: "".join(f"{int(np.asarray(s)):08x}" for s in sums[name]) for name in arrays}


@jax.jit
def _sums(arrays: dict[str, jax.Array]) -> dict[str, tuple[jax.Array, ...]]:
    return {name: _array_sums(array) for name, array in arrays.items()}


def _array_sums(array: jax.Array) -> tuple[jax.Array, ...]:
    words = _words(array)
    places = jnp.zeros(words.shape, jnp.uint32)
    stride = 1
    for axis in reversed(range(words.ndim)):
        iota = jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
        places += iota * jnp.uint32(stride % 2**32)
        stride *= words.shape[axis]
    return tuple(
        jnp.sum(_scramble(words ^ _scramble(places + jnp.uint32(seed))), dtype=jnp.uint32)
        for seed in _SEEDS
    )


def _words(array: jax.Array) -> jax.Array:
    """The bits of every element as uint32; 64-bit elements give two, on a new last axis."""
    if array.dtype == jnp.bool_:
        return array.astype(jnp.uint32)
    return jax.lax.bitcast_convert_type(array, _WORDS[array.dtype.itemsize]).astype(jnp.uint32)


def _scramble(words: jax.Array) -> jax.Array:
    """A bijection of uint32 (MurmurHash3's finaliser); each input bit affects all output bits."""
    words = (words ^ (words >> 16)) * jnp.uint32(0x85EBCA6B)
    words = (words ^ (words >> 13)) * jnp.uint32(0xC2B2AE35)
    return words ^ (words >> 16)
