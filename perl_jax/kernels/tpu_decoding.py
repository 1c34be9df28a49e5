"""Attention of one new token of every response to the caches, read where they lie, on TPUs.

Both kernels are given all layers of a cache and the number of one: nothing of a cache is cut out,
reordered or copied first. That of a prompt is read once for all of its responses.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from perl_jax.kernels.parts import LANES, LAST, MASKED, NOTHING, Caches, Run, dot

_MAX_SLOTS = 256
_MAX_ORDERS = 16


def takes(caches: Caches, orders: int) -> bool:
    """Whether it takes caches of these sizes, with so many orders on a device."""
    del caches
    return orders_of(orders) is not None


def merge(
    of_prompts: jax.Array, prompt_lse: jax.Array, own: jax.Array, own_lse: jax.Array
) -> jax.Array:
    """What `attend_to_prompts` and `attend_to_responses` give, joined: ``[B, N, J, G, F]``."""
    j, n, b, g, f = own.shape
    of_prompts = of_prompts.reshape(b, j, n, g, f).swapaxes(1, 2)
    prompt_lse = prompt_lse.reshape(b, j, n, g).swapaxes(1, 2)
    own, own_lse = own.transpose(2, 1, 0, 3, 4), own_lse.transpose(2, 1, 0, 3)
    share = jax.nn.sigmoid(prompt_lse - own_lse)[..., None]
    return share * of_prompts + (1 - share) * own


def block_of(length: int) -> int:
    """The size of blocks of slots, or of a prompt's tokens, of which the last may be cut off."""
    return min(length, _MAX_SLOTS)


def _padded(valid: jax.Array, size: int) -> jax.Array:
    """Nothing is valid beyond the last token: there a cut block holds anything."""
    return jnp.pad(valid, (*[(0, 0)] * (valid.ndim - 1), (0, size - valid.shape[-1])))


def _values_of(values: jax.Array, step: Any, length: int) -> jax.Array:
    """A block of values, zero beyond their end: what lies there a weight of 0 may not make 0."""
    block = len(values)
    if not length % block:
        return values
    places = step * block + jax.lax.broadcasted_iota(jnp.int32, values.shape, 0)
    return jnp.where(places < length, values, jnp.zeros_like(values))


