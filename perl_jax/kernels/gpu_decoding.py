"""Attention of one new token of every response to the caches, read where they lie, on GPUs.

As in `perl_jax.kernels.tpu_decoding`, the kernels are given all layers of a cache and the number of
one. A cache is read in stretches, each by a program of its own, so that there are programs enough
for all processors of a GPU; what they give is merged by their log-sum-exps.

Dao et al., https://crfm.stanford.edu/2023/10/12/flashdecoding.html.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from perl_jax.kernels.gpu import call, collect, collected, nothing
from perl_jax.kernels.parts import MASKED, Caches, Run, divided

# Where the slots of a range are in a cache, as an index of it.
_Found = Callable[[Any], tuple[Any, ...]]

# Triton multiplies matrices with at least 16 rows, and takes powers of two only.
_LEAST = 16
# Queries of a program, slots of a step, and steps of a program, at most.
_MAX_QUERIES, _MAX_SLOTS, _STEPS = 64, 64, 4


def takes(caches: Caches, orders: int) -> bool:
    """Whether it takes caches of these sizes, with so many orders on a device."""
    del orders
    length, width = caches.prompt_keys.shape[3:]
    slots = caches.keys.shape[1]
    return min(length, slots, width) >= _LEAST and width == pl.next_power_of_2(width)


def merge(
    of_prompts: jax.Array, prompt_lse: jax.Array, own: jax.Array, own_lse: jax.Array
) -> jax.Array:
    """What `attend_to_prompts` and `attend_to_responses` give, joined: ``[B, N, J, G, F]``."""
    _, j, n, b, g, f = own.shape
    # All as [stretches, B, N, J, G, ...].
    of_prompts = of_prompts.reshape(-1, b, j, n, g, f).swapaxes(2, 3)
    prompt_lse = prompt_lse.reshape(-1, b, j, n, g).swapaxes(2, 3)
    own, own_lse = own.transpose(0, 3, 2, 1, 4, 5), own_lse.transpose(0, 3, 2, 1, 4)
    shares = jax.nn.softmax(jnp.concatenate([prompt_lse, own_lse]), axis=0)[..., None]
    return jnp.sum(shares * jnp.concatenate([of_prompts, own]), axis=0)


def attend_to_prompts(
    q: jax.Array, keys: jax.Array, values: jax.Array, valid: jax.Array, layer: jax.Array, run: Run
) -> tuple[jax.Array, jax.Array]:
    """What is attended to in each stretch of prompts, and the log-sum-exp, float32.

    They are ``[C, B, J, X, F]`` and ``[C, B, J, X]`` for C stretches. ``q`` are ``[B, J, X, F]``, X
    of them for each prompt and key/value head; keys and values ``[L, B, J, T, F]``; ``valid``,
    int32 ``[B, T]``.
    """
    (b, j, x, f), t = q.shape, keys.shape[3]
    rows = min(_MAX_QUERIES, max(_LEAST, pl.next_power_of_2(x)))
    q = _padded(q, rows)
    of_head = q.shape[2] // rows

    def place(head: Any, b: Any) -> tuple[Any, ...]:
        j, block = divided(head, of_head)
        return b, j, block

    def cached(layer: Any) -> _Found:
        b, j, _ = place(pl.program_id(1), pl.program_id(2))
        return lambda slots: (layer, b, j, slots, slice(None))

    specs = [
        pl.BlockSpec((None, None, rows, f), lambda c, head, b: (*place(head, b), 0)),
        pl.BlockSpec((None, t), lambda c, head, b: (b, 0)),
        pl.BlockSpec((None, 2), lambda c, head, b: (b, 0)),
    ]
    outputs = [
        pl.BlockSpec((None, None, None, rows, f), lambda c, head, b: (c, *place(head, b), 0)),
        pl.BlockSpec((None, None, None, rows), lambda c, head, b: (c, *place(head, b))),
    ]
    grid, arrays = (j * of_head, b), (q, valid, keys, values)
    out, lse = _by_stretches(cached, grid, specs, outputs, arrays, layer, run)
    return out[:, :, :, :x], lse[:, :, :, :x]


def attend_to_responses(
    q: jax.Array, keys: jax.Array, values: jax.Array, valid: jax.Array, layer: jax.Array, run: Run
) -> tuple[jax.Array, jax.Array]:
    """What is attended to in each stretch of responses, and the log-sum-exp, float32.

    They are ``[C, J, N, B, G, F]`` and ``[C, J, N, B, G]`` for C stretches. ``q`` are
    ``[J, N, B, G, F]``; keys and values ``[L, S, J, N, B, F]``; ``valid``, int32 ``[N, B, S]``.
    """
    (j, n, b, g, f), s = q.shape, keys.shape[1]
    q = _padded(q, max(_LEAST, pl.next_power_of_2(g)))
    rows = q.shape[3]

    def cached(layer: Any) -> _Found:
        j, (n, order) = pl.program_id(1), divided(pl.program_id(2), b)
        return lambda slots: (layer, slots, j, n, order, slice(None))

    one = None
    specs = [
        pl.BlockSpec((one, one, one, rows, f), lambda c, j, row: (j, *divided(row, b), 0, 0)),
        pl.BlockSpec((one, one, s), lambda c, j, row: (*divided(row, b), 0)),
        pl.BlockSpec((one, one, 2), lambda c, j, row: (*divided(row, b), 0)),
    ]
    outputs = [
        pl.BlockSpec(
            (one, one, one, one, rows, f), lambda c, j, row: (c, j, *divided(row, b), 0, 0)
        ),
        pl.BlockSpec((one, one, one, one, rows), lambda c, j, row: (c, j, *divided(row, b), 0)),
    ]
    grid, arrays = (j, n * b), (q, valid, keys, values)
    out, lse = _by_stretches(cached, grid, specs, outputs, arrays, layer, run)
    return out[..., :g, :], lse[..., :g]


def _padded(q: jax.Array, multiple: int) -> jax.Array:
    """Adds queries, the axis before the last one, up to a multiple."""
    return jnp.pad(q, [*[(0, 0)] * (q.ndim - 2), (0, -q.shape[-2] % multiple), (0, 0)])


def _by_stretches(
    cached: Callable[[Any], _Found],
    grid: tuple[int, int],
    specs: list[pl.BlockSpec],
    outputs: list[pl.BlockSpec],
    arrays: tuple[jax.Array, jax.Array, jax.Array, jax.Array],
    layer: jax.Array,
    run: Run,
) -> tuple[jax.Array, jax.Array]:
    """Runs a program for each stretch and place of a grid.

    ``cached`` gives for a layer where a program finds slots in a cache. Specs are those of ``q``,
    of ``valid`` and of a pair of numbers for each of its rows, and of the results.
    """
    q, valid, keys, values = arrays
    length, f = valid.shape[-1], q.shape[-1]
    block = min(_MAX_SLOTS, 1 << (length.bit_length() - 1))
    stretches = math.ceil(length / (_STEPS * block))
    whole = pl.BlockSpec(memory_space=pl.ANY)
    results = (stretches, *q.shape[:-1])
    pairs = math.prod(q.shape[:-1]) * length
    return call(
        partial(_attend, cached, f**-0.5, block),
        (stretches, *grid),
        [whole, *specs, whole, whole],
        outputs,
        [
            jax.ShapeDtypeStruct((*results, f), jnp.float32),
            jax.ShapeDtypeStruct(results, jnp.float32),
        ],
        run,
        flops=4 * f * pairs,
        name="attention_decode",
    )(layer[None], q, valid, _spans(valid, block), keys, values)


def _spans(valid: jax.Array, block: int) -> jax.Array:
    """The first block with a valid slot and the one after the last, int32 ``[..., 2]``."""
    length = valid.shape[-1]
    slots = jnp.arange(length, dtype=jnp.int32)
    first = jnp.min(jnp.where(valid > 0, slots, length), axis=-1) // block
    last = jnp.max(jnp.where(valid > 0, slots, -block), axis=-1) // block
    return jnp.stack([first, last + 1], axis=-1)


def _attend(
    cached: Callable[[Any], _Found], scale: float, block: int, layer_ref: Any,
    q_ref: Any, valid_ref: Any, span_ref: Any, k_ref: Any, v_ref: Any, out_ref: Any, lse_ref: Any,
) -> None:  # fmt: skip
    q, length, found_at = q_ref[...], valid_ref.shape[0], cached(layer_ref[0])
    first = pl.program_id(0) * _STEPS

    def step(number: Any, carry: Any) -> Any:
        # Where the last block would reach beyond the end, slots of the one before come twice.
        start = jnp.minimum(number * block, length - block)
        slots = start + jnp.arange(block, dtype=jnp.int32)
        at = pl.ds(start, block)
        allowed = (valid_ref[at] > 0) & (slots >= number * block)
        k, v = k_ref[found_at(at)], v_ref[found_at(at)]
        return collect(carry, jnp.where(allowed[None, :], plgpu.dot(q, k.T) * scale, MASKED), v)

    begin, end = jnp.maximum(first, span_ref[0]), jnp.minimum(first + _STEPS, span_ref[1])
    out_ref[...], lse_ref[...] = collected(jax.lax.fori_loop(begin, end, step, nothing(q)))
