"""From a loss per token to one number: which tokens and which responses weigh how much."""

from typing import Any, Literal, assert_never, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from perl_jax.objectives import checks
from perl_jax.objectives.checks import keep

Aggregation = Literal[
    "token_mean", "sequence_mean_token_mean", "sequence_mean_token_sum", "constant_length"
]
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)


def aggregate(
    values: ArrayLike, mask: ArrayLike, how: Aggregation = "token_mean", length: float | None = None
) -> jax.Array:
    r"""One number from values per token.

    With ``S`` responses that have at least one unmasked token, response i having ``n_i`` of them:

    ============================  ======================================  =======================
    how                           result                                  source
    ============================  ======================================  =======================
    ``token_mean``                ``sum_it v_it / sum_i n_i``             DAPO, arXiv 2503.14476
    ``sequence_mean_token_mean``  ``1/S sum_i 1/n_i sum_t v_it``          GRPO, arXiv 2402.03300
                                                                          eq. 3
    ``sequence_mean_token_sum``   ``1/S sum_i sum_t v_it``                REINFORCE, RLOO
    ``constant_length``           ``1/(S * length) sum_it v_it``          Dr. GRPO, arXiv
                                                                          2503.20783
    ============================  ======================================  =======================

    Responses without any unmasked token (padding rows, unscored rollouts, empty responses) are
    not among the S. An empty mask gives 0, with zero gradients. Values outside the mask are never
    read: NaN there changes neither the result nor its gradient.

    A mean over a batch is not the mean of the means over its micro-batches: to accumulate
    gradients, take `aggregation_weights` of the whole batch and sum.

    Args:
        values: Real numbers ``[..., R]``.
        mask: Bool, or 0 and 1, of the same shape.
        how: The way.
        length: The constant of ``constant_length``, in tokens: the generation budget. The padded
            length would change from one bucket to the next. The other ways ignore it.

    Returns:
        A float32 scalar.

    Raises:
        ValueError: For an unknown way, a missing length, or shapes that differ.
    """
    array = checks.real("values", values)
    checks.min_rank("values", array, 1, "[..., R]")
    keep_mask = checks.boolean("mask", mask, array.shape)
    weights = aggregation_weights(keep_mask, how, length).astype(array.dtype)
    return jnp.sum(keep(array, keep_mask) * weights)


def aggregation_weights(
    mask: ArrayLike, how: Aggregation = "token_mean", length: float | None = None
) -> jax.Array:
    """The weight of every token, so that ``aggregate`` is the weighted sum of its values.

    This is what gradient accumulation needs. Weights of a batch's mask are computed once, and
    sliced along with the batch; the sum of ``weights * loss`` over a micro-batch is then that
    micro-batch's share, and shares (and their gradients) add up to the batch's, however unevenly
    its tokens are spread.

    Args:
        mask: Bool, or 0 and 1, ``[..., R]``.
        how: As in `aggregate`.
        length: As in `aggregate`.

    Returns:
        float32 of the mask's shape, 0 outside the mask. Loss values there must be finite (or be
        masked first): 0 times NaN is NaN.
    """
    check_aggregation(how, length)
    array = jnp.asarray(mask)
    checks.min_rank("mask", array, 1, "[..., R]")
    kept = checks.boolean("mask", array, array.shape)
    return _weights(jnp, kept.astype(jnp.float32), how, length)


def token_weights(
    mask: np.ndarray, how: Aggregation = "token_mean", length: float | None = None
) -> np.ndarray:
    """`aggregation_weights` in NumPy, of a bool mask ``[..., R]``.

    The weights of a whole mini-batch are known before it is cut into micro-batches. On the host
    they cost no compilation for every new length of responses, and no wait for the device.
    """
    check_aggregation(how, length)
    return _weights(np, mask.astype(np.float64), how, length).astype(np.float32)


def check_aggregation(how: Aggregation, length: float | None) -> None:
    """Raises ValueError for an unknown way, or where ``constant_length`` has no length."""
    checks.choice("how", how, AGGREGATIONS)
    if how == "constant_length" and length is None:
        raise ValueError("length: constant_length expects the generation budget; got None")
    checks.at_least("length", length, 0, exclusive=True)


def _weights(numpy: Any, mask: Any, how: Aggregation, length: float | None) -> Any:
    """The weights of a mask of 0.0 and 1.0, in the arithmetic of NumPy or of JAX."""
    tokens = mask.sum(axis=-1, keepdims=True)
    responses = (tokens > 0).sum()
    match how:
        case "token_mean":
            divisor = tokens.sum()
        case "sequence_mean_token_mean":
            divisor = tokens * responses
        case "sequence_mean_token_sum":
            divisor = responses
        case "constant_length":
            divisor = responses * length
        case _:
            assert_never(how)
    return mask / numpy.where(divisor > 0, divisor, 1)
