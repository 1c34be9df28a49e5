"""Plots the learning curves of a run as one picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from perl_jax.files import whole_file
from perl_jax.training.display.panels import PANELS, Panel, moving_average, window_of
from perl_jax.training.display.writers import read_metrics

_COLUMNS = 2


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
        panel for panel in PANELS if any(name in row for row in rows for name, _ in panel.metrics)
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


def _draw(axes: Axes, panel: Panel, rows: Sequence[Mapping[str, Any]]) -> None:
    for number, (name, label) in enumerate(panel.metrics):
        points = [(row["step"], row[name]) for row in rows if name in row]
        if not points:
            continue
        # float dtype turns None into NaN.
        steps, values = np.array(points, np.float64).T
        color = f"C{number}"
        if panel.smooth and (window := window_of(len(steps))):
            axes.plot(steps, values, color=color, alpha=0.35, linewidth=0.8, label="each step")
            label = f"mean of {window}"
            axes.plot(steps, moving_average(values, window), color=color, label=label)
        else:
            axes.plot(steps, values, color=color, marker="o", markersize=3, label=label or None)
    axes.set(title=panel.title, xlabel="step", ylabel=panel.unit)
    if panel.limits is not None:
        axes.set_ylim(panel.limits)
    axes.grid(alpha=0.3)
    if len(axes.get_lines()) > 1:
        axes.legend(fontsize="small")