def attend_to_prompts(
    q: jax.Array, keys: jax.Array, values: jax.Array, valid: jax.Array, layer: jax.Array, run: Run
) -> tuple[jax.Array, jax.Array]:
    """What the responses to a prompt attend to in it, and the log-sum-exp, float32 ``[B, J, X]``.

    ``q`` are ``[B, J, X, F]``, X of them for each prompt and key/value head; keys and values
    ``[L, B, J, T, F]``; ``valid``, int32 ``[B, T]``.
    """
    b, j, x, f = q.shape
    t = keys.shape[3]
    block = block_of(t)
    steps = -(-t // block)
    valid = _padded(valid, steps * block)
    # Blocks after the last token are not read.
    last = jnp.max(jnp.where(valid > 0, jnp.arange(steps * block)[None], 0), axis=1) // block
    of_q = pl.BlockSpec((None, None, x, f), lambda b, j, step, *_: (b, j, 0, 0))
    of_k = pl.BlockSpec(
        (None, None, None, block, f),
        lambda b, j, step, layer, last: (layer[0], b, j, jnp.minimum(step, last[b]), 0),
    )
    of_valid = pl.BlockSpec(
        (None, 1, block), lambda b, j, step, layer, last: (b, 0, jnp.minimum(step, last[b]))
    )
    number = pl.BlockSpec((None, None, x, LANES), lambda b, j, step, *_: (b, j, 0, 0))

    def body(layer: Any, last: Any, q: Any, k: Any, v: Any, valid: Any, *refs: Any) -> None:
        step = pl.program_id(2)
        needed = step <= last[pl.program_id(0)]
        _collect(
            (step == 0, needed, step == steps - 1), [None], f**-0.5,
            lambda _: (q[...], k[...], _values_of(v[...], step, t), valid[...]), refs,
        )  # fmt: skip

    return _call(
        body, (b, j, steps), (layer[None], last.astype(jnp.int32)),
        (q, keys, values, valid[:, None]),
        [of_q, of_k, of_k, of_valid, number], _scratch(1, x, f), run,
    )  # fmt: skip


def attend_to_responses(
    q: jax.Array, keys: jax.Array, values: jax.Array, valid: jax.Array, layer: jax.Array, run: Run
) -> tuple[jax.Array, jax.Array]:
    """What responses attend to in themselves, and the log-sum-exp, float32 ``[J, N, B, G]``.

    ``q`` are ``[J, N, B, G, F]``; keys and values ``[L, S, J, N, B, F]``; ``valid``, int32
    ``[N, B, S]``.
    """
    j, n, b, g, f = q.shape
    s = keys.shape[1]
    block, orders = block_of(s), orders_of(b)
    assert orders is not None
    steps = -(-s // block)
    valid = _padded(valid, steps * block)
    slots = jnp.arange(steps * block)[None, None]
    of_block = (n, b // orders, orders * steps * block)
    first = jnp.min(jnp.where(valid > 0, slots, s - 1).reshape(of_block), axis=2) // block
    last = jnp.max(jnp.where(valid > 0, slots, 0).reshape(of_block), axis=2) // block
    spans = (first.reshape(-1).astype(jnp.int32), last.reshape(-1).astype(jnp.int32))

    def held(n: Any, i: Any, step: Any, first: Any, last: Any) -> Any:
        at = n * (b // orders) + i
        return jnp.minimum(jnp.maximum(step, first[at]), last[at])

    of_q = pl.BlockSpec((None, None, orders, g, f), lambda j, n, i, step, *_: (j, n, i, 0, 0))
    of_k = pl.BlockSpec(
        (None, block, None, None, orders, f),
        lambda j, n, i, step, layer, *spans: (layer[0], held(n, i, step, *spans), j, n, i, 0),
    )
    of_valid = pl.BlockSpec(
        (None, orders, block), lambda j, n, i, step, _, *spans: (n, i, held(n, i, step, *spans))
    )
    number = pl.BlockSpec((None, None, orders, g, LANES), lambda j, n, i, *_: (j, n, i, 0, 0))

    def body(
        layer: Any, first: Any, last: Any, q: Any, k: Any, v: Any, valid: Any, *refs: Any
    ) -> None:
        step = pl.program_id(3)
        at = pl.program_id(1) * (b // orders) + pl.program_id(2)
        needed = (step >= first[at]) & (step <= last[at])
        _collect(
            (step == 0, needed, step == steps - 1), range(orders), f**-0.5,
            lambda o: (q[o], k[:, o, :], _values_of(v[:, o, :], step, s), valid[o : o + 1]), refs,
        )  # fmt: skip

    return _call(
        body, (j, n, b // orders, steps), (layer[None], *spans), (q, keys, values, valid),
        [of_q, of_k, of_k, of_valid, number], _scratch(orders, g, f), run,
    )  # fmt: skip


def orders_of(count: int) -> int | None:
    """How many orders a block has; None: there is no suitable number."""
    return count if count <= _MAX_ORDERS else next((x for x in (16, 8) if count % x == 0), None)


def _call(
    body: Any, grid: tuple[int, ...], scalars: Sequence[jax.Array], arrays: Sequence[jax.Array],
    specs: list[Any], scratch: list[Any], run: Run,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """Runs a kernel that collects for each query what is attended and the log-sum-exp."""
    queries = arrays[0].shape
    *inputs, number = specs
    out, lse = pl.pallas_call(
        body,
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=len(scalars),
            grid=grid,
            in_specs=inputs,
            out_specs=[inputs[0], number],
            scratch_shapes=scratch,
        ),
        out_shape=[
            jax.ShapeDtypeStruct(queries, jnp.float32),
            jax.ShapeDtypeStruct((*queries[:-1], LANES), jnp.float32),
        ],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=(*(pltpu.PARALLEL,) * (len(grid) - 1), pltpu.ARBITRARY)
        ),
        name="attention_decode",
        interpret=run == "interpreted",
    )(*scalars, *arrays)
    return out, lse[..., 0]


def _scratch(count: int, rows: int, width: int) -> list[Any]:
    return [pltpu.VMEM((count, rows, size), jnp.float32) for size in (LANES, LANES, width)]


def _collect(when: Any, numbers: Any, scale: float, read: Any, refs: Any) -> None:
    """One step of a softmax over blocks of keys, for each of several sets of queries and keys."""
    out, lse, most, total, acc = refs
    first, needed, last = when

    @pl.when(first)
    def _() -> None:
        most[...] = jnp.full_like(most, NOTHING)
        total[...] = jnp.zeros_like(total)
        acc[...] = jnp.zeros_like(acc)

    @pl.when(needed)
    def _() -> None:
        for place, number in enumerate(numbers):
            q, k, v, valid = read(number)
            scores = jnp.where(valid > 0, dot(q, k, LAST) * scale, MASKED)
            before = most[place][:, :1]
            highest = jnp.maximum(before, jnp.max(scores, axis=1, keepdims=True))
            weights, shrink = jnp.exp(scores - highest), jnp.exp(before - highest)
            sums = shrink * total[place][:, :1] + jnp.sum(weights, axis=1, keepdims=True)
            most[place] = jnp.broadcast_to(highest, most.shape[1:])
            total[place] = jnp.broadcast_to(sums, total.shape[1:])
            acc[place] = shrink * acc[place] + dot(weights.astype(v.dtype), v)

    @pl.when(last)
    def _() -> None:
        for place, number in enumerate(numbers):
            some = jnp.maximum(total[place], 1e-30)
            at = slice(None) if number is None else number
            out[at] = acc[place] / some[:, :1]
            lse[at] = jnp.where(total[place] > 0, most[place] + jnp.log(some), NOTHING)
