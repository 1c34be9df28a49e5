"""The oracle of the sampler: each rollout drawn alone, its whole sequence computed anew each time.

It shares with the sampler only the model's logits for one prompt and the drawing of one token: no
cache, no batch, no padding that the sampler chooses, no compiled loop.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from perl_jax.rollout import Strategy
from perl_jax.rollout.sampling import stable_hash
from perl_jax.rollout.strategies import draw
from perl_jax.types import Group, Prompt


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
    draw_one = jax.jit(partial(draw, ranked=strategy.ranked))
    sequence = group.prompts[group.asked[order]]
    tokens, logprobs = [], []
    for index in range(max_new_tokens):
        logits = model.logits(sequence)[-1:]
        seen = None
        if strategy.penalises:
            seen = jnp.zeros(logits.shape, bool).at[0, sequence.tokens].set(True)
        keys = jax.random.fold_in(key, index)[None]
        token, logprob = draw_one(logits, keys, strategy.parameters(), banned=banned, seen=seen)
        tokens.append(int(token[0]))
        logprobs.append(float(logprob[0]))
        if tokens[-1] in processor.stop_tokens:
            break
        sequence = append(sequence, tokens[-1])
    return tokens, logprobs


def append(prompt: Prompt, token: int) -> Prompt:
    """One more token of text, at the next position on all axes."""
    position = len(prompt.tokens) + prompt.rope_delta
    return Prompt(
        np.append(prompt.tokens, np.int32(token)),
        np.concatenate([prompt.positions, np.full((3, 1), position, np.int32)], axis=1),
        prompt.rope_delta,
        prompt.images,
    )
