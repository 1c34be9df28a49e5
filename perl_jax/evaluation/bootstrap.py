"""Means with bootstrap intervals over examples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
_BOUNDS = (2.5, 97.5)
# Draws that are weighed together: a matrix of this many rows and a column an example.
_AT_ONCE = 50


@dataclass(frozen=True)
class Interval:
    """A mean over examples, and where 95 % of its bootstrap draws lie.

    Attributes:
        value: The mean; None where no example counts.
        low: The lower end; None where ``value`` is.
        high: The upper end.
        examples: The examples that the mean is over.
    """

    value: float | None
    low: float | None
    high: float | None
    examples: int

    def as_json(self) -> dict[str, float | int | None]:
        """The interval as plain values."""
        return {
            "value": self.value, "low": self.low, "high": self.high, "examples": self.examples,
        }  # fmt: skip


def intervals(values_ExS: NDArray[np.float64], seed: int) -> list[Interval]:
    """The mean of each column over the examples that have a value, with its percentile bootstrap.

    `DRAWS` times as many examples are drawn with replacement as there are, the same for all
    columns: the interval of a column of differences is that of a paired comparison. The interval
    is from the 2.5th to the 97.5th percentile of the means of the draws.

    Args:
        values_ExS: float64 ``[examples, columns]``; NaN where an example has no value.
        seed: Draws the examples.
    """
    known = ~np.isnan(values_ExS)
    counted = known.any(axis=1)
    known, values = known[counted], np.where(known, values_ExS, 0.0)[counted]
    examples, columns = values.shape
    if not examples:
        return [Interval(None, None, None, 0)] * columns
    draws = means_of_draws(values_ExS[counted], np.random.default_rng(seed))
    counts = known.sum(axis=0)
    return [
        interval_of(float(np.sum(values[:, column])) / count, draws[:, column], count)
        if (count := int(counts[column]))
        else Interval(None, None, None, 0)
        for column in range(columns)
    ]


def interval_of(value: float, draws: NDArray[np.float64], examples: int) -> Interval:
    """A value with the middle 95 % of its draws; NaN marks a draw without a value."""
    low, high = np.nanpercentile(draws, _BOUNDS)
    return Interval(float(value), float(low), float(high), examples)


def means_of_draws(
    values_ExS: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """The means of each column over each draw of examples, those without a value left out.

    Returns:
        float64 ``[DRAWS, columns]``, NaN where no example of a draw has a value.
    """
    known_ExS = (~np.isnan(values_ExS)).astype(np.float64)
    filled_ExS = np.where(known_ExS, values_ExS, 0.0)
    examples = len(values_ExS)
    means = []
    for _ in range(DRAWS // _AT_ONCE):
        drawn = rng.integers(examples, size=(_AT_ONCE, examples))
        cells = drawn + examples * np.arange(_AT_ONCE)[:, None]
        weights = np.bincount(cells.ravel(), minlength=_AT_ONCE * examples)
        weights_DxE = weights.reshape(_AT_ONCE, examples).astype(np.float64)
        with np.errstate(invalid="ignore"):
            means.append((weights_DxE @ filled_ExS) / (weights_DxE @ known_ExS))
    return np.concatenate(means)
