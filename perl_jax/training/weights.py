"""How much every token of a mini-batch counts, computed on the host."""

import numpy as np

from perl_jax.objectives import checks
from perl_jax.objectives.aggregation import AGGREGATIONS, Aggregation


def token_weights(
    mask: np.ndarray, how: Aggregation = "token_mean", length: float | None = None
) -> np.ndarray:
    """`aggregation_weights` in NumPy: the weighted sum of losses per token is their `aggregate`.

    The weights of a whole mini-batch are known before it is cut into micro-batches. On the host
    they cost no compilation for every new length of responses, and no wait for the device.

    Args:
        mask: bool ``[..., R]``.
        how: As in `aggregate`.
        length: As in `aggregate`: the generation budget that ``constant_length`` needs.

    Returns:
        float32 of the mask's shape, 0 outside the mask.

    Raises:
        ValueError: For an unknown way or a missing length.
    """
    check_aggregation(how, length)
    tokens = np.sum(mask, axis=-1, keepdims=True)
    responses = np.count_nonzero(tokens)
    if how == "token_mean":
        divisor = np.full_like(tokens, tokens.sum())
    elif how == "sequence_mean_token_mean":
        divisor = tokens * responses
    elif how == "sequence_mean_token_sum":
        divisor = np.full_like(tokens, responses)
    else:
        divisor = np.full_like(tokens, responses) * length
    return (mask / np.where(divisor > 0, divisor, 1)).astype(np.float32)


def check_aggregation(how: Aggregation, length: float | None) -> None:
    """Raises ValueError for an unknown way, or where ``constant_length`` has no length."""
    checks.choice("how", how, AGGREGATIONS)
    if how == "constant_length" and not (length or 0) > 0:
        raise ValueError(f"length: constant_length expects the generation budget; got {length}")
