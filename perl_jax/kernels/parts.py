"""The arrays that a kernel reads, heads first, and the blocks that it reads them in.

Queries are ``[B, N, J, G, R, F]``: N rows of R queries, with G heads for each of J key/value heads.
Keys are ``[B, M, J, S, F]``: one row of S keys for each row of queries (M = N), or one for all of
them (M = 1, a shared prefix). What a query or a key has one of for all heads has no head axes.
"""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

# The score of a pair that is not compared, and the log-sum-exp of a query that is compared with
# nothing. They are so far apart that ``exp(MASKED - NOTHING)`` is zero.
MASKED = -0.7 * float(jnp.finfo(jnp.float32).max)
NOTHING = -1e30

LANES = 128  # of a register of a TPU

# Plain products, and those that contract both operands' last or first axes.
PLAIN = (((1,), (0,)), ((), ()))
LAST = (((1,), (1,)), ((), ()))
FIRST = (((0,), (0,)), ((), ()))


# How a kernel gets into a program: for its own devices; interpreted, which any platform can; or, on
# a CPU, as a call with its inputs and results that computes nothing, see `perl_jax.kernels.gpu`.
Run = Literal["compiled", "interpreted", "outlined"]


class Keys(NamedTuple):
    """Keys and values ``[B, M, J, S, F]``; ``valid``, int32 ``[B, M, S]``, is 0 at padding."""

    keys: jax.Array
    values: jax.Array
    valid: jax.Array


class Caches(NamedTuple):
    """The caches of all layers, and what is in them.

    Attributes:
        prompt_keys: ``[L, B, J, T, F]``, as ``prompt_values``.
        prompt_valid: bool ``[B, T]``.
        keys: ``[L, S, J, N, B, F]``, as ``values``.
        valid: bool ``[B, N, S]``.
    """

    prompt_keys: jax.Array
    prompt_values: jax.Array
    prompt_valid: jax.Array
    keys: jax.Array
    values: jax.Array
    valid: jax.Array


class Bounds(NamedTuple):
    """The first and the last key of every query, int32 ``[B, N, R]``; last < first: none."""

    first: jax.Array
    last: jax.Array


class Blocks(NamedTuple):
    """The queries of a row, each with all of its G heads, and the keys that a kernel holds.

    ``compared`` is the share of all pairs of blocks that it is expected to compare.
    """

    queries: int
    keys: int
    compared: float = 1.0

    def seen_of(self, keys: int, share: float) -> "Blocks":
        """The same for rows of so many keys, of which a query sees a share, one after the other."""
        together = (share * keys + self.queries) / self.keys
        return self._replace(compared=min(1.0, together / math.ceil(keys / self.keys)))


def divided(number: Any, by: int) -> tuple[Any, Any]:
    """Quotient and remainder of a number that is not negative, as kernels compute them."""
    if by == 1:
        return number, 0
    return jax.lax.div(number, jnp.int32(by)), jax.lax.rem(number, jnp.int32(by))


def dot(a: jax.Array, b: jax.Array, axes: Any = PLAIN) -> jax.Array:
    """A product in float32. Those of bfloat16 are exact, whatever precision is asked for."""
    precision = jax.lax.Precision.DEFAULT if a.dtype == jnp.bfloat16 else None
    return jax.lax.dot_general(a, b, axes, precision=precision, preferred_element_type=jnp.float32)


def even(length: int, most: int, multiple: int) -> int:
    """The size of blocks, at most ``most``, that cover a length with little padding."""
    count = math.ceil(length / most)
    return math.ceil(math.ceil(length / count) / multiple) * multiple


def needed(bounds: Bounds, valid: jax.Array, blocks: Blocks) -> jax.Array:
    """Which blocks of keys a block of queries is compared with: bool ``[B, N, R / .., S / ..]``.

    It is not with those beyond its causal bound, of other responses of the row, of other images or
    of padding: these are neither read nor compared.
    """
    b, n, r = bounds.first.shape
    m, s = valid.shape[1:]
    end = jnp.max(jnp.where(valid > 0, jnp.arange(s)[None, None], -1), axis=-1)
    last = jnp.minimum(bounds.last, jnp.repeat(end, n // m, axis=1)[..., None])
    empty = last < bounds.first
    of_block = (b, n, r // blocks.queries, blocks.queries)
    first = jnp.min(jnp.where(empty, s, bounds.first).reshape(of_block), axis=-1)
    last = jnp.max(jnp.where(empty, -1, last).reshape(of_block), axis=-1)
    block = jnp.arange(s // blocks.keys)[None, None, None]
    return (block >= first[..., None] // blocks.keys) & (block <= last[..., None] // blocks.keys)
