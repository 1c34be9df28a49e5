"""Flash attention for TPUs: forward and backward kernels whose scores never leave the chip.

In a block of scores, keys are the first axis and queries the second, the lanes of a TPU. What a
query has one of (bounds, maximum, sum) is then a row of lanes, in memory as long as its numbers.

Dao et al., https://arxiv.org/abs/2205.14135 and https://arxiv.org/abs/2307.08691.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from perl_jax.kernels.parts import (
    FIRST,
    LANES,
    LAST,
    MASKED,
    NOTHING,
    Blocks,
    Bounds,
    Keys,
    Run,
    divided,
    dot,
    even,
    needed,
)

# Queries times heads, queries and keys of a block. The kernels hold them beside the next ones that
# they fetch, within the 16 MiB that the compiler allows them.
_MAX_ROWS, _MAX_QUERIES, _MAX_KEYS = 3072, 512, 512


def blocks_for(queries: int, keys: int, group: int) -> Blocks:
    """The blocks for rows of these lengths, which are padded to multiples of them."""
    most = max(LANES, min(_MAX_QUERIES, _MAX_ROWS // group // LANES * LANES))
    return Blocks(even(queries, most, LANES), even(keys, _MAX_KEYS, LANES))


def forward(
    q: jax.Array, keys: Keys, bounds: Bounds, scale: float, blocks: Blocks, run: Run
) -> tuple[jax.Array, jax.Array]:
    """What is attended ``[B, N, J, G, R, F]``, and the log-sum-exp, float32 ``[B, N, J, G, R]``."""
    g, f, bq = q.shape[3], q.shape[5], blocks.queries
    out, lse = _Grid.of_queries(q, keys, bounds, blocks).run(
        partial(_forward, scale),
        {"q": q, "k": keys.keys, "v": keys.values},
        {"q": _like(q), "number": jax.ShapeDtypeStruct(q.shape[:5], jnp.float32)},
        [(g, bq), (g, bq), (g, f, bq)],
        run,
    )
    return out, lse


def backward(
    q: jax.Array,
    keys: Keys,
    bounds: Bounds,
    scale: float,
    blocks: Blocks,
    run: Run,
    cotangent: tuple[jax.Array, jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradients of queries, keys and values.

    ``cotangent`` is that of what is attended, by these keys and others; the log-sum-exp over all of
    them; and the sum over F of what is attended times its cotangent, float32 as the log-sum-exp.
    """
    g, f, bq, bk = q.shape[3], q.shape[5], blocks.queries, blocks.keys
    of_attended, lse, product = cotangent
    arrays = {
        "q": q, "k": keys.keys, "v": keys.values,
        "cotangent": of_attended, "lse": lse, "product": product,
    }  # fmt: skip
    (of_q,) = _Grid.of_queries(q, keys, bounds, blocks).run(
        partial(_backward_q, scale), arrays, {"q": _like(q)}, [(g, f, bq)], run
    )
    of_k, of_v = _Grid.of_keys(q, keys, bounds, blocks).run(
        partial(_backward_kv, scale),
        arrays,
        {"k": _like(keys.keys), "v": _like(keys.values)},
        [(bk, f), (bk, f)],
        run,
    )
    return of_q, of_k, of_v


