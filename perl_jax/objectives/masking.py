"""Reductions that look only at what the mask keeps, whatever stands elsewhere."""

import jax
import jax.numpy as jnp


def keep(values: jax.Array, mask: jax.Array) -> jax.Array:
    """Zero outside the mask, for values and for gradients.

    Applied to inputs, before any arithmetic: a NaN or an infinity that is masked only after it
    has been used still gives NaN gradients, since zero times NaN is NaN.
    """
    return jnp.where(mask, values, jnp.zeros((), values.dtype))


def masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """The mean over a mask; 0 where it is empty."""
    count = jnp.sum(mask, dtype=values.dtype)
    return jnp.sum(keep(values, mask)) / jnp.maximum(count, 1)


def masked_max(values: jax.Array, mask: jax.Array, empty: float) -> jax.Array:
    """The largest value over a mask; ``empty`` where it is empty."""
    largest = jnp.max(values, initial=-jnp.inf, where=mask)
    return jnp.where(jnp.any(mask), largest, jnp.asarray(empty, values.dtype))
