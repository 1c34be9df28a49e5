"""The compiled programs of the sampler: pure functions of the model's parameters and arrays.

Each is compiled once for every combination of the padded sizes of its arrays.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, PartitionSpec

from perl_jax.mesh import fit_sharding, split_first_axis, whole
from perl_jax.models.qwen2_5_vl.cache import PromptCache, ResponseCache
from perl_jax.models.qwen2_5_vl.config import TextConfig
from perl_jax.models.qwen2_5_vl.inputs import Array, ImageInputs, PromptInputs
from perl_jax.rollout.strategies import StrategyParameters, draw

# Orders are split over everything that is not split within a layer.
_ORDERS = ("data", "fsdp")
_OF_PREFIX = PartitionSpec(None, _ORDERS, "tensor", None, None)
_OF_CACHE = PartitionSpec(None, None, "tensor", None, _ORDERS, None)


class DecodeState(NamedTuple):
    """What stays on the device between calls, for O orders of N rollouts each.

    Attributes:
        prefix: The orders' prompts.
        cache: The rollouts' own tokens, S slots. All rollouts write the same slot at a step:
            slots are time, and a rollout owns those from its start on.
        tokens: int32 ``[O, N]``, drawn but not yet read.
        seen: bool ``[O, N, V]``, tokens of prompt and response, or None if nothing asks.
    """

    prefix: PromptCache
    cache: ResponseCache
    tokens: jax.Array
    seen: jax.Array | None


class Rows(NamedTuple):
    """What the host says about every rollout when it calls.

    Attributes:
        start: int32 ``[O]``, the slot of the order's first response token.
        position: int32 ``[O]``, the position of that token.
        streams: uint32 ``[O, N, 2]``, the rollouts' key data.
        done: bool ``[O, N]``.
    """

    start: Array
    position: Array
    streams: Array
    done: Array


class Drawing(NamedTuple):
    """How tokens are drawn and when responses end.

    Attributes:
        parameters: Of the strategy.
        banned: bool ``[V]``.
        stops: int32 ``[E]``, the tokens that end a response.
        limit: int32, the most tokens of a response.
    """

    parameters: StrategyParameters
    banned: Array
    stops: Array
    limit: Array


@partial(jax.jit, static_argnums=(0, 1))
def encode(definition: Any, mesh: Mesh | None, parameters: Any, images: ImageInputs) -> jax.Array:
    """Features ``[S, M, D]`` of the packed images of S shards."""
    return nnx.merge(definition, parameters).encode_shards(images, mesh=mesh)


@partial(jax.jit, static_argnums=(0, 1, 2))
def join_features(
    mesh: Mesh | None,
    sizes: tuple[int, int, int],
    dtype: jnp.dtype,
    tables: Sequence[jax.Array],
) -> jax.Array:
    """The features ``[S, M, D]`` of several calls, one after the other and padded.

    Args:
        mesh: The devices.
        sizes: (S, M, D) of the result.
        dtype: Of the result.
        tables: ``[S, m, D]`` each; none where there are no images.
    """
    rows = sum(table.shape[1] for table in tables)
    padding = jnp.zeros((sizes[0], sizes[1] - rows, sizes[2]), dtype)
    return split_first_axis(jnp.concatenate([*tables, padding], axis=1), mesh)


@partial(jax.jit, static_argnums=(0, 1))
def prefill(
    definition: Any,
    mesh: Mesh | None,
    parameters: Any,
    features: jax.Array,
    prompts: PromptInputs,
) -> tuple[jax.Array, PromptCache]:
    """Reads P prompts; returns the logits ``[P, V]`` of their next tokens, and their cache.

    Args:
        definition: Of the model.
        mesh: The devices.
        parameters: Of the model.
        features: ``[S, M, D]``, of all shards: a prompt shows row m of shard s as s * M + m.
        prompts: What is read.
    """
    model = nnx.merge(definition, parameters)
    table = features.reshape(1, -1, features.shape[-1])
    embeddings = model.embed(prompts.tokens, table, prompts.feature_rows)
    embeddings = _fix(embeddings, mesh, _ORDERS, None, None)
    hidden, prefix = model.read_prompts(embeddings, prompts.positions, prompts.valid, mesh)
    last = jnp.sum(prompts.valid, axis=-1) - 1
    hidden = jnp.take_along_axis(hidden, jnp.maximum(last, 0)[:, None, None], axis=1)
    return model.unembed(hidden[:, 0]), prefix


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def admit(
    ranked: bool,
    mesh: Mesh | None,
    state: DecodeState,
    logits: jax.Array,
    prefix: PromptCache,
    slots: jax.Array,
    streams: jax.Array,
    prompt_tokens: jax.Array,
    drawing: Drawing,
) -> tuple[DecodeState, jax.Array, jax.Array]:
    """Puts P prefilled orders into the state and draws the first token of each rollout.

    Args:
        ranked: `Strategy.ranked`.
        mesh: The devices of the state.
        state: Donated.
        logits: float32 ``[P, V]``, shared by the rollouts of an order.
        prefix: Of the P orders.
        slots: int32 ``[P]``, where each order goes; O, which is nowhere, for padding.
        streams: uint32 ``[P, N, 2]``.
        prompt_tokens: int32 ``[P, T]``, for the repetition penalty.
        drawing: How to draw.

    Returns:
        The state, the tokens and their log-probabilities ``[P, N]``.
    """
    count, n = streams.shape[:2]
    logits = jnp.broadcast_to(logits[:, None], (count, n, logits.shape[-1]))
    seen = all_seen = None
    if state.seen is not None:
        in_prompt = jnp.zeros((count, logits.shape[-1]), bool)
        rows = jnp.arange(count)[:, None]
        in_prompt = in_prompt.at[rows, prompt_tokens].max(prefix.valid)
        seen = jnp.broadcast_to(in_prompt[:, None], logits.shape)
    index = jnp.zeros((count, n), jnp.int32)
    tokens, logprobs = _draw(ranked, logits, streams, index, drawing, seen)
    if state.seen is not None and seen is not None:
        all_seen = state.seen.at[slots].set(_mark(seen, tokens), mode="drop")
    state = DecodeState(
        prefix=_put(mesh, state.prefix, prefix, slots),
        cache=state.cache,
        tokens=state.tokens.at[slots].set(tokens, mode="drop"),
        seen=all_seen,
    )
    # Every host reads them.
    return constrain(state, mesh), whole(tokens, mesh), whole(logprobs, mesh)


def _put(mesh: Mesh | None, prefix: PromptCache, new: PromptCache, slots: jax.Array) -> PromptCache:
    """Writes the caches of some orders over those in their slots."""

    def of_layer(number: jax.Array, parts: Any) -> Any:
        def put(old: jax.Array, new: jax.Array) -> jax.Array:
            # Every device may need any of them.
            layer = _fix(new[number], mesh, None, *_OF_PREFIX[2:])
            return _fix(old.at[number, slots].set(layer, mode="drop"), mesh, *_OF_PREFIX)

        return [put(*pair) for pair in zip(parts, (new.keys, new.values), strict=True)]

    # Layer by layer, so that no device ever holds all that was read.
    parts = [prefix.keys, prefix.values]
    keys, values = jax.lax.fori_loop(0, len(prefix.keys), of_layer, parts)
    return PromptCache(keys, values, prefix.valid.at[slots].set(new.valid, mode="drop"))


@partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=5)
def decode(
    definition: Any,
    ranked: bool,
    mesh: Mesh | None,
    steps: int,
    parameters: Any,
    state: DecodeState,
    time: jax.Array,
    rows: Rows,
    drawing: Drawing,
) -> tuple[DecodeState, jax.Array, jax.Array, jax.Array]:
    """Draws up to ``steps`` tokens for every rollout, and ends early when all are done.

    Args:
        definition: Of the model.
        ranked: `Strategy.ranked`.
        mesh: The devices of the state.
        steps: C.
        parameters: Of the model.
        state: Donated.
        time: int32, the slot that the first step writes.
        rows: What the host says about every rollout.
        drawing: How to draw and when to end.

    Returns:
        The state; tokens and log-probabilities ``[O, N, C]``, of rollouts that are done too; the
        number of steps taken.
    """
    model = nnx.merge(definition, parameters)
    shape = (*state.tokens.shape, steps)
    slots = jnp.arange(state.cache.keys.shape[1])

    def step(carry: Any) -> Any:
        number, state, done, tokens, logprobs = carry
        now = time + number
        index = jnp.broadcast_to((now - rows.start)[:, None], done.shape)
        owned = (slots[None, :] >= rows.start[:, None]) & (slots <= now)[None, :]
        hidden, cache = model.decode(
            state.tokens,
            index + rows.position[:, None],
            jnp.broadcast_to(owned[:, None], (*done.shape, len(slots))),
            state.prefix,
            state.cache,
            now,
        )
        logits = model.unembed(hidden)
        drawn, logprob = _draw(ranked, logits, rows.streams, index + 1, drawing, state.seen)
        seen = None if state.seen is None else _mark(state.seen, drawn)
        state = constrain(DecodeState(state.prefix, cache, drawn, seen), mesh)
        done |= jnp.isin(drawn, drawing.stops) | (index + 2 >= drawing.limit)
        tokens = jax.lax.dynamic_update_index_in_dim(tokens, drawn, number, axis=2)
        logprobs = jax.lax.dynamic_update_index_in_dim(logprobs, logprob, number, axis=2)
        return number + 1, state, done, tokens, logprobs

    empty = (jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.float32))
    carry = (jnp.int32(0), state, jnp.asarray(rows.done), *empty)
    number, state, _, tokens, logprobs = jax.lax.while_loop(
        lambda carry: (carry[0] < steps) & ~jnp.all(carry[2]), step, carry
    )
    return state, whole(tokens, mesh), whole(logprobs, mesh), number


@partial(jax.jit, static_argnums=0)
def compact(
    mesh: Mesh | None, state: DecodeState, orders: jax.Array, rollouts: jax.Array
) -> DecodeState:
    """Keeps some orders, each on the device where it is, and some of their rollouts.

    Args:
        mesh: The devices of the state.
        state: The old state.
        orders: int32 ``[O']``, the old places of the orders kept, counted within their shard.
        rollouts: int32 ``[O', N']``, of the old rollouts of each order kept.
    """
    if mesh is None:
        return _compact(state, orders, rollouts)
    specs = jax.tree.map(lambda sharding: sharding.spec, shardings(state, mesh))
    # Left to itself the compiler gathers all caches on every device.
    local = jax.shard_map(
        _compact,
        mesh=mesh,
        in_specs=(specs, PartitionSpec(_ORDERS), PartitionSpec(_ORDERS, None)),
        out_specs=specs,
    )
    return local(state, orders, rollouts)


def _compact(state: DecodeState, orders: jax.Array, rollouts: jax.Array) -> DecodeState:
    rows = orders[:, None]

    def of_layer(layer: Any) -> Any:
        prefix, own = layer
        return [part[orders] for part in prefix], [part[:, :, rollouts.T, rows.T] for part in own]

    # Layer by layer: beside the old caches and the new ones there is nothing of their size.
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
    """Copies the slots from ``shift`` on to a cache of another number of slots."""
    empty = [jnp.zeros((part.shape[0], num_slots, *part.shape[2:]), part.dtype) for part in cache]
    return _move_slots(mesh, cache, ResponseCache(*empty), shift)


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def drop_slots(mesh: Mesh | None, cache: ResponseCache, shift: jax.Array) -> ResponseCache:
    """Moves the slots from ``shift`` on to the front of a cache, which is donated."""
    return _move_slots(mesh, None, cache, shift)


def _move_slots(
    mesh: Mesh | None, source: ResponseCache | None, target: ResponseCache, shift: jax.Array
) -> ResponseCache:
    """Writes slots of the source, or of the target itself, over those of the target."""

    def of_layer(number: jax.Array, target: ResponseCache) -> ResponseCache:
        def moved(old: jax.Array, new: jax.Array) -> jax.Array:
            num_slots = new.shape[1]
            padded = jnp.pad(old[number], [(0, num_slots)] + [(0, 0)] * (old.ndim - 2))
            layer = jax.lax.dynamic_slice_in_dim(padded, shift, num_slots)
            new = jax.lax.dynamic_update_index_in_dim(new, layer, number, axis=0)
            return _fix(new, mesh, *_OF_CACHE)

        return jax.tree.map(moved, source or target, target)

    # Layer by layer, so that no second cache is made where slots move within one.
    return jax.lax.fori_loop(0, target.keys.shape[0], of_layer, target)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def empty_state(
    config: TextConfig,
    dtype: jnp.dtype,
    mesh: Mesh | None,
    sizes: tuple[int, int, int, int],
    penalises: bool,
) -> DecodeState:
    """A state without orders, of sizes (O, N, T, S)."""
    orders, rollouts, length, slots = sizes
    seen = jnp.zeros((orders, rollouts, config.vocab_size), bool) if penalises else None
    state = DecodeState(
        prefix=PromptCache.empty(config, orders, length, dtype),
        cache=ResponseCache.empty(config, orders, rollouts, slots, dtype),
        tokens=jnp.zeros((orders, rollouts), jnp.int32),
        seen=seen,
    )
    return constrain(state, mesh)


def shardings(state: DecodeState, mesh: Mesh) -> Any:
    """How the arrays of a state lie on a mesh: orders are split, and heads over the tensor axis."""
    of_row = PartitionSpec(_ORDERS, None)
    specs = (
        *(_OF_PREFIX, _OF_PREFIX, of_row),
        *(_OF_CACHE, _OF_CACHE),
        of_row,
        PartitionSpec(_ORDERS, None, None),
    )
    leaves, structure = jax.tree.flatten(state)
    # What was seen comes last, and may not be there.
    of_leaves = zip(leaves, specs, strict=False)
    fitted = [fit_sharding(leaf.shape, spec, mesh) for leaf, spec in of_leaves]
    return jax.tree.unflatten(structure, fitted)


def constrain(state: DecodeState, mesh: Mesh | None) -> DecodeState:
    """Fixes how the state lies on the mesh."""
    if mesh is None:
        return state
    fixed: DecodeState = jax.lax.with_sharding_constraint(state, shardings(state, mesh))
    return fixed


def _fix(x: jax.Array, mesh: Mesh | None, *spec: Any) -> jax.Array:
    if mesh is None:
        return x
    return jax.lax.with_sharding_constraint(x, fit_sharding(x.shape, PartitionSpec(*spec), mesh))


def _draw(
    ranked: bool,
    logits: jax.Array,
    streams: Array,
    index: jax.Array,
    drawing: Drawing,
    seen: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """Draws token number ``index`` of each rollout from the rollout's own stream."""
    keys = jax.vmap(jax.vmap(jax.random.fold_in))(
        jax.random.wrap_key_data(jnp.asarray(streams)), index
    )
    return draw(logits, keys, drawing.parameters, ranked=ranked, banned=drawing.banned, seen=seen)


def _mark(seen: jax.Array, tokens: jax.Array) -> jax.Array:
    """Adds a token of each rollout to those seen."""
    orders, rollouts = (jnp.arange(size) for size in tokens.shape)
    return seen.at[orders[:, None], rollouts[None, :], tokens].set(True)
