"""Draws the next token: temperature, truncation, repetition penalty, log-probabilities."""

from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from perl_jax.legible import brief

# Larger divisors have no reciprocal in float32: -inf / divisor may be NaN.
LARGEST = 1e30
SMALLEST = 1e-30

# The width of a TPU's vector lanes, and a divisor of the models' padded vocabulary sizes: cutting
# the vocabulary into such blocks is free.
BLOCK = 128


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StrategyParameters:
    """The numbers of a `Strategy` as scalars on the host, so that new values do not recompile.

    All are float32 but ``top_k``: int32, whose largest value means no limit.
    """

    temperature: ArrayLike
    top_k: ArrayLike
    top_p: ArrayLike
    min_p: ArrayLike
    repetition_penalty: ArrayLike


@dataclass(frozen=True)
class Strategy:
    """How tokens are drawn. The defaults sample the policy unchanged.

    In this order: repetition penalty (CTRL, arXiv 1909.05858, section 4.1), temperature, top_k,
    top_p on what top_k left (nucleus sampling, arXiv 1904.09751), min_p (arXiv 2407.01082), one
    draw from what is left. `keep` has the formulas.

    Attributes:
        temperature: Divides the logits. Below 1e-30 the most probable token is taken, the lowest id
            among equals.
        top_k: Keeps this many of the most probable tokens. None: all, faster than a large number.
        top_p: Keeps the fewest most probable tokens that reach this probability; at least one.
        min_p: Keeps tokens at least this many times as probable as the most probable one.
        repetition_penalty: Divides positive logits of tokens in the prompt or the response, and
            multiplies negative ones. 1: off.
        stop: A response ends as soon as its text holds one of these strings.

    Raises:
        ValueError: A value is out of range.
        TypeError: A value has the wrong type.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_number("temperature", self.temperature, 0, LARGEST)
        if self.top_k is not None:
            if not isinstance(self.top_k, Integral) or isinstance(self.top_k, bool):
                raise TypeError(f"top_k: expected a whole number or None, got {brief(self.top_k)}")
            if self.top_k < 1:
                raise ValueError(
                    f"top_k: expected at least 1, or None for all, got {brief(self.top_k)}"
                )
        _check_number("top_p", self.top_p, 0, 1)
        _check_number("min_p", self.min_p, 0, 1)
        _check_number("repetition_penalty", self.repetition_penalty, SMALLEST, LARGEST)
        _check_stop(self.stop)

    @property
    def ranked(self) -> bool:
        """Whether truncation needs ranks. Static in programs, as ranking costs many passes."""
        return self.top_k is not None or self.top_p < 1

    @property
    def penalises(self) -> bool:
        """Whether a draw needs the tokens seen so far. Static in programs."""
        return self.repetition_penalty != 1

    def parameters(self) -> StrategyParameters:
        """The numbers as arguments of a compiled program."""
        unlimited = np.iinfo(np.int32).max
        return StrategyParameters(
            temperature=np.float32(self.temperature),
            top_k=np.int32(unlimited if self.top_k is None else min(self.top_k, unlimited)),
            top_p=np.float32(self.top_p),
            min_p=np.float32(self.min_p),
            repetition_penalty=np.float32(self.repetition_penalty),
        )


def keep(logits: ArrayLike, parameters: StrategyParameters, *, ranked: bool) -> jax.Array:
    """The tokens that truncation leaves to draw from, bool ``[..., V]``.

    With ``p = softmax(logits / temperature)`` and the tokens ranked by falling logit, equals by
    rising id, a token is kept if all three keep it:

    - top_k: its rank, from 0, is below top_k.
    - top_p: the tokens before it have less than top_p of the probability of those that top_k keeps.
      So exactly the fewest tokens that reach top_p stay, and always the most probable one.
    - min_p: ``p >= min_p * max(p)``.

    Sums and comparisons are float32. At temperature 0 the probabilities are those of temperature 1.
    Rows that hold a NaN or nothing to draw have no meaningful result.

    Args:
        logits: float ``[..., V]``, before the temperature. -inf is never kept.
        parameters: From a `Strategy`.
        ranked: `Strategy.ranked`, static; False ignores top_k and top_p, and costs one pass.

    Raises:
        ValueError: The logits have no axis V, or an empty one.
        TypeError: The logits are not floating.
    """
    logits = _enter(logits)
    relative = _relative(logits, parameters.temperature)
    # Logarithms are exact at the edges: log 1 is 0, and log 0 is -inf.
    kept = (relative > -jnp.inf) & (relative >= jnp.log(jnp.asarray(parameters.min_p)))
    if ranked:
        kept &= _leads(logits, relative, parameters)
    return kept


def penalise(logits: ArrayLike, seen: ArrayLike, parameters: StrategyParameters) -> jax.Array:
    """The logits after the repetition penalty, float32 ``[..., V]``.

    ``z * penalty`` for seen tokens with ``z < 0``, ``z / penalty`` for other seen tokens, ``z``
    elsewhere. ``logits`` and ``seen``, bool, are ``[..., V]``, before the temperature.

    Raises:
        ValueError: Shapes do not fit.
        TypeError: A dtype is wrong.
    """
    logits = _enter(logits)
    penalty = jnp.asarray(parameters.repetition_penalty)
    penalised = jnp.where(logits < 0, logits * penalty, logits / penalty)
    return jnp.where(_flags("seen", seen, logits.shape), penalised, logits)


def draw(
    logits: ArrayLike,
    keys: jax.Array,
    parameters: StrategyParameters,
    *,
    ranked: bool,
    banned: ArrayLike | None = None,
    seen: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Draws one token a row; returns tokens and the policy's log-probabilities of them.

    With ``z`` the logits, -inf where banned, and ``z'`` after `penalise`, the token is drawn from
    ``softmax(z' / temperature)`` restricted to what `keep` leaves. At temperature 0 it is
    ``argmax(z')``, the lowest id among equals.

    The log-probability is the policy's, ``log_softmax(z / temperature)[token]``, before penalty and
    truncation; at temperature 0 that of temperature 1.

    Each row has its own random stream, so a draw does not depend on other rows. A block of tokens
    is drawn by its total probability, then a token within it, each by the Gumbel-max trick: the
    same distribution as noise on every token, for about a hundredth of the random numbers.

    A row with nothing to draw, or with a NaN or +inf among the logits that are not banned, gets the
    log-probability NaN and a meaningless token. Callers must check.

    Args:
        logits: float ``[..., V]``.
        keys: Typed keys ``[...]``, see ``jax.random.key``.
        parameters: From a `Strategy`.
        ranked: `Strategy.ranked`, static.
        banned: bool ``[V]``, the tokens never drawn; None: none.
        seen: bool ``[..., V]``, the tokens in prompt and response; None: no repetition penalty.

    Returns:
        ``(tokens, logprobs)``, int32 and float32 ``[...]``.

    Raises:
        ValueError: Shapes do not fit.
        TypeError: A dtype is wrong, or the keys' implementation has no independent streams.
    """
    logits = _enter(logits)
    _check_keys(keys, logits.shape[:-1])
    if banned is not None:
        banned = _flags("banned", banned, logits.shape[-1:])
        logits = jnp.where(banned.reshape((1,) * (logits.ndim - 1) + (-1,)), -jnp.inf, logits)
    policy = _relative(logits, parameters.temperature)
    if seen is not None:
        logits = penalise(logits, seen, parameters)
    relative = _relative(logits, parameters.temperature)
    relative = jnp.where(keep(logits, parameters, ranked=ranked), relative, -jnp.inf)
    greedy = _first_largest(logits)
    tokens = jnp.where(_is_hot(parameters.temperature), _categorical(keys, relative), greedy)
    tokens = tokens.astype(jnp.int32)

    chosen = jnp.take_along_axis(policy, tokens[..., None], axis=-1)[..., 0]
    return tokens, chosen - jnp.log(jnp.sum(jnp.exp(policy), axis=-1))


