"""Attention as XLA computes it: with all scores of a block of queries in memory.

Scores are ``[B, J, N, R, G, keys]``, and the arrays of a part ``[B, M, ...]``: M is J * N for the
own keys of each row, and J for a prefix that the N rows share. The backward pass is written out. It
computes the weights again from the log-sum-exp, and needs for each query the sum over F of what was
attended times its cotangent in place of that over all keys (Dao et al.,
https://arxiv.org/abs/2205.14135, appendix B.2).
"""

import math
from collections.abc import Callable
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

_FLOAT32: Any = {"preferred_element_type": jnp.float32}


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


class _Part(NamedTuple):
    """Keys and values ``[B, M, K, F]``."""

    keys: jax.Array
    values: jax.Array


class _Masks(NamedTuple):
    """``own``, bool ``[B, N, S]``; the rest as `perl_jax.attention.attend` is given it."""

    own: jax.Array
    prefix: jax.Array | None
    slots: jax.Array | None
    starts: jax.Array | None


def attend_in_blocks(
    max_scores: int,
    queries: jax.Array,
    own: KeyValues,
    prefix: KeyValues | None,
    query_slots: jax.Array | None,
    query_starts: jax.Array | None,
) -> jax.Array:
    """What `perl_jax.attention.attend` gives, with at most so many scores at a time."""
    q, parts = _heads_first(queries, own.keys.shape[-2]), [_own_part(own)]
    if prefix is not None:
        parts.append(_prefix_part(prefix))
    of_prefix = None if prefix is None else prefix.valid
    masks = _Masks(own.valid, of_prefix, query_slots, query_starts)
    return _tokens_first(_attend(max_scores, q, tuple(parts), masks), queries)


def attend_to_rows(queries: jax.Array, own: RowKeyValues, prefix: KeyValues) -> jax.Array:
    """`perl_jax.attention.attend` for the new token of each row; the result is the same.

    Args:
        queries: ``[B, N, 1, H, F]``.
        own: The N rows of each prompt.
        prefix: As for `perl_jax.attention.attend`.
    """
    b, j, n, f, s = own.keys.shape
    q, shared = _heads_first(queries, j), _prefix_part(prefix)
    keys, values = own.keys.reshape(b, j * n, f, s), own.values.reshape(b, j * n, s, f)
    products = jnp.einsum("bmxf,bmfs->bmxs", q.reshape(b, j * n, -1, f), keys, **_FLOAT32)
    masks = _allowed(_Masks(own.valid, prefix.valid, None, None))
    scores = [_masked(products.reshape(*q.shape[:5], s), masks[0], f)]
    scores.append(_scores(q, shared.keys, masks[1]))
    out, _ = _softmax_sums(scores, [values, shared.values])
    return _tokens_first(out.astype(q.dtype), queries)


