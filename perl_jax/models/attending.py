"""Which kernel attends in a policy, checked against XLA on the devices that it will run on."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from perl_jax import hosts
from perl_jax.attention import KeyValues, attend
from perl_jax.kernels import Kernel, Platform, decoding
from perl_jax.kernels.parts import Caches
from perl_jax.models.cache import ResponseCache, of_layer
from perl_jax.models.policy import Policy

logger = logging.getLogger(__name__)

Attention = Literal["auto", "xla"]
# Heads of queries, heads of keys and values, and numbers per head.
Heads = tuple[int, int, int]

_KERNELS: Mapping[str, Platform] = {"tpu": "tpu", "gpu": "gpu"}
# Rows of the check: more than a block of queries and of keys, and no multiple of any.
_PROMPT, _ROWS, _RESPONSE = 600, 2, 200
_IMAGE = 250  # patches; the third one is padding
# Caches of the check: layers, orders, and several blocks of slots and of a prompt's tokens.
_LAYERS, _ORDERS, _SLOTS, _CACHED = 2, 8, 384, 640
# Both round differently, in bfloat16 and in the float32 products of a TPU alike.
_TOLERANCE = 0.03


def choose_kernel(model: Policy, attention: Attention = "auto") -> None:
    """Lets a kernel attend in a policy, where there is one for these devices and it is right."""
    kernel = kernel_for(attention, jax.local_devices()[0].platform)
    if kernel is not None:
        heads = model.config.attention_heads, model.config.image_attention_heads
        model.attend_by(checked(kernel, *heads, model.compute_dtype))


def kernel_for(attention: Attention, platform: str) -> Kernel | None:
    """The kernel for devices of a platform, as `jax.Device.platform` names it; None: XLA."""
    found = _KERNELS.get(platform)
    return None if attention == "xla" or found is None else Kernel(found)


def checked(kernel: Kernel, heads: Heads, of_images: Heads, dtype: DTypeLike) -> Kernel | None:
    """The kernel, if it computes here what XLA does, on all hosts; else None, and a warning.

    Args:
        kernel: To be tried on the first device of each host.
        heads: Query heads, key/value heads, and numbers per head of the text model.
        of_images: The same of the vision tower.
        dtype: Of the queries, keys and values.
    """
    try:
        difference = max(
            _difference(kernel, heads, dtype),
            _image_difference(kernel, of_images, dtype),
            _decoding_difference(kernel, heads, dtype),
        )
        fault = None if difference <= _TOLERANCE else f"it differs from XLA by {difference:.1%}"
    # Whatever a compiler or a device raises, there is another way to attend.
    except Exception as error:
        fault = f"it does not run: {' '.join(str(error).split())[:300]}"
    faults = hosts.gather(fault, "the check of the attention kernel")
    for host, found in enumerate(faults):
        if found is not None:
            logger.warning(
                "attention: the kernel for %s fails its check on host %d (%s): XLA attends "
                "instead, more slowly and with more memory (model.attention=xla asks for this)",
                kernel.platform, host, found,
            )  # fmt: skip
    return kernel if all(found is None for found in faults) else None


def _difference(kernel: Kernel, heads: Heads, dtype: DTypeLike) -> float:
    """The largest difference of values and gradients, as a share of the largest of XLA's."""
    h, j, f = heads
    normal = _normal(dtype)
    own = (normal(1, _ROWS, _RESPONSE, j, f), normal(1, _ROWS, _RESPONSE, j, f))
    prefix = (normal(1, _PROMPT, j, f), normal(1, _PROMPT, j, f))
    queries = normal(1, _ROWS, _RESPONSE, h, f)
    slots = np.broadcast_to(np.arange(_RESPONSE, dtype=np.int32), queries.shape[:3])
    # Two responses in each row; the end of the rows and of the prompt is padding.
    starts = np.where(slots < _RESPONSE // 3, 0, _RESPONSE // 3).astype(np.int32)
    valid, prompt_valid = slots < _RESPONSE - 9, np.arange(_PROMPT)[None] < _PROMPT - 70

    def of(kernel: Kernel | None, queries: jax.Array, own: Any, prefix: Any) -> jax.Array:
        return attend(
            queries,
            KeyValues(own[0], own[1], jnp.asarray(valid)),
            KeyValues(prefix[0], prefix[1], jnp.asarray(prompt_valid)),
            query_slots=jnp.asarray(slots),
            query_starts=jnp.asarray(starts),
            kernel=kernel,
        )

    return _between(kernel, of, normal(*queries.shape), queries, own, prefix)


def _image_difference(kernel: Kernel, heads: Heads, dtype: DTypeLike) -> float:
    """The same of images in one row, each of whose patches sees all of its own."""
    h, j, f = heads
    normal = _normal(dtype)
    shape = (1, 1, _PROMPT)
    queries, own = normal(*shape, h, f), (normal(*shape, j, f), normal(*shape, j, f))
    starts = np.broadcast_to(np.arange(_PROMPT, dtype=np.int32) // _IMAGE * _IMAGE, shape)
    valid = np.broadcast_to(np.arange(_PROMPT) < 2 * _IMAGE, shape)

    def of(kernel: Kernel | None, queries: jax.Array, own: Any) -> jax.Array:
        seen = attend(
            queries,
            KeyValues(own[0], own[1], jnp.asarray(valid)),
            query_slots=jnp.asarray(starts + _IMAGE - 1),
            query_starts=jnp.asarray(starts),
            kernel=kernel,
        )
        # Padding attends to nothing, and gets values without meaning.
        return jnp.where(valid[..., None, None], seen, 0)

    return _between(kernel, of, normal(*queries.shape), queries, own)


def _normal(dtype: DTypeLike) -> Callable[..., jax.Array]:
    rng = np.random.default_rng(0)
    return lambda *shape: jnp.asarray(rng.normal(size=shape), dtype)


def _between(
    kernel: Kernel, of: Callable[..., jax.Array], cotangent: jax.Array, *given: Any
) -> float:
    """The largest difference of values and gradients of a function of a kernel or None."""

    def run(kernel: Kernel | None) -> list[Any]:
        @jax.jit
        def both(cotangent: jax.Array, *arrays: Any) -> Any:
            out, gradients = jax.vjp(partial(of, kernel), *arrays)
            return out, gradients(cotangent)

        return jax.tree.leaves(both(cotangent, *given))

    return _largest(run(kernel), run(None))


def _decoding_difference(kernel: Kernel, heads: Heads, dtype: DTypeLike) -> float:
    """The same of decoding one token, if a kernel does it."""
    h, j, f = heads
    normal = _normal(dtype)
    of_prompts = (_LAYERS, _ORDERS, j, _CACHED, f)
    own = (_LAYERS, _SLOTS, j, _ROWS, _ORDERS, f)
    start, slots = np.arange(_ORDERS)[:, None, None] * 20, np.arange(_SLOTS)
    held = np.broadcast_to((slots >= start) & (slots < 300), (_ORDERS, _ROWS, _SLOTS))
    read = np.arange(_CACHED) < _CACHED - 70 * np.arange(_ORDERS)[:, None]
    caches = Caches(
        normal(*of_prompts), normal(*of_prompts), jnp.asarray(read),
        normal(*own), normal(*own), jnp.asarray(held),
    )  # fmt: skip
    if not decoding.takes(kernel, caches):
        return 0.0
    queries = normal(_ORDERS, _ROWS, h, f)

    def by_xla(queries: jax.Array, caches: Caches, layer: jax.Array) -> jax.Array:
        responses = ResponseCache(caches.keys, caches.values).read(layer, caches.valid)
        keys, values = caches.prompt_keys[layer], caches.prompt_values[layer]
        prompts = of_layer(keys, values, caches.prompt_valid)
        return attend(queries[:, :, None], responses, prompts)[:, :, 0]

    ways = (partial(decoding.attend, kernel), by_xla)
    got, want = (jax.jit(way)(queries, caches, jnp.int32(_LAYERS - 1)) for way in ways)
    return _largest([got], [want])


def _largest(got: Sequence[Any], want: Sequence[Any]) -> float:
    """The largest difference of arrays, each as a share of its largest number; NaN is infinite."""
    pairs = [
        [np.asarray(part, np.float32) for part in pair] for pair in zip(got, want, strict=True)
    ]
    shares = [np.abs(one - other).max() / np.abs(other).max() for one, other in pairs]
    return float(np.max(np.where(np.isnan(shares), np.inf, shares)))
