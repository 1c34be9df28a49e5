"""Flash attention for GPUs, in Triton: the same functions as those of `perl_jax.kernels.tpu`.

A program holds a block of queries of one head and goes through the blocks of keys that it is
compared with; for the gradients of keys and values, it is the other way round.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from perl_jax.kernels.parts import (
    MASKED,
    NOTHING,
    Blocks,
    Bounds,
    Keys,
    Run,
    divided,
    needed,
)

# Queries and keys of a block. Triton takes powers of two only.
_BLOCK = 64


def blocks_for(queries: int, keys: int, group: int) -> Blocks:
    """The blocks for rows of these lengths, which are padded to multiples of them."""
    del queries, keys, group
    return Blocks(_BLOCK, _BLOCK)


def forward(
    q: jax.Array, keys: Keys, bounds: Bounds, scale: float, blocks: Blocks, run: Run
) -> tuple[jax.Array, jax.Array]:
    """What is attended ``[B, N, J, G, R, F]``, and the log-sum-exp, float32 ``[B, N, J, G, R]``."""
    f = q.shape[-1]
    q, k, v = map(_widened, (q, keys.keys, keys.values))
    specs = _QuerySpecs(q, k, blocks)
    out, lse = call(
        partial(_forward, scale, blocks.keys),
        specs.grid,
        [specs.q, specs.k, specs.k, *specs.numbers],
        [specs.q, specs.number],
        [q, jax.ShapeDtypeStruct(q.shape[:5], jnp.float32)],
        run,
        _flops(2, q, k, blocks),
    )(q, k, v, keys.valid, *bounds, *_spans(needed(bounds, keys.valid, blocks)))
    return out[..., :f], lse


def backward(
    q: jax.Array,
    keys: Keys,
    bounds: Bounds,
    scale: float,
    blocks: Blocks,
    run: Run,
    cotangent: tuple[jax.Array, jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradients of queries, keys and values, as `perl_jax.kernels.tpu.backward` gives them."""
    f = q.shape[-1]
    q, k, v, of_attended = map(_widened, (q, keys.keys, keys.values, cotangent[0]))
    given = (of_attended, *cotangent[1:])
    pairs = needed(bounds, keys.valid, blocks)
    specs = _QuerySpecs(q, k, blocks)
    (of_q,) = call(
        partial(_backward_q, scale, blocks.keys),
        specs.grid,
        [specs.q, specs.k, specs.k, *specs.numbers, specs.q, specs.number, specs.number],
        [specs.q],
        [q],
        run,
        _flops(3, q, k, blocks),
    )(q, k, v, keys.valid, *bounds, *_spans(pairs), *given)
    b, n, nr, nk = pairs.shape
    m = k.shape[1]
    of_keys = _KeySpecs(q, k, blocks)
    of_k, of_v = call(
        partial(_backward_kv, scale, blocks.queries),
        of_keys.grid,
        [of_keys.q, of_keys.k, of_keys.k, *of_keys.numbers, of_keys.q, *[of_keys.number] * 2],
        [of_keys.k, of_keys.k],
        [k, v],
        run,
        _flops(4, q, k, blocks),
    )(
        q, k, v, keys.valid, *bounds,
        *_spans(jnp.moveaxis(pairs.reshape(b, m, n // m, nr, nk), 4, 2)), *given,
    )  # fmt: skip
    return of_q[..., :f], of_k[..., :f], of_v[..., :f]


def _widened(x: jax.Array) -> jax.Array:
    """Pads the last axis to a power of two."""
    width = max(16, pl.next_power_of_2(x.shape[-1]))
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])])


