"""The sampler's state on the devices: its layout, and how it is moved."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from perl_jax.mesh import SHARD_AXES, fit_sharding
from perl_jax.models import PolicyConfig
from perl_jax.models.cache import Cache, CacheOfRows, PromptCache, ResponseCache

_OF_ROW = PartitionSpec(SHARD_AXES, None)
_OF_PREFIX = PartitionSpec(None, SHARD_AXES, "tensor", None, None)
_OF_CACHE = PartitionSpec(None, None, "tensor", None, SHARD_AXES, None)
_OF_CACHE_OF_ROWS = PartitionSpec(None, SHARD_AXES, "tensor", None, None, None)


class DecodeState(NamedTuple):
    """The state between calls, for O orders of N rollouts each.

    Attributes:
        prefix: The prompts.
        cache: The responses, S slots. A step writes the same slot for all rollouts; a rollout owns
            the slots from its start on.
        tokens: int32 ``[O, N]``, drawn but not yet read.
        seen: bool ``[O, N, V]``, the tokens of prompt and response; None without a penalty.
    """

    prefix: PromptCache
    cache: Cache
    tokens: jax.Array
    seen: jax.Array | None


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def empty_state(
    config: PolicyConfig,
    dtype: jnp.dtype,
    mesh: Mesh | None,
    sizes: tuple[int, int, int, int],
    penalises: bool,
) -> DecodeState:
    """A state without orders, of sizes (O, N, T, S); T is the padded prompt length."""
    orders, rollouts, length, slots = sizes
    state = DecodeState(
        prefix=PromptCache.empty(config.cache_sizes, orders, length, dtype),
        cache=ResponseCache.empty(config.cache_sizes, orders, rollouts, slots, dtype),
        tokens=jnp.zeros((orders, rollouts), jnp.int32),
        seen=jnp.zeros((orders, rollouts, config.vocab_size), bool) if penalises else None,
    )
    return constrain(state, mesh)


def shardings(state: DecodeState, mesh: Mesh) -> Any:
    """The shardings of a state: orders are split as a batch is, heads over the tensor axis."""
    of_seen = PartitionSpec(SHARD_AXES, None, None)
    of_cache = _OF_CACHE_OF_ROWS if isinstance(state.cache, CacheOfRows) else _OF_CACHE
    specs = (_OF_PREFIX, _OF_PREFIX, _OF_ROW, of_cache, of_cache, _OF_ROW, of_seen)
    leaves, structure = jax.tree.flatten(state)
    # `seen` comes last and may be absent.
    pairs = zip(leaves, specs, strict=False)
    fitted = [fit_sharding(leaf.shape, spec, mesh) for leaf, spec in pairs]
    return jax.tree.unflatten(structure, fitted)


def constrain(state: DecodeState, mesh: Mesh | None) -> DecodeState:
    """Constrains the state in a program to its `shardings`."""
    if mesh is None:
        return state
    fixed: DecodeState = jax.lax.with_sharding_constraint(state, shardings(state, mesh))
    return fixed


def put_prompts(
    mesh: Mesh | None, prefix: PromptCache, new: PromptCache, slots: jax.Array
) -> PromptCache:
    """Writes the caches of new orders into their slots; they may have fewer tokens."""
    length = new.keys.shape[3]

    def of_layer(number: jax.Array, parts: Any) -> Any:
        def put(old: jax.Array, new: jax.Array) -> jax.Array:
            # Any device may need any order.
            layer = _fix(new[number], mesh, PartitionSpec(None, *_OF_PREFIX[2:]))
            # What lies beyond is not valid.
            written = old.at[number, slots, :, :length].set(layer, mode="drop")
            return _fix(written, mesh, _OF_PREFIX)

        return [put(*pair) for pair in zip(parts, (new.keys, new.values), strict=True)]

    # Layer by layer, so that no device holds all new caches at once.
    parts = [prefix.keys, prefix.values]
    keys, values = jax.lax.fori_loop(0, len(prefix.keys), of_layer, parts)
    valid = jnp.pad(new.valid, [(0, 0), (0, prefix.valid.shape[1] - length)])
    return PromptCache(keys, values, prefix.valid.at[slots].set(valid, mode="drop"))


@partial(jax.jit, static_argnums=(0, 1))
def lengthen(mesh: Mesh | None, length: int, prefix: PromptCache) -> PromptCache:
    """Copies prompts into a cache that holds ``length`` tokens of each."""
    more = length - prefix.keys.shape[3]

    def longer(part: jax.Array) -> jax.Array:
        padded = jnp.pad(part, [(0, 0)] * 3 + [(0, more), (0, 0)])
        return _fix(padded, mesh, _OF_PREFIX)

    valid = _fix(jnp.pad(prefix.valid, [(0, 0), (0, more)]), mesh, _OF_ROW)
    return PromptCache(longer(prefix.keys), longer(prefix.values), valid)


@partial(jax.jit, static_argnums=0)
def compact(
    mesh: Mesh | None, state: DecodeState, orders: jax.Array, rollouts: jax.Array
) -> DecodeState:
    """Moves some orders, each on its device, and some of their rollouts to a state of another size.

    ``orders``, int32 ``[O']``, are the old places of the kept orders within their shards, and
    ``rollouts``, int32 ``[O', N']``, the old columns of their kept rollouts.
    """
    if mesh is None:
        return _compact(state, orders, rollouts)
    specs = jax.tree.map(lambda sharding: sharding.spec, shardings(state, mesh))
    # Without shard_map the compiler gathers all caches on every device.
    local = jax.shard_map(
        _compact, mesh=mesh, in_specs=(specs, PartitionSpec(SHARD_AXES), _OF_ROW), out_specs=specs
    )
    return local(state, orders, rollouts)


def _compact(state: DecodeState, orders: jax.Array, rollouts: jax.Array) -> DecodeState:
    rows = orders[:, None]

    def of_layer(layer: Any) -> Any:
        prefix, own = layer
        return [part[orders] for part in prefix], [part[:, :, rollouts.T, rows.T] for part in own]

    # Layer by layer, so that no temporary is as large as the caches.
    layers = ([state.prefix.keys, state.prefix.values], list(state.cache))
    (keys, values), own = jax.lax.map(of_layer, layers)
    return DecodeState(
        prefix=PromptCache(keys, values, state.prefix.valid[orders]),
        cache=ResponseCache(*own),
        tokens=state.tokens[rows, rollouts],
        seen=None if state.seen is None else state.seen[rows, rollouts],
    )


@partial(jax.jit, static_argnums=(0, 1))
def resize(
    mesh: Mesh | None, num_slots: int, cache: ResponseCache, shift: jax.Array
) -> ResponseCache:
    """Copies the slots from ``shift`` on into a cache with ``num_slots`` slots."""
    empty = [jnp.zeros((part.shape[0], num_slots, *part.shape[2:]), part.dtype) for part in cache]
    return _move_slots(mesh, cache, ResponseCache(*empty), shift)


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def drop_slots(mesh: Mesh | None, cache: ResponseCache, shift: jax.Array) -> ResponseCache:
    """Moves the slots from ``shift`` on to the front of a cache, in place."""
    return _move_slots(mesh, None, cache, shift)


def _move_slots(
    mesh: Mesh | None, source: ResponseCache | None, target: ResponseCache, shift: jax.Array
) -> ResponseCache:
    """Writes slots of the source, or of the target itself, to the front of the target."""

    def of_layer(number: jax.Array, target: ResponseCache) -> ResponseCache:
        def moved(old: jax.Array, new: jax.Array) -> jax.Array:
            num_slots = new.shape[1]
            padded = jnp.pad(old[number], [(0, num_slots)] + [(0, 0)] * (old.ndim - 2))
            layer = jax.lax.dynamic_slice_in_dim(padded, shift, num_slots)
            new = jax.lax.dynamic_update_index_in_dim(new, layer, number, axis=0)
            return _fix(new, mesh, _OF_CACHE)

        return jax.tree.map(moved, target if source is None else source, target)

    # Layer by layer, so that moving slots within a cache makes no second one.
    return jax.lax.fori_loop(0, target.keys.shape[0], of_layer, target)


def _fix(x: jax.Array, mesh: Mesh | None, spec: PartitionSpec) -> jax.Array:
    if mesh is None:
        return x
    return jax.lax.with_sharding_constraint(x, fit_sharding(x.shape, spec, mesh))
