"""How the next token is drawn: temperature, truncation, repetition penalty, log-probabilities."""

from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

# Divisors up to here have a reciprocal in float32; with a larger one, -inf / divisor may be NaN.
LARGEST = 1e30
SMALLEST = 1e-30

# The width of a TPU's vector lanes, and a divisor of the vocabulary sizes that models are padded
# to: cutting the vocabulary into blocks is then free.
BLOCK = 128


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class StrategyParameters:
    """The numbers of a `Strategy` as scalar arrays, so that no value of theirs recompiles.

    `Strategy.parameters` makes them on the host; whoever calls a compiled function places them.

    Attributes:
        temperature: float32; below 1e-30 it means 0.
        top_k: int32; its largest value stands for no limit.
        top_p: float32.
        min_p: float32.
        repetition_penalty: float32.
    """

    temperature: ArrayLike
    top_k: ArrayLike
    top_p: ArrayLike
    min_p: ArrayLike
    repetition_penalty: ArrayLike


@dataclass(frozen=True)
class Strategy:
    """How responses are drawn from the policy. The defaults sample it as it is.

    The steps, in this order: the repetition penalty, the temperature, top_k, top_p on what top_k
    left, min_p (`keep` has the formulas), one draw from what is left. The published methods are
    nucleus sampling (arXiv 1904.09751) for top_p, arXiv 2407.01082 for min_p and CTRL (arXiv
    1909.05858, section 4.1) for the repetition penalty.

    Attributes:
        temperature: Divides the logits. 0, or less than 1e-30, takes the most probable token, of
            equals that with the lowest id, whatever the truncation.
        top_k: How many of the most probable tokens to keep; more than the vocabulary holds is all
            of them. None: no limit, which is faster than a large one.
        top_p: Keep the fewest of the most probable tokens that reach this probability together:
            1 keeps all of them, 0 the most probable one.
        min_p: Keep the tokens at least this many times as probable as the most probable one: 0
            keeps all of them, 1 those tied with the best.
        repetition_penalty: Divides the positive logits of tokens that stand in the prompt or the
            response, and multiplies the negative ones. 1 is off.
        stop: A response ends as soon as its text holds one of these strings.

    Raises:
        ValueError: A value is out of its range.
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
                raise TypeError(f"top_k: expected a whole number or None, got {self.top_k!r}")
            if self.top_k < 1:
                raise ValueError(f"top_k: expected at least 1, or None for all, got {self.top_k!r}")
        _check_number("top_p", self.top_p, 0, 1)
        _check_number("min_p", self.min_p, 0, 1)
        _check_number("repetition_penalty", self.repetition_penalty, SMALLEST, LARGEST)
        _check_stop(self.stop)

    @property
    def ranked(self) -> bool:
        """Whether truncation goes by rank: a fact of the program, as it costs many passes."""
        return self.top_k is not None or self.top_p < 1

    @property
    def penalises(self) -> bool:
        """Whether a draw needs to know the tokens seen: a fact of the program too."""
        return self.repetition_penalty != 1

    def parameters(self) -> StrategyParameters:
        """The numbers that a compiled program takes as arguments."""
        unlimited = np.iinfo(np.int32).max
        return StrategyParameters(
            temperature=np.float32(self.temperature),
            top_k=np.int32(unlimited if self.top_k is None else min(self.top_k, unlimited)),
            top_p=np.float32(self.top_p),
            min_p=np.float32(self.min_p),
            repetition_penalty=np.float32(self.repetition_penalty),
        )


def keep(logits: ArrayLike, parameters: StrategyParameters, *, ranked: bool) -> jax.Array:
    """Which tokens truncation leaves to draw from.

    With ``p = softmax(logits / temperature)`` and the tokens ranked by falling logit, equals by
    rising id, a token is kept if all three keep it:

    - top_k: its rank, from 0, is below top_k.
    - top_p: the tokens of lower rank have less than top_p of the probability of those that top_k
      keeps. So exactly the fewest tokens that reach top_p stay. The most probable one always does.
    - min_p: ``p >= min_p * max(p)``.

    Sums and comparisons are float32. At temperature 0 the probabilities are those of
    temperature 1.

    Args:
        logits: float ``[..., V]``, before the temperature. -inf is a token that cannot be drawn,
            and is never kept.
        parameters: Those of a `Strategy`.
        ranked: `Strategy.ranked`, static; false ignores top_k and top_p, and costs one pass.

    Returns:
        bool ``[..., V]``. In a row where nothing can be drawn, or that holds a NaN, it means
        nothing.

    Raises:
        ValueError: The logits have no axis V, or an empty one.
        TypeError: The logits are not floating.
    """
    logits = _enter(logits)
    relative = _relative(logits, _best(logits), parameters.temperature)
    # Compared as logarithms, which are exact at the edges: log 1 is 0, and log 0 is -inf.
    kept = (relative > -jnp.inf) & (relative >= jnp.log(jnp.asarray(parameters.min_p)))
    if ranked:
        kept &= _leads(logits, relative, parameters)
    return kept


def penalise(logits: ArrayLike, seen: ArrayLike, parameters: StrategyParameters) -> jax.Array:
    """The logits after the repetition penalty, which makes tokens that were seen less probable.

    ``z * penalty`` for seen tokens with ``z < 0``, ``z / penalty`` for other seen tokens, ``z``
    elsewhere.

    Args:
        logits: float ``[..., V]``, before the temperature.
        seen: bool ``[..., V]``, the tokens in the prompt and the response of each row.
        parameters: Those of a `Strategy`.

    Returns:
        float32 ``[..., V]``.

    Raises:
        ValueError: Shapes that do not fit.
        TypeError: A wrong dtype.
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
    """Draws one token a row, and the policy's log-probability of each.

    With ``z`` the logits, -inf where banned, the token comes from ``softmax(z' / temperature)``
    over what `keep` leaves of it, where ``z'`` is z after the repetition penalty (`penalise`). At
    temperature 0 it is ``argmax(z')``, of equals the lowest id.

    The log-probability is that of the policy, ``log_softmax(z / temperature)[token]``: over all
    tokens that are not banned, before truncation and before the penalty; at temperature 0 it is
    that of temperature 1.

    Each row has its own stream of random numbers, so what is drawn in it does not depend on the
    rows beside it. The draw takes two steps, a block of tokens by its total probability and then
    a token within it, each the largest of log-probability plus Gumbel noise: the same
    distribution as noise on every token, for about a hundredth of the random numbers.

    A row without a distribution gets the log-probability NaN, and its token means nothing: one
    with a NaN or +inf among the logits that are not banned, or with nothing left to draw.
    Callers must check.

    Args:
        logits: float ``[..., V]``.
        keys: Typed keys ``[...]``, such as ``jax.random.key`` makes.
        parameters: Those of a `Strategy`.
        ranked: `Strategy.ranked`, static.
        banned: bool ``[V]``, the tokens never drawn; None for none.
        seen: bool ``[..., V]``, the tokens in the prompt and the response of each row. None turns
            the repetition penalty off.

    Returns:
        ``(tokens, logprobs)``, int32 and float32 ``[...]``.

    Raises:
        ValueError: Shapes that do not fit.
        TypeError: A wrong dtype, or keys of an implementation whose streams are not independent.
    """
    logits = _enter(logits)
    _check_keys(keys, logits.shape[:-1])
    if banned is not None:
        banned = _flags("banned", banned, logits.shape[-1:])
        lead = (1,) * (logits.ndim - 1)
        logits = jnp.where(banned.reshape(*lead, -1), -jnp.inf, logits)
    policy = _relative(logits, _best(logits), parameters.temperature)
    if seen is not None:
        logits = penalise(logits, seen, parameters)
    relative = _relative(logits, _best(logits), parameters.temperature)
    relative = jnp.where(keep(logits, parameters, ranked=ranked), relative, -jnp.inf)
    greedy = jnp.argmax(logits, axis=-1)
    tokens = jnp.where(_is_hot(parameters.temperature), _categorical(keys, relative), greedy)
    tokens = tokens.astype(jnp.int32)

    chosen = jnp.take_along_axis(policy, tokens[..., None], axis=-1)[..., 0]
    return tokens, chosen - jnp.log(jnp.sum(jnp.exp(policy), axis=-1))


