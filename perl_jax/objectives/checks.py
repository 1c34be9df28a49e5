"""Checks of arrays and settings of public functions, at trace time: compiled code is unaffected."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from perl_jax.settings import check_choice

choice = check_choice


def at_least(name: str, value: Any, bound: float, *, exclusive: bool = False) -> None:
    """Raises ValueError for a Python number below its bound; a traced number cannot be checked."""
    if isinstance(value, int | float) and not (value > bound if exclusive else value >= bound):
        sign = ">" if exclusive else ">="
        raise ValueError(f"{name}: expected a number {sign} {bound:g}; got {value!r}")


def real(name: str, values: ArrayLike) -> jax.Array:
    """The values as a float32 array, or float64 where the caller works in float64."""
    array = jnp.asarray(values)
    is_number = jnp.issubdtype(array.dtype, jnp.number) or array.dtype == jnp.bool_
    if not is_number or jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(f"{name}: expected real numbers; got dtype {array.dtype}")
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def boolean(name: str, mask: ArrayLike | None, shape: tuple[int, ...]) -> jax.Array:
    """The mask as a boolean array of the given shape: all true for None, else nonzero is true."""
    if mask is None:
        return jnp.ones(shape, bool)
    array = jnp.asarray(mask)
    same_shape(name, array, shape)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        raise TypeError(f"{name}: expected bool, or 0 and 1; got dtype {array.dtype}")
    return array if array.dtype == jnp.bool_ else array != 0


def same_shape(name: str, array: jax.Array, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless an array has exactly this shape."""
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}; got {list(array.shape)}")


def min_rank(name: str, array: jax.Array, rank: int, axes: str) -> None:
    """Raises ValueError for an array with too few axes to have the documented ones."""
    if array.ndim < rank:
        raise ValueError(f"{name}: expected axes {axes}; got shape {list(array.shape)}")


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
