"""The learning curves of a run: which metrics stand on which axes, and how noise is smoothed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perl_jax.evaluation.statistics import STATISTICS

# The window of the moving average, as a part of the run.
_WINDOWS_OF_A_RUN = 20


@dataclass(frozen=True)
class Panel:
    """One set of axes: unit and limits of the vertical axis, and metric and label of each curve."""

    title: str
    unit: str
    metrics: tuple[tuple[str, str], ...]
    # Whether the values are noisy: then a moving average is drawn over them.
    smooth: bool = True
    limits: tuple[float, float] | None = None


_SHARE = (-0.03, 1.03)
PANELS = (
    Panel("Training accuracy", "share right", (("reward/accuracy", ""),), limits=_SHARE),
    *(
        Panel(
            title,
            "share",
            tuple(
                (f"eval/{name}", name.replace("_", " "))
                for name, one in STATISTICS.items()
                if one.curve == title
            ),
            smooth=False,
            limits=_SHARE,
        )
        for title in dict.fromkeys(one.curve for one in STATISTICS.values() if one.curve)
    ),
    Panel("Supervised loss", "nats per token", (("supervised/loss", ""),)),
    Panel("Response length", "tokens", (("rollout/length", ""),)),
    Panel("Entropy", "nats per token", (("policy/entropy", ""),)),
    Panel("KL to the reference", "nats per token", (("policy/kl", ""),)),
    Panel("Gradient norm", "before clipping", (("optimizer/grad_norm", ""),)),
)


def window_of(points: int) -> int:
    """How many values the moving average of so many is over; 0: too few to have one."""
    return points // _WINDOWS_OF_A_RUN if points >= 2 * _WINDOWS_OF_A_RUN else 0


def moving_average(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """At each value, the mean of the last ``window`` values; NaN counts as missing."""
    known = ~np.isnan(values)
    weights, size = np.ones(window), len(values)
    count = np.convolve(known, weights)[:size]
    total = np.convolve(np.where(known, values, 0.0), weights)[:size]
    return np.divide(total, count, out=np.full(size, np.nan), where=count > 0)