def _heads_first(queries: jax.Array, j: int) -> jax.Array:
    """``[B, N, R, H, F]`` as ``[B, J, N, R, G, F]``."""
    b, n, r, h, f = queries.shape
    return queries.reshape(b, n, r, j, h // j, f).transpose(0, 3, 1, 2, 4, 5)


def _tokens_first(out: jax.Array, queries: jax.Array) -> jax.Array:
    return out.transpose(0, 2, 3, 1, 4, 5).reshape(queries.shape)


def _own_part(own: KeyValues) -> _Part:
    # With N and J joined, a compiled decode step of a TPU holds no second copy of its whole cache,
    # as it does with three batch axes.
    b, n, s, j, f = own.keys.shape
    keys, values = (jnp.moveaxis(part, 3, 1).reshape(b, j * n, s, f) for part in own[:2])
    return _Part(keys, values)


def _prefix_part(prefix: KeyValues) -> _Part:
    return _Part(*(jnp.swapaxes(part, 1, 2) for part in prefix[:2]))


def _allowed(masks: _Masks) -> list[jax.Array]:
    """Which pairs each part compares: bool that is broadcast to its scores."""
    allowed = masks.own[:, None, :, None, None, :]
    if masks.slots is not None:
        slots = jnp.arange(masks.own.shape[-1])[None, None, None]
        causal = slots <= masks.slots[..., None]
        if masks.starts is not None:
            causal &= slots >= masks.starts[..., None]
        allowed = allowed & causal[:, None, :, :, None, :]
    if masks.prefix is None:
        return [allowed]
    return [allowed, masks.prefix[:, None, None, None, None, :]]


def _masked(products: jax.Array, allowed: jax.Array, width: int) -> jax.Array:
    return jnp.where(allowed, products * width**-0.5, jnp.finfo(jnp.float32).min)


def _products(x: jax.Array, keys: jax.Array) -> jax.Array:
    """Products of ``[B, J, N, R, G, F]`` with ``[B, M, K, F]``: float32 ``[B, J, N, R, G, K]``."""
    b, m, k, f = keys.shape
    products = jnp.einsum("bmxf,bmkf->bmxk", x.reshape(b, m, -1, f), keys, **_FLOAT32)
    return products.reshape(*x.shape[:5], k)


def _scores(q: jax.Array, keys: jax.Array, allowed: jax.Array) -> jax.Array:
    return _masked(_products(q, keys), allowed, q.shape[-1])


def _sums(weights: jax.Array, values: jax.Array) -> jax.Array:
    """Sums of ``[B, M, K, F]`` by weights ``[B, J, N, R, G, K]``: float32 ``[.., G, F]``."""
    b, m, k, f = values.shape
    rows = weights.astype(values.dtype).reshape(b, m, -1, k)
    sums = jnp.einsum("bmxk,bmkf->bmxf", rows, values, **_FLOAT32)
    return sums.reshape(*weights.shape[:5], f)


def _softmax_sums(scores: list[jax.Array], values: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """One softmax over the scores of all parts: sums of values, and the log-sum-exp, float32."""
    highest = reduce(jnp.maximum, (jnp.max(part, axis=-1) for part in scores))
    weights = [jnp.exp(part - highest[..., None]) for part in scores]
    total = reduce(jnp.add, (jnp.sum(part, axis=-1) for part in weights))
    sums = reduce(jnp.add, (_sums(*pair) for pair in zip(weights, values, strict=True)))
    return sums / total[..., None], highest + jnp.log(total)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(max_scores: int, q: jax.Array, parts: tuple[_Part, ...], masks: _Masks) -> jax.Array:
    return _attend_forward(max_scores, q, parts, masks)[0]


def _attend_forward(
    max_scores: int, q: jax.Array, parts: tuple[_Part, ...], masks: _Masks
) -> tuple[jax.Array, Any]:
    def of_block(block: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        q, *bounds = block
        allowed = _allowed(_Masks(masks.own, masks.prefix, *bounds))
        scores = [_scores(q, part.keys, one) for part, one in zip(parts, allowed, strict=True)]
        out, lse = _softmax_sums(scores, [part.values for part in parts])
        return out.astype(q.dtype), lse

    cut = _Blocks.of(max_scores, q, parts)
    out, lse = cut.map(of_block, (q, masks.slots, masks.starts))
    return out, (q, parts, masks, out, lse)


def _attend_backward(max_scores: int, kept: Any, cotangent: jax.Array) -> tuple[Any, Any, Any]:
    q, parts, masks, out, lse = kept
    scale = q.shape[-1] ** -0.5
    product = jnp.sum(out.astype(jnp.float32) * cotangent.astype(jnp.float32), axis=-1)

    def of_block(block: tuple[Any, ...]) -> tuple[jax.Array, tuple[_Part, ...]]:
        q, cotangent, lse, product, *bounds = block
        allowed = _allowed(_Masks(masks.own, masks.prefix, *bounds))
        of_q, of_parts = jnp.zeros(q.shape, jnp.float32), []
        for part, one in zip(parts, allowed, strict=True):
            weights = jnp.exp(_scores(q, part.keys, one) - lse[..., None])
            of_weights = _products(cotangent, part.values)
            of_scores = jnp.where(one, weights * (of_weights - product[..., None]) * scale, 0)
            of_q += _sums(of_scores, part.keys)
            m = part.keys.shape[1]
            of_parts.append(_Part(_outer(q, of_scores, m), _outer(cotangent, weights, m)))
        return of_q.astype(q.dtype), tuple(of_parts)

    cut = _Blocks.of(max_scores, q, parts)
    blocks = (q, cotangent, lse, product, masks.slots, masks.starts)
    of_q, transposed = cut.map_and_add(of_block, blocks)
    # Without the barrier XLA turns the products round, and has to transpose weights for that.
    transposed = jax.lax.optimization_barrier(transposed)
    of_parts = jax.tree.map(
        lambda of, like: jnp.swapaxes(of, 2, 3).astype(like.dtype), transposed, parts
    )
    none: Any = None
    return of_q, of_parts, none


_attend.defvjp(_attend_forward, _attend_backward)


def _outer(x: jax.Array, weights: jax.Array, m: int) -> jax.Array:
    """Sums of ``[B, J, N, R, G, F]`` for each key, by its weights: float32 ``[B, M, F, K]``."""
    b, f, k = len(x), x.shape[-1], weights.shape[-1]
    rows = weights.astype(x.dtype).reshape(b, m, -1, k)
    return jnp.einsum("bmxf,bmxk->bmfk", x.reshape(b, m, -1, f), rows, **_FLOAT32)


class _Blocks(NamedTuple):
    """Cuts R queries into blocks of one size, the last of them padded with zeros."""

    queries: int
    number: int

    @classmethod
    def of(cls, max_scores: int, q: jax.Array, parts: tuple[_Part, ...]) -> "_Blocks":
        """As few blocks as there can be."""
        b, j, n, r, g, _ = q.shape
        keys = sum(part.keys.shape[2] for part in parts)
        return cls(r, math.ceil(r / max(1, max_scores // (b * j * n * g * keys))))

    def map(self, run: Callable[[Any], Any], arrays: Any) -> Any:
        """Runs a function of blocks of arrays, whose results have an axis of queries."""
        if self.number == 1:
            return run(arrays)
        return jax.tree.map(self._joined, jax.lax.map(run, self._cut(arrays)))

    def map_and_add(self, run: Callable[[Any], tuple[Any, Any]], arrays: Any) -> tuple[Any, Any]:
        """The same, with second results that are added up."""
        if self.number == 1:
            return run(arrays)
        blocks = self._cut(arrays)
        shapes = jax.eval_shape(lambda blocks: run(jax.tree.map(lambda x: x[0], blocks))[1], blocks)

        def step(total: Any, block: Any) -> tuple[Any, Any]:
            mapped, added = run(block)
            return jax.tree.map(jnp.add, total, added), mapped

        zeros = jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), shapes)
        total, mapped = jax.lax.scan(step, zeros, blocks)
        return jax.tree.map(self._joined, mapped), total

    def _cut(self, arrays: Any) -> Any:
        size = math.ceil(self.queries / self.number)

        def cut(x: jax.Array) -> jax.Array:
            # Those that heads do not differ in have no axis of them.
            axis = 2 if x.ndim == 3 else 3
            padding = (0, self.number * size - self.queries)
            x = jnp.pad(x, [padding if place == axis else (0, 0) for place in range(x.ndim)])
            shape = (*x.shape[:axis], self.number, size, *x.shape[axis + 1 :])
            return jnp.moveaxis(x.reshape(shape), axis, 0)

        return jax.tree.map(cut, arrays)

    def _joined(self, blocks: jax.Array) -> jax.Array:
        x = jnp.moveaxis(blocks, 0, 3)
        x = x.reshape(*x.shape[:3], -1, *x.shape[5:])
        return x[:, :, :, : self.queries]
