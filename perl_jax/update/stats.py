"""Statistics of micro-batches and updates, by their names in the logs, combined on the device.

A prefix says how those of micro-batches are combined: ``sum/`` and ``count/`` add up, ``mean/`` are
sums over tokens that are finally divided by ``count/tokens``, ``max/`` and ``min/`` are extremes.
``tokens`` is not logged.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

Stats = dict[str, jax.Array]

_COMBINE = {"max": jnp.max, "min": jnp.min}
# Over the updates of a batch these are summed or taken from the last; the others are averaged, or
# extremes if their name says so.
_SUMMED = ("tokens", "optimizer/skipped", "update/applied")
_LAST = ("optimizer/learning_rate", "optimizer/param_norm")


def over_tokens(means: Mapping[str, jax.Array], mask: jax.Array) -> Stats:
    """Turns means over the tokens of a mask into statistics that can be combined."""
    count = jnp.sum(mask, dtype=jnp.float32)
    return {f"mean/{name}": mean * count for name, mean in means.items()} | {"count/tokens": count}


def of_update(parts: Sequence[Mapping[str, jax.Array]]) -> Stats:
    """Combines the micro-batches of one update, and drops the prefixes."""
    tokens = jnp.maximum(sum(part["count/tokens"] for part in parts), 1)
    combined = {}
    for name in parts[0]:
        kind, plain = name.split("/", 1)
        value = _COMBINE.get(kind, jnp.sum)(jnp.stack([part[name] for part in parts]))
        combined[plain] = value / tokens if kind == "mean" else value
    return combined


def of_batch(updates: Sequence[Mapping[str, jax.Array]]) -> Stats:
    """Combines the updates of one batch."""

    def combine(name: str) -> jax.Array:
        values = jnp.stack([update[name] for update in updates])
        if name in _LAST:
            return values[-1]
        if name in _SUMMED:
            return jnp.sum(values)
        if name.endswith("_max"):
            return jnp.max(values)
        if name.endswith("_min"):
            return jnp.min(values)
        return jnp.mean(values)

    return {name: combine(name) for name in updates[0]}
