"""The stored arrays of a pytree by name: typed keys as words, and no arrays without elements."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from perl_jax.training.checkpoint.checksums import checksums
from perl_jax.training.checkpoint.record import Leaf


def name_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by their dotted paths.

    Raises:
        ValueError: There are none, or two have the same path.
    """
    named: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "array"
        if name in named:
            raise ValueError(f"{name}: expected different paths; got this one twice")
        named[name] = leaf
    if not named:
        raise ValueError("arrays: expected at least one; got none")
    return named


def data_of(named: Mapping[str, Any]) -> dict[str, jax.Array]:
    """The arrays, with typed keys replaced by their words.

    Raises:
        ValueError: A leaf is not a jax.Array.
    """
    for name, leaf in named.items():
        if not isinstance(leaf, jax.Array):
            raise ValueError(f"{name}: expected a jax.Array; got {type(leaf).__name__}")
    return {
        name: jax.random.key_data(leaf) if _is_key(leaf) else leaf for name, leaf in named.items()
    }


def abstract_data_of(named: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of what `data_of` returns for arrays like these, with their shardings.

    Raises:
        ValueError: A leaf has no sharding.
    """
    abstract = {}
    for name, leaf in named.items():
        if getattr(leaf, "sharding", None) is None:
            raise ValueError(
                f"{name}: expected a jax.ShapeDtypeStruct with a sharding; got {leaf!r:.200}"
            )
        data = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        if _is_key(leaf):
            # A key's words are a new last axis, which the key's own sharding does not split.
            data = jax.eval_shape(jax.random.key_data, data)
        abstract[name] = jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=leaf.sharding)
    return abstract


def leaf_records(named: Mapping[str, jax.Array], data: Mapping[str, jax.Array]) -> dict[str, Leaf]:
    """The `Leaf` of every array."""
    sums = checksums(data)
    return {
        name: Leaf(
            shape=tuple(leaf.shape),
            dtype=str(leaf.dtype),
            checksum=sums[name],
            key=str(jax.random.key_impl(leaf)) if _is_key(leaf) else None,
        )
        for name, leaf in named.items()
    }


def misfits(saved: Mapping[str, Leaf], wanted: Mapping[str, Any], *, partial: bool) -> list[str]:
    """The differences between a step's arrays and those wanted, one line each."""
    lines = [f"{name} is not in the checkpoint" for name in wanted if name not in saved]
    if not partial:
        lines += [f"{name} is not in this run" for name in saved if name not in wanted]
    for name in [name for name in wanted if name in saved]:
        there, here = (f"{x.dtype}{list(x.shape)}" for x in (saved[name], wanted[name]))
        if there != here:
            lines.append(f"{name} is {there} in the checkpoint and {here} in this run")
    return lines


def empty(like: jax.ShapeDtypeStruct) -> jax.Array:
    """Makes an array without elements, as such arrays are not stored."""
    # A jitted function's empty output has shards of the wrong shape.
    zeros = np.zeros(like.shape, like.dtype)
    return jax.make_array_from_callback(like.shape, like.sharding, lambda index: zeros[index])


def rebuild(tree: Any, data: Mapping[str, jax.Array], saved: Mapping[str, Leaf]) -> Any:
    """Builds a pytree like ``tree`` from this data, with words turned back into keys."""
    leaves = {
        name: jax.random.wrap_key_data(data[name], impl=key) if (key := saved[name].key) else array
        for name, array in data.items()
    }
    return jax.tree.unflatten(jax.tree.structure(tree), [leaves[n] for n in name_leaves(tree)])


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