def _like(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


@dataclass(frozen=True)
class _Block:
    """Where a step of a kernel stands, and which pairs it compares.

    Attributes:
        first: Whether it is the first step for the block that results are collected for.
        last: Whether it is the last one.
        needed: Whether any pair is compared.
        allowed: bool ``[keys, queries]``, the pairs to compare; to be called within ``needed``.
    """

    first: jax.Array
    last: jax.Array
    needed: jax.Array
    allowed: Callable[[], jax.Array]


@dataclass(frozen=True)
class _Grid:
    """The steps of a kernel: blocks of one side, and for each of them all those of the other.

    Attributes:
        sizes: B, rows, J, blocks of a row, and steps of a block.
        held: int32, the block of the other side that is in memory at each step: the block of this
            step, or where it is not needed one that is.
        bounds: int32 ``[B, N, 1, R]``, see `Bounds`.
        valid: int32 ``[B, M, 1, S]``.
        blocks: Their sizes.
        by_keys: Whether the blocks are those of keys and the steps those of queries.
    """

    sizes: tuple[int, int, int, int, int]
    held: jax.Array
    bounds: Bounds
    valid: jax.Array
    blocks: Blocks
    by_keys: bool

    @classmethod
    def of_queries(cls, q: jax.Array, keys: Keys, bounds: Bounds, blocks: Blocks) -> "_Grid":
        """For each block of queries, the blocks of keys."""
        pairs = needed(bounds, keys.valid, blocks)
        return cls._of(pairs, q.shape[2], keys, bounds, blocks, by_keys=False)

    @classmethod
    def of_keys(cls, q: jax.Array, keys: Keys, bounds: Bounds, blocks: Blocks) -> "_Grid":
        """For each block of keys, the blocks of queries of all rows that share them."""
        pairs = needed(bounds, keys.valid, blocks)
        b, n, nr, nk = pairs.shape
        m = keys.valid.shape[1]
        pairs = jnp.moveaxis(pairs.reshape(b, m, n // m * nr, nk), 3, 2)
        return cls._of(pairs, q.shape[2], keys, bounds, blocks, by_keys=True)

    @classmethod
    def _of(
        cls, pairs: jax.Array, heads: int, keys: Keys, bounds: Bounds, blocks: Blocks, by_keys: bool
    ) -> "_Grid":
        b, rows, count, steps = pairs.shape
        numbers = jnp.where(pairs, jax.lax.broadcasted_iota(jnp.int32, pairs.shape, 3), -1)
        before = jax.lax.cummax(numbers, axis=3)
        # Until the first needed block, that one: it is fetched once, and ahead of time.
        first = jnp.where(pairs.any(-1), jnp.argmax(pairs, axis=-1), -1).astype(jnp.int32)
        return cls(
            sizes=(b, rows, heads, count, steps),
            held=jnp.where(before < 0, first[..., None], before).reshape(-1),
            bounds=Bounds(*(bound[:, :, None] for bound in bounds)),
            valid=keys.valid[:, :, None],
            blocks=blocks,
            by_keys=by_keys,
        )

    def run(
        self,
        kernel: partial[None],
        arrays: dict[str, jax.Array],
        outputs: dict[str, jax.ShapeDtypeStruct],
        scratch: list[tuple[int, ...]],
        run: Run,
    ) -> list[jax.Array]:
        """Runs a kernel of a `_Block`, the arrays by name, the results and float32 scratch."""
        count = len(arrays) + 3

        def body(held: Any, *refs: Any) -> None:
            block = self._block(held, *refs[:3])
            named = dict(zip(arrays, refs[3:count], strict=True))
            kernel(block, named, *refs[count:])

        inputs = {"valid": self.valid, "first": self.bounds.first, "last": self.bounds.last}
        specs = self._specs(arrays["q"].shape, arrays["k"].shape)
        return pl.pallas_call(
            body,
            grid_spec=pltpu.PrefetchScalarGridSpec(
                num_scalar_prefetch=1,
                grid=self.sizes,
                in_specs=[specs[name] for name in (*inputs, *arrays)],
                out_specs=[specs[name] for name in outputs],
                scratch_shapes=[pltpu.VMEM(shape, jnp.float32) for shape in scratch],
            ),
            out_shape=list(outputs.values()),
            compiler_params=pltpu.CompilerParams(
                dimension_semantics=("parallel",) * 4 + ("arbitrary",)
            ),
            name=f"attention{kernel.func.__name__}",
            cost_estimate=self._cost(_PRODUCTS[kernel.func], arrays, outputs),
            interpret=run == "interpreted",
        )(self.held, *inputs.values(), *arrays.values())

    def _cost(
        self,
        products: int,
        arrays: dict[str, jax.Array],
        outputs: dict[str, jax.ShapeDtypeStruct],
    ) -> pl.CostEstimate:
        """What the compiler should expect, so that it overlaps transfers with the kernel."""
        g, f, blocks = arrays["q"].shape[3], arrays["q"].shape[5], self.blocks
        pairs = math.prod(self.sizes) * g * blocks.queries * blocks.keys * blocks.compared
        moved: list[Any] = [*arrays.values(), *outputs.values()]
        return pl.CostEstimate(
            flops=round(2 * products * f * pairs),
            transcendentals=round(pairs),
            bytes_accessed=sum(one.size * one.dtype.itemsize for one in moved),
        )

    def _held_at(self, b: Any, row: Any, block: Any, step: Any) -> Any:
        _, rows, _, count, steps = self.sizes
        return ((b * rows + row) * count + block) * steps + step

    def _block(self, held: Any, valid: Any, first: Any, last: Any) -> _Block:
        b, row, block, step = (pl.program_id(axis) for axis in (0, 1, 3, 4))
        shape = (self.blocks.keys, self.blocks.queries)

        def allowed() -> jax.Array:
            start = (block if self.by_keys else step) * self.blocks.keys
            slots = start + jax.lax.broadcasted_iota(jnp.int32, shape, 0)
            is_valid = jnp.expand_dims(valid[0], 1) > 0
            return is_valid & (slots >= first[...]) & (slots <= last[...])

        return _Block(
            first=step == 0,
            last=step == self.sizes[4] - 1,
            needed=held[self._held_at(b, row, block, step)] == step,
            allowed=allowed,
        )

    def _specs(self, q: tuple[int, ...], k: tuple[int, ...]) -> dict[str, pl.BlockSpec]:
        """How each kind of array is cut, by name."""
        (_, n, _, g, r, f), m, bq, bk = q, k[1], self.blocks.queries, self.blocks.keys
        in_row = r // bq

        def at(place: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
            def index(b: Any, row: Any, j: Any, block: Any, step: Any, held: Any) -> Any:
                other = jnp.maximum(held[self._held_at(b, row, block, step)], 0)
                if self.by_keys:
                    number, q_block = divided(other, in_row)
                    return place(b, j, row * (n // m) + number, q_block, row, block)
                return place(b, j, row, block, divided(row, n // m)[0], other)

            return index

        one = None
        of_q = pl.BlockSpec(
            (one, one, one, g, bq, f), at(lambda b, j, n, r, m, s: (b, n, j, 0, r, 0))
        )
        of_k = pl.BlockSpec((one, one, one, bk, f), at(lambda b, j, n, r, m, s: (b, m, j, s, 0)))
        number = pl.BlockSpec((one, one, one, g, bq), at(lambda b, j, n, r, m, s: (b, n, j, 0, r)))
        bound = pl.BlockSpec((one, one, 1, bq), at(lambda b, j, n, r, m, s: (b, n, 0, r)))
        valid = pl.BlockSpec((one, one, 1, bk), at(lambda b, j, n, r, m, s: (b, m, 0, s)))
        return {
            "q": of_q, "cotangent": of_q, "k": of_k, "v": of_k, "number": number, "lse": number,
            "product": number, "first": bound, "last": bound, "valid": valid,
        }  # fmt: skip


def _scores(allowed: jax.Array, k: jax.Array, q: jax.Array, scale: float) -> jax.Array:
    return jnp.where(allowed, dot(k, q, LAST) * scale, MASKED)


def _forward(
    scale: float,
    block: _Block,
    of: dict[str, Any],
    out: Any,
    lse: Any,
    most: Any,
    sum_: Any,
    acc: Any,
) -> None:
    @pl.when(block.first)
    def _() -> None:
        most[...] = jnp.full_like(most, NOTHING)
        sum_[...] = jnp.zeros_like(sum_)
        acc[...] = jnp.zeros_like(acc)

    @pl.when(block.needed)
    def _() -> None:
        allowed, k, v = block.allowed(), of["k"][...], of["v"][...]
        for g in range(out.shape[0]):
            row = slice(g, g + 1)
            scores = _scores(allowed, k, of["q"][g], scale)
            highest = jnp.maximum(most[row], jnp.max(scores, axis=0, keepdims=True))
            weights = jnp.exp(scores - highest)
            shrink = jnp.exp(most[row] - highest)
            most[row] = highest
            sum_[row] = shrink * sum_[row] + jnp.sum(weights, axis=0, keepdims=True)
            acc[g] = shrink * acc[g] + dot(v, weights.astype(v.dtype), FIRST)

    @pl.when(block.last)
    def _() -> None:
        total = sum_[...]
        lse[...] = jnp.where(total > 0, most[...] + jnp.log(jnp.maximum(total, 1e-30)), NOTHING)
        for g in range(out.shape[0]):
            mean = acc[g] / jnp.maximum(sum_[g : g + 1], 1e-30)
            out[g] = mean.T.astype(out.dtype)


def _weights(
    allowed: jax.Array, of: dict[str, Any], g: int, scale: float
) -> tuple[jax.Array, jax.Array]:
    """The weights ``[keys, queries]`` of head g, and the gradient of their scores."""
    row = slice(g, g + 1)
    weights = jnp.exp(_scores(allowed, of["k"][...], of["q"][g], scale) - of["lse"][row])
    of_weights = dot(of["v"][...], of["cotangent"][g], LAST)
    return weights, weights * (of_weights - of["product"][row])


def _backward_q(scale: float, block: _Block, of: dict[str, Any], of_q: Any, acc: Any) -> None:
    @pl.when(block.first)
    def _() -> None:
        acc[...] = jnp.zeros_like(acc)

    @pl.when(block.needed)
    def _() -> None:
        allowed, k = block.allowed(), of["k"][...]
        for g in range(of_q.shape[0]):
            _, of_scores = _weights(allowed, of, g, scale)
            acc[g] += dot(k, of_scores.astype(k.dtype), FIRST)

    @pl.when(block.last)
    def _() -> None:
        for g in range(of_q.shape[0]):
            of_q[g] = (acc[g] * scale).T.astype(of_q.dtype)


def _backward_kv(
    scale: float, block: _Block, of: dict[str, Any], of_k: Any, of_v: Any, k_acc: Any, v_acc: Any
) -> None:
    @pl.when(block.first)
    def _() -> None:
        k_acc[...] = jnp.zeros_like(k_acc)
        v_acc[...] = jnp.zeros_like(v_acc)

    @pl.when(block.needed)
    def _() -> None:
        allowed = block.allowed()
        for g in range(of["q"].shape[0]):
            weights, of_scores = _weights(allowed, of, g, scale)
            cotangent, q = of["cotangent"][g], of["q"][g]
            v_acc[...] += dot(weights.astype(q.dtype), cotangent)
            k_acc[...] += dot(of_scores.astype(q.dtype), q)

    @pl.when(block.last)
    def _() -> None:
        of_k[...] = (k_acc[...] * scale).astype(of_k.dtype)
        of_v[...] = v_acc[...].astype(of_v.dtype)


# The products of a block of pairs that a kernel computes: of scores and of what is collected.
_PRODUCTS = {_forward: 2, _backward_q: 3, _backward_kv: 4}
