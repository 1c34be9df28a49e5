"""Deals the groups of a batch over its updates.

Only groups with a gradient make an update: without any, momentum would move the parameters.
Everything here follows from arrays that all hosts hold.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Part:
    """The groups of one update, by their numbers in the batch, ascending.

    Attributes:
        counted: The groups whose tokens count in the loss's denominators.
        worked: Those of them that have a gradient; no pass is spent on the others.
    """

    counted: list[int]
    worked: list[int]


def groups_with_gradient(
    advantages_BxKxN: np.ndarray, mask_BxKxNxR: np.ndarray, *, of_any_token: bool
) -> np.ndarray:
    """Which groups have a gradient, bool ``[B]``.

    A rollout has one if it has a token in the mask, and an advantage other than 0 or a term of the
    loss that any token has (``of_any_token``): a penalty or a bonus.
    """
    counts = np.asarray(mask_BxKxNxR.any(axis=-1))
    if not of_any_token:
        counts = counts & (advantages_BxKxN != 0)
    return np.asarray(counts.reshape(len(counts), -1).any(axis=-1))


def deal(has_gradient_B: np.ndarray, updates: int) -> list[Part]:
    """Deals groups over at most this many updates, each of which has a gradient.

    Groups with a gradient are dealt in the order drawn; their counts differ by at most one, and so
    do those of the other groups and of all. Too few of them make fewer updates; none make none.
    """
    worked = np.flatnonzero(has_gradient_B)
    parts = min(updates, len(worked))
    if parts == 0:
        return []
    # The first parts have the odd groups with a gradient, the last ones those without.
    others = np.array_split(np.flatnonzero(~has_gradient_B)[::-1], parts)[::-1]
    return [
        Part(sorted([*own.tolist(), *other.tolist()]), own.tolist())
        for own, other in zip(np.array_split(worked, parts), others, strict=True)
    ]


def turns(parts: int, epochs: int) -> list[int]:
    """The part of each update of a batch, in order. Every epoch begins with the next part."""
    return [(epoch + number) % parts for epoch in range(epochs) for number in range(parts)]
