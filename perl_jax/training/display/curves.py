"""Plots the learning curves of a run as one picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from perl_jax.evaluation import STATISTICS
from perl_jax.files import whole_file
from perl_jax.training.display.writers import read_metrics

_COLUMNS = 2
# The window of the moving average, as a part of the run.
_WINDOWS_OF_A_RUN = 20


@dataclass(frozen=True)
class _Panel:
    """One set of axes: unit and limits of the vertical axis, and metric and label of each curve."""

    title: str
    unit: str
    metrics: tuple[tuple[str, str], ...]
    # Whether the values are noisy: then a moving average is drawn over them.
    smooth: bool = True
    limits: tuple[float, float] | None = None


_SHARE = (-0.03, 1.03)
_PANELS = (
    _Panel("Training accuracy", "share right", (("reward/accuracy", ""),), limits=_SHARE),
    *(
        _Panel(
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
    _Panel("Supervised loss", "nats per token", (("supervised/loss", ""),)),
    _Panel("Response length", "tokens", (("rollout/length", ""),)),
    _Panel("Entropy", "nats per token", (("policy/entropy", ""),)),
    _Panel("KL to the reference", "nats per token", (("policy/kl", ""),)),
    _Panel("Gradient norm", "before clipping", (("optimizer/grad_norm", ""),)),
)


def plot_curves(metrics_jsonl: Path, out_png: Path) -> Path:
    """Draws the curves of a run into ``out_png``, whose directory must exist, and returns it.

    Raises:
        FileNotFoundError: There is no such file of metrics.
    """
    with whole_file(out_png) as file:
        figure_of(read_metrics(metrics_jsonl)).savefig(file, format="png", dpi=120)
    return out_png


def figure_of(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draws the curves as a figure.

    Each metric is drawn over the steps that have it, with gaps where it is None. A noisy metric
    has a second line: the trailing moving average over a twentieth of its points. A metric that is
    in no row is left out.

    Args:
        rows: ``step``, and a number or None by metric, as `read_metrics` returns them.
    """
    panels = [
        panel for panel in _PANELS if any(name in row for row in rows for name, _ in panel.metrics)
    ]
    height = -(-max(len(panels), 1) // _COLUMNS)
    figure = Figure(figsize=(10, 0.6 + 2.6 * height), layout="constrained")
    if not panels:
        figure.suptitle("Learning curves: no step was logged")
        return figure
    last = max(row["step"] for row in rows)
    figure.suptitle(f"Learning curves, {last} {'step' if last == 1 else 'steps'}")
    for number, panel in enumerate(panels, start=1):
        _draw(figure.add_subplot(height, _COLUMNS, number), panel, rows)
    return figure


def _draw(axes: Axes, panel: _Panel, rows: Sequence[Mapping[str, Any]]) -> None:
    for number, (name, label) in enumerate(panel.metrics):
        points = [(row["step"], row[name]) for row in rows if name in row]
        if not points:
            continue
        # float dtype turns None into NaN.
        steps, values = np.array(points, np.float64).T
        color = f"C{number}"
        if panel.smooth and len(steps) >= 2 * _WINDOWS_OF_A_RUN:
            window = len(steps) // _WINDOWS_OF_A_RUN
            axes.plot(steps, values, color=color, alpha=0.35, linewidth=0.8, label="each step")
            label = f"mean of {window}"
            axes.plot(steps, _moving_average(values, window), color=color, label=label)
        else:
            axes.plot(steps, values, color=color, marker="o", markersize=3, label=label or None)
    axes.set(title=panel.title, xlabel="step", ylabel=panel.unit)
    if panel.limits is not None:
        axes.set_ylim(panel.limits)
    axes.grid(alpha=0.3)
    if len(axes.get_lines()) > 1:
        axes.legend(fontsize="small")


def _moving_average(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """At each value, the mean of the last ``window`` values; NaN counts as missing."""
    known = ~np.isnan(values)
    weights, size = np.ones(window), len(values)
    count = np.convolve(known, weights)[:size]
    total = np.convolve(np.where(known, values, 0.0), weights)[:size]
    return np.divide(total, count, out=np.full(size, np.nan), where=count > 0)