def _spans(pairs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The first needed block along the last axis, and the one after the last: int32."""
    end = pairs.shape[-1] - jnp.argmax(pairs[..., ::-1], axis=-1)
    end = jnp.where(pairs.any(axis=-1), end, 0)
    return jnp.argmax(pairs, axis=-1).astype(jnp.int32), end.astype(jnp.int32)


class _QuerySpecs:
    """How a program for a block of queries sees the arrays."""

    def __init__(self, q: jax.Array, k: jax.Array, blocks: Blocks) -> None:
        (b, n, j, g, r, f), m, s = q.shape, k.shape[1], k.shape[3]
        bq, one = blocks.queries, None
        self.grid = (r // bq, b * n, j * g)

        def at(place: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
            def index(i: Any, row: Any, head: Any) -> tuple[Any, ...]:
                return place(i, *divided(row, n), *divided(head, g))

            return index

        def of(row: Any) -> Any:
            return divided(row, n // m)[0]

        self.q = pl.BlockSpec(
            (one, one, one, one, bq, f), at(lambda i, b, n, j, g: (b, n, j, g, i, 0))
        )
        self.number = pl.BlockSpec(
            (one, one, one, one, bq), at(lambda i, b, n, j, g: (b, n, j, g, i))
        )
        self.k = pl.BlockSpec((one, one, one, s, f), at(lambda i, b, n, j, g: (b, of(n), j, 0, 0)))
        valid = pl.BlockSpec((one, one, s), at(lambda i, b, n, j, g: (b, of(n), 0)))
        bound = pl.BlockSpec((one, one, bq), at(lambda i, b, n, j, g: (b, n, i)))
        span = pl.BlockSpec((one, one, 1), at(lambda i, b, n, j, g: (b, n, i)))
        self.numbers = [valid, bound, bound, span, span]


class _KeySpecs:
    """How a program for a block of keys sees the arrays: all rows of queries that share it."""

    def __init__(self, q: jax.Array, k: jax.Array, blocks: Blocks) -> None:
        (b, n, j, g, r, f), m, s = q.shape, k.shape[1], k.shape[3]
        bk, rows, one = blocks.keys, n // m, None
        self.grid = (s // bk, b * m, j)

        def at(place: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
            return lambda i, row, j: place(i, *divided(row, m), j)

        self.q = pl.BlockSpec((one, rows, one, g, r, f), at(lambda i, b, m, j: (b, m, j, 0, 0, 0)))
        self.number = pl.BlockSpec((one, rows, one, g, r), at(lambda i, b, m, j: (b, m, j, 0, 0)))
        self.k = pl.BlockSpec((one, one, one, bk, f), at(lambda i, b, m, j: (b, m, j, i, 0)))
        valid = pl.BlockSpec((one, one, bk), at(lambda i, b, m, j: (b, m, i)))
        bound = pl.BlockSpec((one, rows, r), at(lambda i, b, m, j: (b, m, 0)))
        span = pl.BlockSpec((one, one, one, rows), at(lambda i, b, m, j: (b, m, i, 0)))
        self.numbers = [valid, bound, bound, span, span]


def _flops(products: int, q: jax.Array, k: jax.Array, blocks: Blocks) -> int:
    """What a kernel is expected to do that computes so many products of the blocks it compares."""
    pairs = math.prod(q.shape[:5]) * k.shape[3] * blocks.compared
    return round(2 * products * q.shape[5] * pairs)


def call(
    kernel: Any,
    grid: tuple[int, ...],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    shapes: Sequence[Any],
    run: Run,
    flops: int,
    name: str = "",
) -> Callable[..., Any]:
    """A kernel as a function of its arrays.

    Args:
        kernel: A partial function of references to the arrays and to the results.
        grid: The numbers of programs.
        inputs: How a program sees the arrays.
        outputs: How it sees the results.
        shapes: Their shapes and dtypes.
        run: How it gets into a program.
        flops: The operations that it is expected to do, which loops with computed bounds hide.
        name: Its name; empty: that of the function.
    """
    results = tuple(jax.ShapeDtypeStruct(shape.shape, shape.dtype) for shape in shapes)
    compiled = pl.pallas_call(
        kernel,
        grid=grid,
        in_specs=tuple(inputs),
        out_specs=tuple(outputs),
        out_shape=results,
        compiler_params=plgpu.CompilerParams(num_warps=4, num_stages=2),
        name=name or f"attention{kernel.func.__name__}",
        # Only our own counts read it.
        cost_estimate=pl.CostEstimate(flops=flops, transcendentals=0, bytes_accessed=0),
        interpret=run == "interpreted",
    )
    return _outlined(compiled, results) if run == "outlined" else compiled


def _outlined(compiled: Callable[..., Any], results: Sequence[Any]) -> Callable[..., Any]:
    """A kernel that on a CPU is a call with its inputs and results, which computes nothing.

    What is compiled around it then is as on a GPU, in memory too.
    """

    def absent(*arrays: Any) -> Any:
        del arrays
        raise NotImplementedError("a kernel for GPUs: on a CPU its programs can only be planned")

    def on_cpu(*arrays: jax.Array) -> Any:
        return jax.pure_callback(absent, results, *arrays, vmap_method="broadcast_all")

    return lambda *arrays: jax.lax.platform_dependent(*arrays, cpu=on_cpu, default=compiled)


def _scores(q: Any, k: Any, scale: float, slots: Any, valid: Any, first: Any, last: Any) -> Any:
    """``[queries, keys]``."""
    allowed = (slots >= first[:, None]) & (slots <= last[:, None]) & (valid[None, :] > 0)
    return jnp.where(allowed, plgpu.dot(q, k.T) * scale, MASKED)


def _slots(start: Any, count: int) -> Any:
    return start + jnp.arange(count, dtype=jnp.int32)[None, :]


def _forward(
    scale: float, bk: int, q_ref: Any, k_ref: Any, v_ref: Any, valid_ref: Any, first_ref: Any,
    last_ref: Any, low_ref: Any, high_ref: Any, out_ref: Any, lse_ref: Any,
) -> None:  # fmt: skip
    q, first, last = q_ref[...], first_ref[...], last_ref[...]

    def step(block: Any, carry: Any) -> Any:
        at = pl.ds(block * bk, bk)
        k, v = k_ref[at, :], v_ref[at, :]
        scores = _scores(q, k, scale, _slots(block * bk, bk), valid_ref[at], first, last)
        return collect(carry, scores, v)

    out, lse_ref[...] = collected(jax.lax.fori_loop(low_ref[0], high_ref[0], step, nothing(q)))
    out_ref[...] = out.astype(out_ref.dtype)


def nothing(q: Any) -> Any:
    """What a softmax over blocks of keys has collected before the first one, for queries."""
    most = jnp.full(q.shape[:1], NOTHING, jnp.float32)
    return most, jnp.zeros_like(most), jnp.zeros(q.shape, jnp.float32)


def collect(carry: Any, scores: Any, v: Any) -> Any:
    """Adds a block of keys, with scores ``[queries, keys]`` and values ``[keys, F]``."""
    most, total, acc = carry
    highest = jnp.maximum(most, jnp.max(scores, axis=1))
    weights = jnp.exp(scores - highest[:, None])
    shrink = jnp.exp(most - highest)
    total = shrink * total + jnp.sum(weights, axis=1)
    acc = shrink[:, None] * acc + plgpu.dot(weights.astype(v.dtype), v)
    return highest, total, acc


def collected(carry: Any) -> tuple[Any, Any]:
    """The mean of the values, and the log-sum-exp, float32."""
    most, total, acc = carry
    some = jnp.maximum(total, 1e-30)
    return acc / some[:, None], jnp.where(total > 0, most + jnp.log(some), NOTHING)


def _backward_q(
    scale: float, bk: int, q_ref: Any, k_ref: Any, v_ref: Any, valid_ref: Any, first_ref: Any,
    last_ref: Any, low_ref: Any, high_ref: Any, cotangent_ref: Any, lse_ref: Any,
    product_ref: Any, out_ref: Any,
) -> None:  # fmt: skip
    q, first, last, cotangent = q_ref[...], first_ref[...], last_ref[...], cotangent_ref[...]
    lse, product = lse_ref[...], product_ref[...]

    def step(block: Any, acc: Any) -> Any:
        at = pl.ds(block * bk, bk)
        k, v = k_ref[at, :], v_ref[at, :]
        scores = _scores(q, k, scale, _slots(block * bk, bk), valid_ref[at], first, last)
        weights = jnp.exp(scores - lse[:, None])
        of_scores = weights * (plgpu.dot(cotangent, v.T) - product[:, None])
        return acc + plgpu.dot(of_scores.astype(k.dtype), k)

    start = jnp.zeros(q.shape, jnp.float32)
    acc = jax.lax.fori_loop(low_ref[0], high_ref[0], step, start)
    out_ref[...] = (acc * scale).astype(out_ref.dtype)


def _backward_kv(
    scale: float, bq: int, q_ref: Any, k_ref: Any, v_ref: Any, valid_ref: Any, first_ref: Any,
    last_ref: Any, low_ref: Any, high_ref: Any, cotangent_ref: Any, lse_ref: Any,
    product_ref: Any, of_k_ref: Any, of_v_ref: Any,
) -> None:  # fmt: skip
    k, v, valid = k_ref[...], v_ref[...], valid_ref[...]
    slots = _slots(pl.program_id(0) * k.shape[0], k.shape[0])
    rows, group = q_ref.shape[:2]

    def of_head(number: Any, carry: Any) -> Any:
        row, g = divided(number, group)

        def step(block: Any, carry: Any) -> Any:
            of_k, of_v = carry
            at = pl.ds(block * bq, bq)
            q, cotangent = q_ref[row, g, at, :], cotangent_ref[row, g, at, :]
            first, last = first_ref[row, at], last_ref[row, at]
            weights = jnp.exp(
                _scores(q, k, scale, slots, valid, first, last) - lse_ref[row, g, at][:, None]
            )
            of_weights = plgpu.dot(cotangent, v.T)
            of_scores = weights * (of_weights - product_ref[row, g, at][:, None])
            of_v += plgpu.dot(weights.astype(q.dtype).T, cotangent)
            of_k += plgpu.dot(of_scores.astype(q.dtype).T, q)
            return of_k, of_v

        return jax.lax.fori_loop(low_ref[row], high_ref[row], step, carry)

    zeros = jnp.zeros(k.shape, jnp.float32)
    of_k, of_v = jax.lax.fori_loop(0, rows * group, of_head, (zeros, zeros))
    of_k_ref[...] = (of_k * scale).astype(of_k_ref.dtype)
    of_v_ref[...] = of_v.astype(of_v_ref.dtype)
