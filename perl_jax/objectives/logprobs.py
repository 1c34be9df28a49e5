"""Log-probabilities of drawn tokens and entropies, without the logits of a whole batch."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from perl_jax.objectives import checks

# Finite, so that the first running maximum can be subtracted from itself.
LOWEST = -1e30


def token_logprobs(
    hidden: ArrayLike,
    unembedding: ArrayLike,
    tokens: ArrayLike,
    *,
    temperature: ArrayLike = 1.0,
    banned: ArrayLike | None = None,
    chunk: int = 2048,
) -> tuple[jax.Array, jax.Array]:
    r"""Log-probabilities of tokens under the language-model head, and the head's entropies.

    With ``z = (hidden @ unembedding.T) / temperature`` over the vocabulary that is not banned,

    ``logprobs = z[token] - logsumexp(z)`` and ``entropy = logsumexp(z) - sum_v softmax(z)_v z_v``.

    The vocabulary passes by in slices of ``chunk`` rows, with running sums for the normaliser and
    the entropy; the backward pass computes each slice of logits again. Logits ``[..., R, V]``
    never exist, and neither does a cast or padded copy of the unembedding. Both outputs have
    exact gradients for ``hidden`` and ``unembedding`` (reverse mode, once); the temperature is
    a constant.

    With slices instead of blocks of tokens, each row of the unembedding gets its gradient from one
    matrix product: nothing of size ``[V, D]`` is summed across iterations. On a mesh, shard the
    unembedding along D (or gather it first): for slices of a sharded axis, every device fetches all
    of it.

    A token that is banned or outside the vocabulary has probability 0, so its log-probability is
    -inf: mask it. ``hidden`` must be finite at masked positions too.

    Args:
        hidden: float ``[..., R, D]``, after the final norm. Its dtype is that of the matrix
            products, which accumulate in float32; all else is float32.
        unembedding: float ``[V, D]``, row v for token v, as checkpoints store ``lm_head``. Cast
            to the dtype of ``hidden`` one slice at a time.
        tokens: int ``[..., R]``.
        temperature: A positive scalar: that of the sampler, or the two disagree.
        banned: Bool ``[V]``; true for rows that are never drawn, such as the ids of image
            placeholders and the padding of the vocabulary. None: every row can be drawn.
        chunk: Rows of the vocabulary at a time. It need not divide V. Memory is about
            ``12 * chunk`` bytes a token.

    Returns:
        ``(logprobs, entropy)``, float32 ``[..., R]`` each, the entropy in nats.

    Raises:
        ValueError: For shapes that do not fit, a chunk below 1 or a temperature not above 0.
        TypeError: For a wrong dtype.
    """
    hidden, unembedding = jnp.asarray(hidden), jnp.asarray(unembedding)
    tokens = jnp.asarray(tokens)
    _check_head(hidden, unembedding, tokens)
    checks.at_least("chunk", chunk, 1)
    checks.at_least("temperature", temperature, 0, exclusive=True)
    scale = checks.real("temperature", temperature)
    checks.same_shape("temperature", scale, ())
    scale = lax.stop_gradient(scale.astype(jnp.promote_types(hidden.dtype, jnp.float32)))
    allowed = None
    if banned is not None:
        allowed = ~checks.boolean("banned", banned, unembedding.shape[:1])
    chunk = min(chunk, unembedding.shape[0])
    return _chunked(chunk, _Head(hidden, unembedding, tokens, allowed, scale))


class _Head(NamedTuple):
    """The arrays of `token_logprobs`, checked."""

    hidden: jax.Array
    unembedding: jax.Array
    tokens: jax.Array
    allowed: jax.Array | None
    temperature: jax.Array  # in the dtype of all arithmetic outside the matrix products


class _Normaliser(NamedTuple):
    """The parts of a softmax's normaliser, each ``[..., R]``: logsumexp is ``top + log_total``.

    They stay apart because ``(z - top) - log_total`` keeps digits that ``z - logsumexp`` loses.
    """

    top: jax.Array
    log_total: jax.Array


def _check_head(hidden: jax.Array, unembedding: jax.Array, tokens: jax.Array) -> None:
    for name, array in (("hidden", hidden), ("unembedding", unembedding)):
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"{name}: expected a floating dtype; got {array.dtype}")
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise TypeError(f"tokens: expected an integer dtype; got {tokens.dtype}")
    checks.min_rank("hidden", hidden, 2, "[..., R, D]")
    width = hidden.shape[-1]
    if unembedding.ndim != 2 or unembedding.shape[1] != width:
        raise ValueError(
            f"unembedding: expected shape [V, {width}], D being that of hidden; "
            f"got {list(unembedding.shape)}"
        )
    if unembedding.shape[0] == 0:
        raise ValueError("unembedding: expected at least one row; got none")
    checks.same_shape("tokens", tokens, hidden.shape[:-1])


class _Slice(NamedTuple):
    """One slice of the vocabulary."""

    start: jax.Array
    rows: jax.Array
    logits: jax.Array
    counted: jax.Array  # [1, ..., chunk]: allowed, and not already part of an earlier slice
    is_token: jax.Array  # [..., R, chunk]


def _slice(head: _Head, index: jax.Array, chunk: int) -> _Slice:
    hidden, unembedding, tokens, allowed, temperature = head
    first = index * chunk
    # The last slice begins early enough to be whole: padding would copy the unembedding.
    start = jnp.minimum(first, unembedding.shape[0] - chunk)
    rows = lax.dynamic_slice_in_dim(unembedding, start, chunk).astype(hidden.dtype)
    logits = lax.dot_general(
        hidden,
        rows,
        (((hidden.ndim - 1,), (1,)), ((), ())),
        preferred_element_type=temperature.dtype,
    )
    columns = start + jnp.arange(chunk)
    counted = columns >= first
    if allowed is not None:
        counted &= lax.dynamic_slice_in_dim(allowed, start, chunk)
    lead = (1,) * tokens.ndim
    counted = counted.reshape(*lead, chunk)
    is_token = (columns.reshape(*lead, chunk) == tokens[..., None]) & counted
    return _Slice(start, rows, logits / temperature, counted, is_token)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _chunked(chunk: int, head: _Head) -> tuple[jax.Array, jax.Array]:
    logprobs, entropies, _ = _forward(chunk, head)
    return logprobs, entropies


def _forward(chunk: int, head: _Head) -> tuple[jax.Array, jax.Array, _Normaliser]:
    """One pass over the vocabulary with running sums, relative to the largest logit so far."""

    def step(carry: tuple, index: jax.Array) -> tuple[tuple, None]:
        top, total, weighted, chosen = carry
        part = _slice(head, index, chunk)
        largest = jnp.max(part.logits, axis=-1, initial=LOWEST, where=part.counted)
        new_top = jnp.maximum(top, largest)
        shifted = part.logits - new_top[..., None]
        mass = jnp.where(part.counted, jnp.exp(shifted), 0)
        decay = jnp.exp(top - new_top)
        # weighted is the sum of exp(z - top) * (z - top), so that the entropy of a peaked
        # distribution is not the difference of two large numbers.
        weighted = decay * (weighted + total * (top - new_top)) + jnp.sum(mass * shifted, axis=-1)
        total = decay * total + jnp.sum(mass, axis=-1)
        here = jnp.max(part.logits, axis=-1, initial=-jnp.inf, where=part.is_token)
        return (new_top, total, weighted, jnp.maximum(chosen, here)), None

    zeros = jnp.zeros(head.tokens.shape, head.temperature.dtype)
    carry = (zeros + LOWEST, zeros, zeros, zeros - jnp.inf)
    slices = -(-len(head.unembedding) // chunk)
    (top, total, weighted, chosen), _ = lax.scan(step, carry, jnp.arange(slices))
    log_total = jnp.log(total)
    return (chosen - top) - log_total, log_total - weighted / total, _Normaliser(top, log_total)


def _chunked_forward(chunk: int, head: _Head) -> tuple[tuple[jax.Array, jax.Array], tuple]:
    logprobs, entropies, normaliser = _forward(chunk, head)
    return (logprobs, entropies), (head, entropies, normaliser)


def _chunked_backward(chunk: int, residuals: tuple, cotangents: tuple) -> tuple:
    """Both gradients, one slice of the vocabulary at a time.

    d logprobs / d z_v = [v = token] - p_v, and d entropy / d z_v = -p_v (log p_v + entropy).
    """
    head, entropies, normaliser = residuals
    hidden, unembedding, tokens, _, temperature = head
    d_logprobs, d_entropy = (cotangent[..., None] for cotangent in cotangents)
    lead = tuple(range(tokens.ndim))

    def step(carry: tuple, index: jax.Array) -> tuple[tuple, None]:
        d_hidden, d_unembedding = carry
        part = _slice(head, index, chunk)
        logp = (part.logits - normaliser.top[..., None]) - normaliser.log_total[..., None]
        p = jnp.where(part.counted, jnp.exp(logp), 0)
        d_logits = d_logprobs * (part.is_token - p) - d_entropy * p * (logp + entropies[..., None])
        d_logits = (d_logits / temperature).astype(hidden.dtype)
        d_hidden += lax.dot_general(
            d_logits,
            part.rows,
            (((tokens.ndim,), (0,)), ((), ())),
            preferred_element_type=d_hidden.dtype,
        )
        d_rows = lax.dot_general(
            d_logits, hidden, ((lead, lead), ((), ())), preferred_element_type=d_hidden.dtype
        )
        d_unembedding = lax.dynamic_update_slice_in_dim(
            d_unembedding, d_rows.astype(unembedding.dtype), part.start, 0
        )
        return (d_hidden, d_unembedding), None

    carry = (jnp.zeros(hidden.shape, temperature.dtype), jnp.zeros_like(unembedding))
    slices = -(-len(unembedding) // chunk)
    # Last slice first: the rows that it shares with the one before are then overwritten.
    (d_hidden, d_unembedding), _ = lax.scan(step, carry, jnp.arange(slices), reverse=True)
    none: Any = None  # how a custom gradient says zero
    return (_Head(d_hidden.astype(hidden.dtype), d_unembedding, none, none, none),)


_chunked.defvjp(_chunked_forward, _chunked_backward)
