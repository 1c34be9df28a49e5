"""The oracle of the sampler: each rollout drawn alone, its whole sequence computed anew each time.

It shares with the sampler only the model's logits for one prompt and the drawing of one token: no
cache, no batch, no padding that the sampler chooses, no compiled loop.
"""

from functools import cache, partial

import jax
import numpy as np
from flax import nnx

from perl_jax.models.prompts import pack_prompts
from perl_jax.rollout import Strategy
from perl_jax.rollout.sampling import stable_hash
from perl_jax.rollout.strategies import draw
from perl_jax.types import Group, Prompt

# Holds every prompt of these tests and its response: one program computes all their logits.
LENGTH = 160


def sample_alone(
    model,
    processor,
    group: Group,
    order: int,
    rollout: int,
    *,
    max_new_tokens: int,
    strategy: Strategy,
    key: jax.Array,
) -> tuple[list[int], list[float]]:
    """The tokens of one rollout, and their log-probabilities."""
    banned = processor.banned_rows(model.config.vocab_size)
    for number in (stable_hash(group.id), order, rollout):
        key = jax.random.fold_in(key, number)
    draw_one = drawing(strategy.ranked)
    sequence = group.prompts[group.asked[order]]
    tokens, logprobs = [], []
    for index in range(max_new_tokens):
        logits = logits_of(model, sequence)[-1:]
        seen = None
        if strategy.penalises:
            seen = np.zeros(logits.shape, bool)
            seen[0, sequence.tokens] = True
        keys = jax.random.fold_in(key, index)[None]
        token, logprob = draw_one(logits, keys, strategy.parameters(), banned=banned, seen=seen)
        tokens.append(int(token[0]))
        logprobs.append(float(logprob[0]))
        if tokens[-1] in processor.stop_tokens:
            break
        sequence = append(sequence, tokens[-1])
    return tokens, logprobs


@cache
def drawing(ranked: bool):
    return jax.jit(partial(draw, ranked=ranked))


def logits_of(model, prompt: Prompt) -> np.ndarray:
    """What `Policy.logits` gives for one prompt, by one program for prompts of all lengths."""
    definition, parameters = nnx.split(model)
    inputs = pack_prompts([prompt], model.config, length=LENGTH)
    return np.asarray(logits_of_padded(definition, parameters, inputs))[0, : len(prompt.tokens)]


@partial(jax.jit, static_argnums=0)
def logits_of_padded(definition, parameters, inputs) -> jax.Array:
    model = nnx.merge(definition, parameters)
    return model.unembed(model.prefill(inputs)[0])


def append(prompt: Prompt, token: int) -> Prompt:
    """One more token of text, at the next position on all axes."""
    position = len(prompt.tokens) + prompt.rope_delta
    return Prompt(
        np.append(prompt.tokens, np.int32(token)),
        np.concatenate([prompt.positions, np.full((3, 1), position, np.int32)], axis=1),
        prompt.rope_delta,
        prompt.images,
    )
