"""Building blocks for all families: linear maps, norms, rotation, stacked layers."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from perl_jax.mesh import split_two_axes
from perl_jax.models.policy import Remat

# Cosine and sine ``[..., F]``.
Rotary = tuple[jax.Array, jax.Array]

_initialise = jax.nn.initializers.variance_scaling(1.0, "fan_in", "normal", in_axis=1, out_axis=0)


def _narrow_maps_saveable(primitive: Any, *operands: Any, **parameters: Any) -> bool:
    """Whether this is a linear map that gives no more numbers than it takes.

    Results of wide maps, as an MLP's, are most of what a layer would keep.
    """
    saveable = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    if not saveable(primitive, *operands, **parameters):
        return False
    (_, contracted), _ = parameters["dimension_numbers"]
    weight = operands[1].shape
    into = math.prod(weight[axis] for axis in contracted)
    return math.prod(weight) <= into**2


_REMAT_POLICIES = {
    "activations": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "wide": _narrow_maps_saveable,
    "inputs": jax.checkpoint_policies.nothing_saveable,
    "layers": jax.checkpoint_policies.nothing_saveable,
}


class Linear(nnx.Module):
    """``x Wᵀ + b``. W is (out, in), as checkpoints store it: loading is a copy, not a transpose.

    `perl_jax.models.lora` gives it an adapter, whose output is added.
    """

    # Parameters where there is an adapter.
    lora_A: Any = None
    lora_B: Any = None
    lora_alpha: float = 0.0

    @property
    def lora_scale(self) -> float:
        """The factor of the adapter's output."""
        return self.lora_alpha / self.lora_A[...].shape[-2]

    def __init__(
        self, into: int, out: int, *, bias: bool = True, dtype: jnp.dtype, rngs: nnx.Rngs
    ) -> None:
        self.weight = nnx.Param(_initialise(rngs.params(), (out, into), dtype))
        self.bias = nnx.Param(jnp.zeros((out,), dtype)) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps the last axis; weights are cast to the dtype of ``x``."""
        y = jnp.einsum("...i,oi->...o", x, self.used_weight(x.dtype))
        if self.lora_A is not None:
            low = jnp.einsum("...i,ri->...r", x, self.lora_A[...].astype(x.dtype))
            high = jnp.einsum("...r,or->...o", low, self.lora_B[...].astype(x.dtype))
            y = y + self.lora_scale * high
        if self.bias is None:
            return y
        return y + jnp.broadcast_to(self.bias[...].astype(x.dtype), y.shape)

    def used_weight(self, dtype: jnp.dtype) -> jax.Array:
        """The matrix (out, in) that inputs are multiplied by."""
        return self.weight[...].astype(dtype)

    def whole_weight(self) -> jax.Array:
        """The weight with the adapter merged, which is then float32."""
        weight = self.weight[...]
        if self.lora_A is None:
            return weight
        product = jnp.matmul(self.lora_B[...], self.lora_A[...])
        return weight.astype(jnp.float32) + self.lora_scale * product


class RMSNorm(nnx.Module):
    """Root-mean-square norm in float32; the weight multiplies after the cast back."""

    def __init__(self, width: int, epsilon: float, *, dtype: jnp.dtype) -> None:
        self.weight = nnx.Param(jnp.ones((width,), dtype))
        self.epsilon = epsilon

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises the last axis."""
        wide = x.astype(jnp.float32)
        scale = jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + self.epsilon)
        weight = self.weight[...].astype(x.dtype)
        return (wide * scale).astype(x.dtype) * jnp.broadcast_to(weight, x.shape)


class LayerNorm(nnx.Module):
    """Layer norm with its weight and bias in float32, and one cast at the end."""

    def __init__(self, width: int, epsilon: float, *, dtype: jnp.dtype) -> None:
        self.weight = nnx.Param(jnp.ones((width,), dtype))
        self.bias = nnx.Param(jnp.zeros((width,), dtype))
        self.epsilon = epsilon

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises the last axis."""
        wide = x.astype(jnp.float32)
        wide = wide - jnp.mean(wide, axis=-1, keepdims=True)
        scale = jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + self.epsilon)
        weight, bias = (
            jnp.broadcast_to(part[...].astype(jnp.float32), x.shape)
            for part in (self.weight, self.bias)
        )
        return (wide * scale * weight + bias).astype(x.dtype)


class GatedMLP(nnx.Module):
    """``down(silu(gate(x)) · up(x))``."""

    def __init__(
        self, width: int, hidden: int, *, bias: bool, dtype: jnp.dtype, rngs: nnx.Rngs
    ) -> None:
        self.gate_proj = Linear(width, hidden, bias=bias, dtype=dtype, rngs=rngs)
        self.up_proj = Linear(width, hidden, bias=bias, dtype=dtype, rngs=rngs)
        self.down_proj = Linear(hidden, width, bias=bias, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps the last axis."""
        gate, up = gradient_computed_once((self.gate_proj(x), self.up_proj(x)))
        return self.down_proj(jax.nn.silu(gate) * up)


@jax.custom_vjp
def gradient_computed_once(x: Any) -> Any:
    """The same arrays, whose gradients are complete before a linear map's backward pass reads them.

    XLA for TPUs would compute the gradient of a wide activation within each matrix product that
    takes it, again for every tile: by the compiler's estimate for v5e the four products of an MLP's
    backward pass that do then take 1.3 times as long, one of them 1.6 times.
    """
    return x