def _leads(logits: jax.Array, relative: jax.Array, parameters: StrategyParameters) -> jax.Array:
    """The tokens that top_k keeps, and among them top_p."""
    order = _order(logits)
    within_k = _fewest(order, jnp.ones(order.shape, jnp.int32), parameters.top_k)
    mass = jnp.where(within_k, jnp.exp(relative), 0)
    total = jnp.sum(mass, axis=-1, keepdims=True)
    top_p = jnp.asarray(parameters.top_p)
    # A float32 sum misses the far tail, so keeping all tokens must not depend on it.
    return within_k & _fewest(order, mass, jnp.where(top_p >= 1, jnp.inf, top_p * total))


def _order(logits: jax.Array) -> jax.Array:
    """uint32 numbers in the same order as the logits."""
    logits = jnp.where(logits == 0, 0, logits)  # -0 equals 0, but its bits do not
    bits = lax.bitcast_convert_type(logits, jnp.uint32)
    sign = jnp.uint32(1 << 31)
    return jnp.where(bits < sign, bits | sign, ~bits)


def _fewest(order: jax.Array, weights: jax.Array, target: ArrayLike) -> jax.Array:
    """The fewest tokens, highest order first, whose weights reach the target; at least one.

    All of them if the target is out of reach. Ties go by id. Bisection reads the vocabulary about
    32 times and moves nothing, which is several times faster than a sort.
    """
    target = jnp.broadcast_to(target, (*order.shape[:-1], 1))
    last = _last(order, jnp.ones(order.shape, bool), weights, target)
    ahead, tied = order > last, order == last
    rest = target - jnp.sum(jnp.where(ahead, weights, 0), axis=-1, keepdims=True)
    reversed_ids = order.shape[-1] - lax.broadcasted_iota(jnp.uint32, order.shape, order.ndim - 1)
    return ahead | (tied & (reversed_ids >= _last(reversed_ids, tied, weights, rest)))


