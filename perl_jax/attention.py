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

from functools import partial

import jax
import jax.numpy as jnp

from perl_jax.dense_attention import KeyValues, RowKeyValues, attend_in_blocks, attend_to_rows
from perl_jax.kernels import Bounds, Kernel, Part, attend_by_kernel

__all__ = ["KeyValues", "RowKeyValues", "attend", "attend_to_rows"]

# The most scores, one per (query, key, head), that a device holds at once. Longer inputs are
# processed in blocks of queries, so memory grows with the length, not its square. Accelerators
# want large blocks (128 MiB in float32; a backward pass holds several), CPUs want blocks that stay
# in their cache (4 MiB).
_MAX_SCORES = 1 << 25
_MAX_SCORES_CPU = 1 << 20


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
        cpu=partial(attend_in_blocks, _MAX_SCORES_CPU * shards),
        default=partial(attend_in_blocks, _MAX_SCORES * shards),
    )


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