def _leads(logits: jax.Array, relative: jax.Array, parameters: StrategyParameters) -> jax.Array:
    """Which tokens top_k keeps, and of these top_p."""
    order = _order(logits)
    within_k = _fewest(order, jnp.ones(order.shape, jnp.int32), parameters.top_k)
    mass = jnp.where(within_k, jnp.exp(relative), 0)
    total = jnp.sum(mass, axis=-1, keepdims=True)
    top_p = jnp.asarray(parameters.top_p)
    # A float32 sum does not notice the far tail, so that keeping all must not depend on it.
    return within_k & _fewest(order, mass, jnp.where(top_p >= 1, jnp.inf, top_p * total))


def _order(logits: jax.Array) -> jax.Array:
    """uint32 numbers that compare as the logits do."""
    logits = jnp.where(logits == 0, 0, logits)  # -0 equals 0, but its bits do not
    bits = lax.bitcast_convert_type(logits, jnp.uint32)
    sign = jnp.uint32(1 << 31)
    return jnp.where(bits < sign, bits | sign, ~bits)


def _fewest(order: jax.Array, weights: jax.Array, target: ArrayLike) -> jax.Array:
    """The fewest tokens of the highest order that weigh the target together, at least one.

    All of them where all weigh less. Equal orders follow their ids. Bisection reads the vocabulary
    about 32 times and moves nothing, which is several times faster than a sort.
    """
    target = jnp.broadcast_to(target, (*order.shape[:-1], 1))
    last = _last(order, jnp.ones(order.shape, bool), weights, target)
    ahead, tied = order > last, order == last
    rest = target - jnp.sum(jnp.where(ahead, weights, 0), axis=-1, keepdims=True)
    reversed_ids = order.shape[-1] - lax.broadcasted_iota(jnp.uint32, order.shape, order.ndim - 1)
    return ahead | (tied & (reversed_ids >= _last(reversed_ids, tied, weights, rest)))


