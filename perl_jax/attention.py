"""Attention of queries to a shared prefix and to their own tokens, with one softmax over both.

Prefill, decode, the update and the vision tower all use it, with different sizes. For the N
rollouts of one prompt (T prefix tokens, R queries, S own tokens; ``#`` is attended):

```
                 prefix (one per prompt)      own (one per rollout, causal)
                 t0 t1 t2 .. tT-1             s0 s1 s2 ..
    query r0      #  #  #  #  #                #  .  .
    query r1      #  #  #  #  #                #  #  .
    query r2      #  #  #  #  #                #  #  #
```

- prefill: N = 1, no prefix, own is the prompt;
- decode: R = 1, the prefix is the prompt's cache, own is the response so far;
- update: as decode, with all R response tokens at once, and several responses in a row, each of
  which attends to its own tokens only (``query_starts``);
- vision: no prefix, each window (or image) is one row, not causal; with a kernel all of them are
  one row, in which ``query_starts`` and ``query_slots`` are their ends.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from perl_jax.kernels import Bounds, Kernel, Part, attend_by_kernel

# The most scores, one per (query, key, head), that a device holds at once. Longer inputs are
# processed in blocks of queries, so memory grows with the length, not its square. Accelerators
# want large blocks (128 MiB in float32; a backward pass holds several), CPUs want blocks that stay
# in their cache (4 MiB).
_MAX_SCORES = 1 << 25
_MAX_SCORES_CPU = 1 << 20

_FLOAT32: Mapping[str, Any] = {"preferred_element_type": jnp.float32}


class KeyValues(NamedTuple):
    """Keys (rotary positions applied) and values ``[..., S, J, F]`` of S tokens.

    ``valid``, bool ``[..., S]``, is False at padding and at slots not yet written.
    """

    keys: jax.Array
    values: jax.Array
    valid: jax.Array


class RowKeyValues(NamedTuple):
    """Keys ``[B, J, N, F, S]`` and values ``[B, J, N, S, F]``; ``valid``, bool ``[B, N, S]``.

    Those of `KeyValues` in the order in which the products of a CPU read them.
    """

    keys: jax.Array
    values: jax.Array
    valid: jax.Array


def attend(
    queries: jax.Array,
    own: KeyValues,
    prefix: KeyValues | None = None,
    *,
    query_slots: jax.Array | None = None,
    query_starts: jax.Array | None = None,
    shards: int = 1,
    kernel: Kernel | None = None,
) -> jax.Array:
    """Grouped-query attention of each row's queries to the prefix and to the row's own tokens.

    Query head h reads key/value head ``h // (H / J)``. Scores and softmax are float32. The result
    is ``[B, N, R, H, F]`` in the dtype of ``queries``; a query that may attend to nothing (padding)
    gets a finite value without meaning.

    Args:
        queries: ``[B, N, R, H, F]``.
        own: Keys and values ``[B, N, S, J, F]``, valid ``[B, N, S]``.
        prefix: Keys and values ``[B, T, J, F]``, valid ``[B, T]``, shared by the N rows.
        query_slots: int ``[B, N, R]``, the last own slot a query attends to; None: all valid ones.
        query_starts: int ``[B, N, R]``, the first one, where a row holds several responses one
            after the other; None: slot 0. It is read with ``query_slots`` only.
        shards: The number of equal parts of B on different devices, see `perl_jax.mesh.num_shards`.
        kernel: What attends in place of XLA to rows that are long enough; None: XLA always does.

    Raises:
        ValueError: The shapes do not fit together.
    """
    _check_shapes(queries, own, prefix, query_slots, query_starts)
    if kernel is not None and kernel.takes(queries.shape, own.keys.shape[3]):
        return _attend_by_kernel(kernel, queries, own, prefix, query_slots, query_starts)
    return jax.lax.platform_dependent(
        queries,
        own,
        prefix,
        query_slots,
        query_starts,
        cpu=partial(_attend_in_blocks, _MAX_SCORES_CPU * shards),
        default=partial(_attend_in_blocks, _MAX_SCORES * shards),
    )


def attend_to_rows(queries: jax.Array, own: RowKeyValues, prefix: KeyValues) -> jax.Array:
    """`attend` for ``[B, N, 1, H, F]``, the new token of each row; the result is the same.

    Args:
        queries: ``[B, N, 1, H, F]``.
        own: The N rows of each prompt.
        prefix: As for `attend`.
    """
    b, n, r, h, f = queries.shape
    j, s = own.keys.shape[1], own.keys.shape[-1]
    q = queries.reshape(b, n, r, j, h // j, f)
    products = jnp.einsum(
        "bmrgf,bmfs->bmrgs", _heads_first(q), own.keys.reshape(b, j * n, f, s), **_FLOAT32
    )
    values = own.values.reshape(b, j * n, s, f)
    return _joint(q, products, values, own.valid[:, None, :, None, None, :], prefix)


def _attend_by_kernel(
    kernel: Kernel,
    queries: jax.Array,
    own: KeyValues,
    prefix: KeyValues | None,
    query_slots: jax.Array | None,
    query_starts: jax.Array | None,
) -> jax.Array:
    first = jnp.zeros(queries.shape[:3], jnp.int32)
    last = first + own.keys.shape[2] - 1 if query_slots is None else query_slots.astype(jnp.int32)
    # Starts count with slots only, as they do for XLA.
    starts = first if query_slots is None or query_starts is None else query_starts
    parts = [Part(*own, Bounds(starts.astype(jnp.int32), last))]
    if query_slots is not None:
        # On average, a query sees half of the row up to itself.
        kernel = kernel.seeing(0.5)
    if prefix is not None:
        keys, values, valid = (part[:, None] for part in prefix)
        bounds = Bounds(first, first + prefix.keys.shape[1] - 1)
        parts.append(Part(keys, values, valid, bounds))
    return attend_by_kernel(kernel, queries, parts)


def _attend_in_blocks(
    max_scores: int,
    queries: jax.Array,
    own: KeyValues,
    prefix: KeyValues | None,
    query_slots: jax.Array | None,
    query_starts: jax.Array | None,
) -> jax.Array:
    b, n, r, h, _ = queries.shape
    keys = own.keys.shape[2] + (0 if prefix is None else prefix.keys.shape[1])
    block = max(1, max_scores // (b * n * h * keys))
    if r <= block:
        return _attend(queries, own, prefix, query_slots, query_starts)

    num_blocks = math.ceil(r / block)
    block = math.ceil(r / num_blocks)
    queries = _blocks(queries, num_blocks, block)
    slots, starts = (
        None if part is None else _blocks(part, num_blocks, block)
        for part in (query_slots, query_starts)
    )
    # Without the checkpoint the backward pass would keep every block's scores.
    attend_block = jax.checkpoint(lambda block: _attend(block[0], own, prefix, *block[1:]))
    out = jnp.moveaxis(jax.lax.map(attend_block, (queries, slots, starts)), 0, 2)
    return out.reshape(b, n, num_blocks * block, *out.shape[4:])[:, :, :r]


def _attend(
    queries: jax.Array,
    own: KeyValues,
    prefix: KeyValues | None,
    query_slots: jax.Array | None,
    query_starts: jax.Array | None,
) -> jax.Array:
    b, n, r, h, f = queries.shape
    j = own.keys.shape[-2]
    # B, N and J are batch axes of the products. With three batch axes a compiled decode step of a
    # TPU holds a second copy of its whole cache; with N and J joined it does not.
    q = queries.reshape(b, n, r, j, h // j, f)
    products = jnp.einsum("bmrgf,bmsf->bmrgs", _heads_first(q), _heads_first(own.keys), **_FLOAT32)
    allowed = own.valid[:, None, :, None, None, :]
    if query_slots is not None:
        slots = jnp.arange(own.keys.shape[2])
        causal = slots[None, None, None, :] <= query_slots[..., None]
        if query_starts is not None:
            causal &= slots[None, None, None, :] >= query_starts[..., None]
        allowed = allowed & causal[:, None, :, :, None, :]
    return _joint(q, products, _heads_first(own.values), allowed, prefix)


def _joint(
    q: jax.Array,
    products: jax.Array,
    values: jax.Array,
    allowed: jax.Array,
    prefix: KeyValues | None,
) -> jax.Array:
    """One softmax over own keys and the prefix, and the sum of values: ``[B, N, R, H, F]``.

    Args:
        q: ``[B, N, R, J, G, F]``.
        products: Of queries and own keys, float32 ``[B, J * N, R, G, S]``.
        values: ``[B, J * N, S, F]``.
        allowed: bool, of the shape ``[B, J, N, R, G, S]`` or of one that is broadcast to it.
        prefix: As for `attend`.
    """
    b, n, r, j, g, f = q.shape

    def scores(products: jax.Array, allowed: jax.Array) -> jax.Array:
        return jnp.where(allowed, products * f**-0.5, jnp.finfo(jnp.float32).min)

    # Scores are [B, J, N, R, G, keys], the order in which the products come: without a prefix, or
    # with one row per prefix, nothing of their size is ever transposed.
    parts = [scores(products.reshape(b, j, n, r, g, -1), allowed)]
    if prefix is not None:
        allowed = prefix.valid[:, None, None, None, None, :]
        products = jnp.einsum("bnrjgf,btjf->bjnrgt", q, prefix.keys, **_FLOAT32)
        parts.insert(0, scores(products, allowed))
    weights = jax.nn.softmax(jnp.concatenate(parts, axis=-1), axis=-1).astype(values.dtype)

    split = weights.shape[-1] - values.shape[2]
    of_own = weights[..., split:].reshape(b, j * n, r, g, -1)
    out = jnp.einsum("bmrgs,bmsf->bmrgf", of_own, values, **_FLOAT32)
    out = out.reshape(b, j, n, r, g, f)
    if prefix is not None:
        shared = weights[..., :split]
        out += jnp.einsum("bjnrgt,btjf->bjnrgf", shared, prefix.values, **_FLOAT32)
    return out.transpose(0, 2, 3, 1, 4, 5).reshape(b, n, r, j * g, f).astype(q.dtype)


def _heads_first(part: jax.Array) -> jax.Array:
    """``[B, N, X, J, ...]`` as ``[B, J * N, X, ...]``."""
    part = jnp.moveaxis(part, 3, 1)
    return part.reshape(part.shape[0], -1, *part.shape[3:])


def _blocks(x: jax.Array, num_blocks: int, block: int) -> jax.Array:
    """Cuts axis 2 (the queries) into zero-padded blocks and moves the blocks to axis 0."""
    padding = (0, num_blocks * block - x.shape[2])
    x = jnp.pad(x, [(0, 0), (0, 0), padding, *[(0, 0)] * (x.ndim - 3)])
    return jnp.moveaxis(x.reshape(*x.shape[:2], num_blocks, block, *x.shape[3:]), 2, 0)


def _check_shapes(
    queries: jax.Array,
    own: KeyValues,
    prefix: KeyValues | None,
    query_slots: jax.Array | None,
    query_starts: jax.Array | None,
) -> None:
    if queries.ndim != 5:
        raise ValueError(f"queries: expected [B, N, R, H, F], got {queries.shape}")
    b, n, r, h, f = queries.shape
    if own.keys.ndim != 5 or own.keys.shape[:2] != (b, n) or own.keys.shape[-1] != f:
        raise ValueError(f"own.keys: expected [{b}, {n}, S, J, {f}], got {own.keys.shape}")
    s, j = own.keys.shape[2:4]
    expected = {
        "own.values": (own.values.shape, (b, n, s, j, f)),
        "own.valid": (own.valid.shape, (b, n, s)),
    }
    if query_slots is not None:
        expected["query_slots"] = (query_slots.shape, (b, n, r))
    if query_starts is not None:
        expected["query_starts"] = (query_starts.shape, (b, n, r))
    if prefix is not None:
        t = prefix.valid.shape[-1]
        expected["prefix.keys"] = (prefix.keys.shape, (b, t, j, f))
        expected["prefix.values"] = (prefix.values.shape, (b, t, j, f))
        expected["prefix.valid"] = (prefix.valid.shape, (b, t))
    for name, (got, want) in expected.items():
        if got != want:
            raise ValueError(f"{name}: expected {want}, got {got}")
    if h % j:
        raise ValueError(f"queries: {h} heads cannot share {j} key/value heads evenly")
