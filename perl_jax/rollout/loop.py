"""The plain loop: the responses to one prompt, a token at a time, as they are drawn."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from perl_jax.attention import KeyValues
from perl_jax.buckets import bucket
from perl_jax.models import Qwen2_5_VL
from perl_jax.models.qwen2_5_vl.inputs import PromptInputs, pack_prompts
from perl_jax.models.qwen2_5_vl.text import ResponseCache
from perl_jax.types import Prompt

STOPPED = -1


def stream_tokens(
    model: Qwen2_5_VL,
    prompt: Prompt,
    *,
    num_samples: int = 1,
    max_new_tokens: int,
    temperature: float = 0.0,
    stop_tokens: Sequence[int] = (),
    banned: np.ndarray | None = None,
    seed: int = 0,
) -> Iterator[np.ndarray]:
    """Draws responses to one prompt, which is read once for all of them.

    Args:
        model: The policy.
        prompt: What it answers.
        num_samples: N, the number of responses.
        max_new_tokens: The most tokens of a response.
        temperature: 0 takes the most probable token.
        stop_tokens: A response ends with the first of these that it draws.
        banned: bool ``[V]``, the tokens that are never drawn.
        seed: The same seed gives the same responses.

    Yields:
        int32 ``[N]``, the next token of every response, `STOPPED` for those that have ended;
        until all have.

    Raises:
        ValueError: an argument is out of its range.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples: expected at least 1, got {num_samples}")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens: expected at least 1, got {max_new_tokens}")
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature: expected 0 or more, got {temperature}")
    definition, parameters = nnx.split(model)
    inputs = pack_prompts([prompt], model.config)
    length = len(prompt.tokens)
    if banned is None:
        banned = np.zeros(model.config.text.vocab_size, bool)

    hidden, prefix = _prefill(definition, parameters, inputs, length - 1)
    cache = model.empty_cache(1, num_samples, bucket(max_new_tokens))
    hidden = jnp.broadcast_to(hidden, (num_samples, *hidden.shape[1:]))
    running = np.ones(num_samples, bool)
    key = jax.random.key(seed)
    for slot in range(max_new_tokens):
        drawn = _draw(
            definition, parameters, hidden, banned, temperature, jax.random.fold_in(key, slot)
        )
        tokens = np.where(running, np.asarray(drawn), STOPPED)
        yield tokens.astype(np.int32)
        running &= ~np.isin(tokens, list(stop_tokens))
        if not running.any() or slot + 1 == max_new_tokens:
            return
        # A generated token's position counts the tokens before it, images as they advance it.
        position = length + prompt.rope_delta + slot
        hidden, cache = _step(definition, parameters, drawn, position, slot, prefix, cache)


@partial(jax.jit, static_argnums=0)
def _prefill(
    definition: Any, parameters: Any, inputs: PromptInputs, last: int
) -> tuple[jax.Array, KeyValues]:
    """The hidden state ``[1, D]`` that predicts the first token, and the prompt's cache."""
    hidden, prefix = nnx.merge(definition, parameters).prefill(inputs)
    return hidden[:, last], prefix


@partial(jax.jit, static_argnums=0)
def _step(
    definition: Any,
    parameters: Any,
    tokens: jax.Array,
    position: int,
    slot: int,
    prefix: KeyValues,
    cache: ResponseCache,
) -> tuple[jax.Array, ResponseCache]:
    """Reads one token of each response; returns hidden states ``[N, D]`` and the cache."""
    tokens = tokens[None]
    slots = jnp.arange(cache.keys.shape[2])[None, None]
    valid = jnp.broadcast_to(slots <= slot, (*tokens.shape, slots.shape[-1]))
    positions = jnp.full_like(tokens, position)
    model = nnx.merge(definition, parameters)
    hidden, cache = model.decode(tokens, positions, valid, prefix, cache, slot)
    return hidden[0], cache


@partial(jax.jit, static_argnums=0)
def _draw(
    definition: Any,
    parameters: Any,
    hidden: jax.Array,
    banned: jax.Array,
    temperature: float,
    key: jax.Array,
) -> jax.Array:
    """One token for each hidden state ``[N, D]``."""
    logits = nnx.merge(definition, parameters).unembed(hidden)
    logits = jnp.where(jnp.broadcast_to(banned, logits.shape), -jnp.inf, logits)
    drawn = jax.random.categorical(key, logits / jnp.maximum(temperature, 1e-6))
    return jnp.where(temperature > 0, drawn, jnp.argmax(logits, axis=-1)).astype(jnp.int32)