def _last(order: jax.Array, members: jax.Array, weights: jax.Array, target: jax.Array) -> jax.Array:
    """The highest order from which upwards members reach the target, else their lowest order."""
    weights = jnp.where(members, weights, 0)
    low = jnp.min(order, axis=-1, keepdims=True, where=members, initial=np.uint32(2**32 - 1))
    high = jnp.max(order, axis=-1, keepdims=True, where=members, initial=np.uint32(0))
    reachable = jnp.sum(weights, axis=-1, keepdims=True) >= target

    def halve(bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = high - (high - low) // 2
        weight = jnp.sum(jnp.where(order >= middle, weights, 0), axis=-1, keepdims=True)
        enough = weight >= target
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle - 1)

    bounds = (low, jnp.where(reachable, high, low))
    return lax.while_loop(lambda bounds: jnp.any(bounds[0] < bounds[1]), halve, bounds)[0]


def _categorical(keys: jax.Array, logits: jax.Array) -> jax.Array:
    """One draw a row from softmax(logits) with a largest logit of 0: a block, then a token."""
    *lead, vocabulary = logits.shape
    blocks = -(-vocabulary // BLOCK)
    padding = [(0, 0)] * len(lead) + [(0, blocks * BLOCK - vocabulary)]
    logits = jnp.pad(logits, padding, constant_values=-jnp.inf).reshape(*lead, blocks, BLOCK)

    # Mode "low" never draws tokens below about 1e-8 of the best probability.
    noise_of = partial(jax.random.gumbel, shape=(blocks + BLOCK,), dtype=jnp.float32, mode="high")
    for _ in lead:
        noise_of = jax.vmap(noise_of)
    noise = noise_of(keys)

    mass = jnp.sum(jnp.exp(logits), axis=-1)
    block = _first_largest(jnp.log(mass) + noise[..., :blocks])
    inside = jnp.take_along_axis(logits, block[..., None, None], axis=-2)[..., 0, :]
    return block * BLOCK + _first_largest(inside + noise[..., blocks:])


def _first_largest(x: jax.Array) -> jax.Array:
    """The argmax of each row, as two reductions: a CPU is ten times slower at pairs.

    A row with a NaN gets its last place.
    """
    ids = lax.broadcasted_iota(jnp.int32, x.shape, x.ndim - 1)
    largest = x == jnp.max(x, axis=-1, keepdims=True)
    return jnp.min(jnp.where(largest, ids, x.shape[-1] - 1), axis=-1)


def _relative(logits: jax.Array, temperature: ArrayLike) -> jax.Array:
    """Logits at the temperature, with the best at 0."""
    best = jnp.max(logits, axis=-1, keepdims=True)
    # Subtracting first cannot overflow to +inf or NaN at a low temperature.
    return (logits - best) / jnp.where(_is_hot(temperature), temperature, 1)


def _is_hot(temperature: ArrayLike) -> jax.Array:
    return jnp.asarray(temperature) >= SMALLEST


def _enter(logits: ArrayLike) -> jax.Array:
    """The logits as float32, checked."""
    logits = jnp.asarray(logits)
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"logits: expected a floating dtype, got {logits.dtype}")
    if logits.ndim < 1 or logits.shape[-1] < 1:
        raise ValueError(f"logits: expected shape [..., V] with V > 0, got {list(logits.shape)}")
    return logits.astype(jnp.float32)


def _flags(name: str, flags: ArrayLike, shape: tuple[int, ...]) -> jax.Array:
    array = jnp.asarray(flags)
    if array.dtype != jnp.bool_:
        raise TypeError(f"{name}: expected dtype bool, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, got {list(array.shape)}")
    return array


def _check_keys(keys: jax.Array, shape: tuple[int, ...]) -> None:
    dtype = jnp.asarray(keys).dtype
    if not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise TypeError(f"keys: expected typed keys such as of jax.random.key, got {dtype}")
    # A batch of rbg keys draws all rows from the first key.
    if "rbg" in str(jax.random.key_impl(keys)):
        raise TypeError(f"keys: expected threefry2x32 keys, one stream a row, got {dtype}")
    if keys.shape != shape:
        raise ValueError(f"keys: expected shape {list(shape)}, got {list(keys.shape)}")


def _check_number(name: str, value: object, low: float, high: float) -> None:
    expected = f"a number from {low:g} to {high:g}"
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name}: expected {expected}, got {brief(value)}")
    if not low <= float(value) <= high:
        raise ValueError(f"{name}: expected {expected}, got {brief(value)}")


def _check_stop(stop: object) -> None:
    if not isinstance(stop, tuple) or not all(isinstance(text, str) for text in stop):
        raise TypeError(f"stop: expected a tuple of strings, got {brief(stop)}")
    for place, text in enumerate(stop):
        if not text:
            raise ValueError(f"stop[{place}]: expected a string of at least one character, got ''")
