"""The sampler's compiled programs: pure functions, compiled once for each combination of shapes."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from perl_jax.mesh import split_first_axis, whole
from perl_jax.models import Policy
from perl_jax.models.cache import PromptCache
from perl_jax.models.policy import Array, ImageInputs, PromptInputs
from perl_jax.rollout.decode_state import DecodeState, constrain, put_prompts
from perl_jax.rollout.strategies import StrategyParameters, draw

# So many rollouts, or fewer, are few for a CPU.
_FEW_ROLLOUTS = 32

# A policy apart from its parameters.
Definition = nnx.GraphDef[Policy]


class Rows(NamedTuple):
    """The host's bookkeeping of all rollouts.

    Attributes:
        start: int32 ``[O]``, the slot of the first response token.
        position: int32 ``[O]``, the position of that token.
        names: uint32 ``[O, N, 3]``, of the rollouts' streams.
        done: bool ``[O, N]``, whole on every device.
    """

    start: Array
    position: Array
    names: Array
    done: Array


class Drawing(NamedTuple):
    """How tokens are drawn and when responses end.

    Attributes:
        parameters: The strategy's numbers.
        banned: bool ``[V]``, tokens that are never drawn.
        stops: int32 ``[E]``, the tokens that end a response.
        limit: int32, the most tokens of a response.
        key: uint32 ``[2]``, key data.
    """

    parameters: StrategyParameters
    banned: Array
    stops: Array
    limit: Array
    key: Array


@partial(jax.jit, static_argnums=(0, 1))
def encode(
    definition: Definition, mesh: Mesh | None, parameters: Any, images: ImageInputs
) -> jax.Array:
    """Encodes the packed images of S shards to features ``[S, M, ...]``."""
    return nnx.merge(definition, parameters).encode_shards(images, mesh=mesh)


@partial(jax.jit, static_argnums=(0, 1, 2))
def join_features(
    mesh: Mesh | None, shape: tuple[int, ...], dtype: jnp.dtype, tables: Sequence[jax.Array]
) -> jax.Array:
    """Concatenates features ``[S, m, ...]`` of any number of calls, padded to ``[S, M, ...]``."""
    rows = sum(table.shape[1] for table in tables)
    padding = jnp.zeros((shape[0], shape[1] - rows, *shape[2:]), dtype)
    return split_first_axis(jnp.concatenate([*tables, padding], axis=1), mesh)


@partial(jax.jit, static_argnums=(0, 1))
def prefill(
    definition: Definition,
    mesh: Mesh | None,
    parameters: Any,
    features: jax.Array,
    prompts: PromptInputs,
) -> tuple[jax.Array, PromptCache]:
    """Reads P prompts; returns the logits ``[P, V]`` of their next tokens, and their cache.

    Row m of shard s of the features ``[S, M, ...]`` has the number s * M + m in the prompts.
    """
    model = nnx.merge(definition, parameters)
    table = features.reshape(1, -1, *features.shape[2:])
    last = jnp.maximum(jnp.sum(prompts.valid, axis=-1) - 1, 0)
    hidden, prefix = model.prefill(prompts, table, mesh, last[:, None])
    return model.unembed(hidden[:, 0]), prefix


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def admit(
    ranked: bool,
    mesh: Mesh | None,
    state: DecodeState,
    logits: jax.Array,
    prefix: PromptCache,
    slots: jax.Array,
    names: jax.Array,
    prompt_tokens: jax.Array,
    drawing: Drawing,
) -> tuple[DecodeState, jax.Array, jax.Array]:
    """Puts P prefilled orders into the state and draws the first token of each rollout.

    The state is donated. ``logits`` are float32 ``[P, V]``; ``slots``, int32 ``[P]``, are the
    orders' places, O (out of bounds) for padding; ``names``, uint32 ``[P, N, 3]``, are those of the
    rollouts' streams; ``prompt_tokens``, int32 ``[P, T]``, are for the repetition penalty. Prompts
    may be padded to fewer tokens than those of the state.

    Returns:
        The state; tokens and log-probabilities ``[P, N]``.
    """
    count, n = names.shape[:2]
    logits = jnp.broadcast_to(logits[:, None], (count, n, logits.shape[-1]))
    seen = all_seen = None
    if state.seen is not None:
        in_prompt = jnp.zeros((count, logits.shape[-1]), bool)
        rows = jnp.arange(count)[:, None]
        in_prompt = in_prompt.at[rows, prompt_tokens].max(prefix.valid)
        seen = jnp.broadcast_to(in_prompt[:, None], logits.shape)
    index = jnp.zeros((count, n), jnp.int32)
    tokens, logprobs = _draw(ranked, logits, _streams(names, drawing), index, drawing, seen)
    if state.seen is not None and seen is not None:
        all_seen = state.seen.at[slots].set(_mark(seen, tokens), mode="drop")
    state = DecodeState(
        prefix=put_prompts(mesh, state.prefix, prefix, slots),
        cache=state.cache,
        tokens=state.tokens.at[slots].set(tokens, mode="drop"),
        seen=all_seen,
    )
    # Every host reads tokens and log-probabilities.
    return constrain(state, mesh), whole(tokens, mesh), whole(logprobs, mesh)


@partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=5)
def decode(
    definition: Definition,
    ranked: bool,
    mesh: Mesh | None,
    steps: int,
    parameters: Any,
    state: DecodeState,
    time: jax.Array,
    rows: Rows,
    drawing: Drawing,
) -> tuple[DecodeState, jax.Array, jax.Array, jax.Array, jax.Array]:
    """Draws up to C = ``steps`` tokens for every rollout, and ends early when all are done.

    The state is donated. ``time``, int32, is the slot that the first step writes.

    Returns:
        The state; tokens and log-probabilities ``[O, N, C]``, also of finished rollouts; the number
        of steps taken; whether each rollout is done, bool ``[O, N]``.
    """
    model = nnx.merge(definition, parameters)
    shape = (*state.tokens.shape, steps)
    slots = jnp.arange(state.cache.keys.shape[1])
    streams = _streams(rows.names, drawing)
    # The host may not have seen yet that a response ended at its first token.
    ended = jnp.isin(state.tokens, drawing.stops)
    ended |= (time - rows.start + 1 >= drawing.limit)[:, None]

    def step(model: Policy, carry: Any) -> Any:
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
            mesh,
        )
        logits = model.unembed(hidden)
        drawn, logprob = _draw(ranked, logits, streams, index + 1, drawing, state.seen)
        seen = None if state.seen is None else _mark(state.seen, drawn)
        state = constrain(DecodeState(state.prefix, cache, drawn, seen), mesh)
        done |= jnp.isin(drawn, drawing.stops) | (index + 2 >= drawing.limit)
        tokens = jax.lax.dynamic_update_index_in_dim(tokens, drawn, number, axis=2)
        logprobs = jax.lax.dynamic_update_index_in_dim(logprobs, logprob, number, axis=2)
        return number + 1, state, done, tokens, logprobs

    def loop(model: Policy, *carry: Any) -> Any:
        return jax.lax.while_loop(
            lambda carry: (carry[0] < steps) & ~jnp.all(carry[2]), partial(step, model), carry
        )

    def loop_on_cpu(number: jax.Array, state: DecodeState, *carry: jax.Array) -> Any:
        # A CPU would otherwise copy the caches and the parameters of every layer at every step.
        # With many rollouts the products take far longer than copies of parameters; with several
        # devices nothing was measured.
        model = nnx.merge(definition, parameters)
        if state.tokens.size <= _FEW_ROLLOUTS and (mesh is None or mesh.size == 1):
            model.take_apart()
        state = state._replace(cache=state.cache.by_rows())
        number, state, *rest = loop(model, number, state, *carry)
        return number, state._replace(cache=state.cache.by_slots()), *rest

    empty = (jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.float32))
    carry = (jnp.int32(0), state, rows.done | ended, *empty)
    if model.kernel is None:
        carry = jax.lax.platform_dependent(*carry, cpu=loop_on_cpu, default=partial(loop, model))
    else:
        carry = loop(model, *carry)
    number, state, done, tokens, logprobs = carry
    state = constrain(state, mesh)
    return state, whole(tokens, mesh), whole(logprobs, mesh), number, whole(jnp.asarray(done), mesh)


def _streams(names: Array, drawing: Drawing) -> jax.Array:
    """The keys of all rollouts ``[O, N]``.

    A name is the hash of the group's id, the number of the order and the number of the rollout.
    """

    def of_rollout(name: jax.Array) -> jax.Array:
        key = jax.random.wrap_key_data(jnp.asarray(drawing.key))
        for part in name:
            key = jax.random.fold_in(key, part)
        return key

    return jax.vmap(jax.vmap(of_rollout))(jnp.asarray(names))


def _draw(
    ranked: bool,
    logits: jax.Array,
    streams: jax.Array,
    index: jax.Array,
    drawing: Drawing,
    seen: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """Draws token number ``index`` of each rollout from the rollout's own stream."""
    keys = jax.vmap(jax.vmap(jax.random.fold_in))(streams, index)
    return draw(logits, keys, drawing.parameters, ranked=ranked, banned=drawing.banned, seen=seen)


def _mark(seen: jax.Array, tokens: jax.Array) -> jax.Array:
    """Adds one token of each rollout to the seen ones."""
    orders, rollouts = (jnp.arange(size) for size in tokens.shape)
    return seen.at[orders[:, None], rollouts[None, :], tokens].set(True)