def _last(order: jax.Array, members: jax.Array, weights: jax.Array, target: jax.Array) -> jax.Array:
    """The highest order from which upwards the members weigh the target, else their lowest."""
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
    """One draw a row from softmax(logits), whose largest logit is 0: a block, then a token."""
    *lead, vocabulary = logits.shape
    blocks = -(-vocabulary // BLOCK)
    padding = [(0, 0)] * len(lead) + [(0, blocks * BLOCK - vocabulary)]
    logits = jnp.pad(logits, padding, constant_values=-jnp.inf).reshape(*lead, blocks, BLOCK)

    # The low mode never draws what is less probable than about 1e-8 of the best.
    noise_of = partial(jax.random.gumbel, shape=(blocks + BLOCK,), dtype=jnp.float32, mode="high")
    for _ in lead:
        noise_of = jax.vmap(noise_of)
    noise = noise_of(keys)

    mass = jnp.sum(jnp.exp(logits), axis=-1)
    block = jnp.argmax(jnp.log(mass) + noise[..., :blocks], axis=-1)
    inside = jnp.take_along_axis(logits, block[..., None, None], axis=-2)[..., 0, :]
    return block * BLOCK + jnp.argmax(inside + noise[..., blocks:], axis=-1)


def _best(logits: jax.Array) -> jax.Array:
    return jnp.max(logits, axis=-1, keepdims=True)


def _relative(logits: jax.Array, best: jax.Array, temperature: ArrayLike) -> jax.Array:
    """Logits at the temperature, relative to the best, which becomes 0.

    Subtracting before dividing cannot overflow to +inf or NaN, however low the temperature is.
    """
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
    # A batch of rbg keys draws all its rows from the first key.
    if "rbg" in str(jax.random.key_impl(keys)):
        raise TypeError(f"keys: expected threefry2x32 keys, one stream a row, got {dtype}")
    if keys.shape != shape:
        raise ValueError(f"keys: expected shape {list(shape)}, got {list(keys.shape)}")


def _check_number(name: str, value: object, low: float, high: float) -> None:
    expected = f"a number from {low:g} to {high:g}"
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name}: expected {expected}, got {value!r}")
    if not low <= float(value) <= high:
        raise ValueError(f"{name}: expected {expected}, got {value!r}")


def _check_stop(stop: object) -> None:
    if not isinstance(stop, tuple) or not all(isinstance(text, str) for text in stop):
        raise TypeError(f"stop: expected a tuple of strings, got {stop!r}")
    for place, text in enumerate(stop):
        if not text:
            raise ValueError(f"stop[{place}]: expected a string of at least one character, got ''")
