"""Attention to a shared prefix and to own keys, each by a kernel, merged by their log-sum-exps.

With the outputs O1, O2 of the two parts and their log-sum-exps L1, L2, attention to both is
``O = exp(L1 - L) O1 + exp(L2 - L) O2`` with ``L = log(exp(L1) + exp(L2))``. Its gradient is not
taken through this: the backward kernel of each part is given L and O as if it were alone. Its
weights are then those of the joint softmax, and so are their gradients.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from perl_jax.kernels import gpu, tpu
from perl_jax.kernels.parts import Blocks, Bounds, Keys, Run

Platform = Literal["tpu", "gpu"]
_ENGINES: Mapping[Platform, Any] = {"tpu": tpu, "gpu": gpu}


@dataclass(frozen=True)
class Kernel:
    """Which kernel attends, and on which devices.

    Attributes:
        platform: What it is written for.
        interpret: Whether it is interpreted, which any platform can.
        outline: Whether programs for CPUs have a call with its inputs and results in its place,
            which fails when it is run. Plans of GPUs are compiled so. For TPUs there is none.
        least: Rows of fewer queries are left to XLA, and in decoding caches of fewer slots.
        mesh: The devices; None: one.
        batch_axes: The mesh axes that B is split over.
        head_axis: The mesh axis that heads are split over; None: they are whole.
        seen: The share of its own row that a query is expected to see. It changes no result: for
            TPUs, the compiler is told what the kernel costs.
    """

    platform: Platform
    interpret: bool = False
    outline: bool = False
    least: int = 128
    mesh: Mesh | None = None
    batch_axes: tuple[str, ...] = ()
    head_axis: str | None = None
    seen: float = 1.0

    def seeing(self, share: float) -> "Kernel":
        """The same kernel where queries see at most this share of their rows."""
        return replace(self, seen=min(self.seen, share))

    def on(self, mesh: Mesh | None, batch_axes: tuple[str, ...], head_axis: str) -> "Kernel":
        """The same kernel on the devices of a mesh."""
        if mesh is None:
            return self
        return replace(self, mesh=mesh, batch_axes=batch_axes, head_axis=head_axis)

    def takes(self, queries: tuple[int, ...], heads: int) -> bool:
        """Whether it attends for queries ``[B, N, R, H, F]`` with J key/value heads."""
        parts, of_heads = self.split
        return queries[2] >= self.least and queries[0] % parts == 0 and heads % of_heads == 0

    @property
    def run(self) -> Run:
        """How it gets into a program."""
        if self.interpret:
            return "interpreted"
        return "outlined" if self.outline else "compiled"

    @property
    def split(self) -> tuple[int, int]:
        """The numbers of parts of B and of the heads."""
        if self.mesh is None:
            return 1, 1
        of_heads = self.mesh.shape[self.head_axis] if self.head_axis else 1
        return math.prod(self.mesh.shape[axis] for axis in self.batch_axes), of_heads


class Part(NamedTuple):
    """Keys and values ``[B, M, S, J, F]``, valid ``[B, M, S]``, and bounds ``[B, N, R]``."""

    keys: jax.Array
    values: jax.Array
    valid: jax.Array
    bounds: Bounds


def attend(kernel: Kernel, queries: jax.Array, parts: list[Part]) -> jax.Array:
    """Attention of ``[B, N, R, H, F]`` to one or two parts, with one softmax over both.

    A query that is compared with nothing gets a finite value without meaning.
    """
    b, n, r, h, f = queries.shape
    j = parts[0].keys.shape[3]
    engine = _ENGINES[kernel.platform]
    lengths = [part.keys.shape[2] for part in parts]
    block = [engine.blocks_for(r, length, h // j) for length in lengths]
    block[0] = block[0].seen_of(lengths[0], kernel.seen)
    rows = block[0].queries
    q = _padded(queries, 2, rows).reshape(b, n, -1, j, h // j, f).transpose(0, 1, 3, 4, 2, 5)
    keys = tuple(
        Keys(
            jnp.swapaxes(_padded(part.keys, 2, size.keys), 2, 3),
            jnp.swapaxes(_padded(part.values, 2, size.keys), 2, 3),
            _padded(part.valid.astype(jnp.int32), 2, size.keys),
        )
        for part, size in zip(parts, block, strict=True)
    )
    # Added queries are compared with nothing.
    bounds = tuple(
        Bounds(_padded(part.bounds.first, 2, rows), _padded(part.bounds.last, 2, rows, fill=-1))
        for part in parts
    )
    out = _attend(_How(kernel, f**-0.5, tuple(block)), q, keys, bounds)
    return out.transpose(0, 1, 4, 2, 3, 5).reshape(b, n, -1, h, f)[:, :, :r]


def _padded(x: jax.Array, axis: int, multiple: int, fill: int = 0) -> jax.Array:
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, -x.shape[axis] % multiple)
    return jnp.pad(x, widths, constant_values=fill)


@dataclass(frozen=True)
class _How:
    """The kernel, the factor of scores, and the blocks of each part."""

    kernel: Kernel
    scale: float
    blocks: tuple[Blocks, ...]

    def each(self, run: Callable[..., Any], q: jax.Array, *parts: tuple[Any, ...]) -> list[Any]:
        """What an engine's function gives for each part."""
        how = self.kernel.run
        return [
            run(q, keys, bounds, self.scale, blocks, how, *rest)
            for blocks, keys, bounds, *rest in zip(self.blocks, *parts, strict=True)
        ]

    def on_devices(self, run: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a function of arrays, each device on its own part of B and of the heads.

        The compiler cannot split a kernel itself. All results are split along B and heads.
        """
        mesh, batch, heads = self.kernel.mesh, self.kernel.batch_axes, self.kernel.head_axis
        if mesh is None:
            return run(*arguments)

        def split(x: jax.Array) -> PartitionSpec:
            return PartitionSpec(batch or None, None, *([heads] if x.ndim > 3 else []))

        specs = jax.tree.map(split, arguments)
        results = jax.tree.map(split, jax.eval_shape(run, *arguments))
        return jax.shard_map(run, mesh=mesh, in_specs=specs, out_specs=results, check_vma=False)(
            *arguments
        )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(how: _How, q: jax.Array, keys: tuple[Keys, ...], bounds: tuple[Bounds, ...]) -> Any:
    return _attend_forward(how, q, keys, bounds)[0]


def _attend_forward(
    how: _How, q: jax.Array, keys: tuple[Keys, ...], bounds: tuple[Bounds, ...]
) -> tuple[jax.Array, Any]:
    forward = _ENGINES[how.kernel.platform].forward

    def run(q: jax.Array, keys: tuple[Keys, ...], bounds: tuple[Bounds, ...]) -> Any:
        found = how.each(forward, q, keys, bounds)
        if len(found) == 1:
            return found[0]
        lse = jax.nn.logsumexp(jnp.stack([of_part for _, of_part in found]), axis=0)
        joint = sum(out * jnp.exp(of_part - lse)[..., None] for out, of_part in found)
        return joint.astype(q.dtype), lse

    out, lse = how.on_devices(run, q, keys, bounds)
    return out, (q, keys, bounds, out, lse)


def _attend_backward(how: _How, kept: Any, cotangent: jax.Array) -> tuple[Any, Any, Any]:
    backward = _ENGINES[how.kernel.platform].backward

    def run(
        q: jax.Array,
        keys: tuple[Keys, ...],
        bounds: tuple[Bounds, ...],
        out: jax.Array,
        lse: jax.Array,
        cotangent: jax.Array,
    ) -> Any:
        product = jnp.sum(out.astype(jnp.float32) * cotangent.astype(jnp.float32), axis=-1)
        given = ((cotangent, lse, product),) * len(keys)
        of_q, of_k, of_v = zip(*how.each(backward, q, keys, bounds, given), strict=True)
        return sum(of_q[1:], of_q[0]), of_k, of_v

    of_q, of_k, of_v = how.on_devices(run, *kept, cotangent)
    none: Any = None
    of_keys = tuple(Keys(*pair, none) for pair in zip(of_k, of_v, strict=True))
    return of_q, of_keys, None


_attend.defvjp(_attend_forward, _attend_backward)