gradient_computed_once.defvjp(
    lambda x: (x, None), lambda _, gradient: (jax.lax.optimization_barrier(gradient),)
)


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Rotates ``[..., heads, F]`` by angles ``[..., F]``; element i pairs with i + F/2."""
    first, second = jnp.split(x, 2, axis=-1)
    turned = jnp.concatenate([-second, first], axis=-1)
    cos, sin = (jnp.broadcast_to(a[..., None, :], x.shape) for a in (cos, sin))
    return x * cos + turned * sin


def stack(count: int, rngs: nnx.Rngs, build: Callable[..., nnx.Module]) -> Any:
    """Builds ``count`` equal layers as one module whose parameters have a leading layer axis."""
    build_each = nnx.vmap(lambda rngs: build(rngs=rngs), in_axes=0, out_axes=0)
    return nnx.split_rngs(splits=count)(build_each)(rngs)


def scan_layers(
    layers: nnx.Module,
    apply: Callable[[Any, Any, Any], tuple[Any, Any]],
    carry: Any,
    inputs: Any,
    remat: Remat = "none",
) -> tuple[Any, Any]:
    """Runs layers that `stack` built one after the other in one compiled body.

    ``apply`` is ``(layer, carry, input) -> (carry, output)``; ``inputs`` has a leading layer axis.
    Returns the last carry, and the outputs with a leading layer axis.
    """
    definition, parameters = nnx.split(layers)

    def body(carry: Any, slices: Any) -> tuple[Any, Any]:
        parameters, layer_input = slices
        return apply(nnx.merge(definition, parameters), carry, layer_input)

    if remat != "none":
        body = jax.checkpoint(body, policy=_REMAT_POLICIES[remat], prevent_cse=False)
    return jax.lax.scan(body, carry, (parameters, inputs))


def scan_layers_adding(
    layers: nnx.Module,
    apply: Callable[[Any, jax.Array, Any, Any, Any], Any],
    carry: Any,
    shared: Any,
    context: Any,
    running: Any,
    mesh: Mesh | None = None,
) -> Any:
    """As `scan_layers` with remat ``inputs``, but gradients are added up in place.

    The gradient of ``running`` is ``running`` plus the gradients of the layers' parameters, in its
    own dtype; the parameters get none. Each layer's gradients are added as soon as they are known,
    so no other array of their size exists.

    Args:
        layers: A module that `stack` built.
        apply: ``(layer, number, carry, shared, context) -> carry``; it closes over no array.
        carry: The value passed from layer to layer; the last one is returned.
        shared: Arrays that all layers see, with a gradient: the sum of the layers'.
        context: What all layers see; no gradient flows back into it.
        running: One array per parameter of ``layers``, in the order of its leaves.
        mesh: The devices; what is kept of each layer is split over its tensor axis.
    """
    definition, parameters = nnx.split(layers)

    def body(leaves: Any, number: jax.Array, carry: Any, shared: Any, context: Any) -> Any:
        return apply(nnx.merge(definition, leaves), number, carry, shared, context)

    keep = partial(split_two_axes, mesh=mesh)
    return _scan_adding(body, keep, parameters, running, carry, shared, context)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _scan_adding(
    body: Callable,
    keep: Callable,
    parameters: Any,
    running: Any,
    carry: Any,
    shared: Any,
    context: Any,
) -> Any:
    return _scan_adding_forward(body, keep, parameters, running, carry, shared, context)[0]


def _scan_adding_forward(
    body: Callable,
    keep: Callable,
    parameters: Any,
    running: Any,
    carry: Any,
    shared: Any,
    context: Any,
) -> tuple[Any, Any]:
    def step(carry: Any, of_layer: Any) -> tuple[Any, Any]:
        number, leaves = of_layer
        # Every device of a tensor axis has the whole carry: each keeps a part, and the backward
        # pass gathers them.
        return body(leaves, number, carry, shared, context), keep(carry)

    last, carries = jax.lax.scan(step, carry, (_numbers(running), parameters))
    return last, (parameters, running, carries, shared, context)


def _scan_adding_backward(body: Callable, keep: Callable, residuals: Any, cotangent: Any) -> tuple:
    parameters, running, carries, shared, context = residuals

    def step(state: Any, of_layer: Any) -> tuple[Any, None]:
        cotangent, of_shared, running = state
        number, leaves, carry = of_layer
        _, pull_back = jax.vjp(lambda *moved: body(moved[0], number, *moved[1:], context),
                               leaves, carry, shared)  # fmt: skip
        gradients, cotangent, more = pull_back(cotangent)
        running = [
            jax.lax.dynamic_update_index_in_dim(
                total, total[number] + gradient.astype(total.dtype), number, 0
            )
            for total, gradient in zip(running, jax.tree.leaves(gradients), strict=True)
        ]
        return (cotangent, jax.tree.map(jnp.add, of_shared, more), running), None

    start = (cotangent, jax.tree.map(jnp.zeros_like, shared), running)
    (cotangent, of_shared, running), _ = jax.lax.scan(
        step, start, (_numbers(running), parameters, carries), reverse=True
    )
    return None, running, cotangent, of_shared, None


def _numbers(running: Any) -> jax.Array:
    return jnp.arange(len(running[0]))


_scan_adding.defvjp(_scan_adding_forward, _scan_adding_backward)
