"""Curves over the steps of a run, as the shapes of a small drawing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perl_jax.training.display.panels import PANELS, Panel, moving_average, window_of

# A screen shows no more.
_MOST_POINTS = 300
_MOST_DOTS = 30
_LEAST_TICKS = 3


@dataclass(frozen=True)
class Frame:
    """The size of a drawing, and the edges of what is inside its axes."""

    width: int = 360
    height: int = 190
    left: int = 46
    right: int = 350
    top: int = 8
    bottom: int = 164


FRAME = Frame()
"""That of all charts: as wide as a phone, so that its text is legible there."""

Rows = Sequence[Mapping[str, Any]]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A line, or the border of a filled band.

    Attributes:
        label: What it is; empty: what the title says.
        color: The number of its colour.
        path: Its shape.
        faint: Whether it is the noise behind a moving average.
        filled: Whether the shape is a band.
        dots: Its points, if they are few.
    """

    label: str
    color: int
    path: str
    faint: bool = False
    filled: bool = False
    dots: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Chart:
    """A drawing in `FRAME`, and what it shows in words.

    Attributes:
        x_ticks: Place and text.
        y_ticks: Place and text.
        words: First and last value of every curve, for those who do not see it.
    """

    title: str
    unit: str
    curves: tuple[Curve, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    words: str


def learning_curves(rows: Rows) -> list[Chart]:
    """The curves of `PANELS` whose metrics were logged."""
    charts = (line_chart(panel, rows) for panel in PANELS)
    return [chart for chart in charts if chart is not None]


def line_chart(panel: Panel, rows: Rows) -> Chart | None:
    """The curves of a panel, as `curves.figure_of` draws them; None if nothing was logged."""
    found = []
    for name, label in panel.metrics:
        steps, values = _points(rows, name)
        if np.isfinite(values).any():
            found.append((label, steps, values))
    if not found:
        return None
    plane = _Plane.of([steps for _, steps, _ in found], [v for _, _, v in found], panel.limits)
    curves: list[Curve] = []
    for color, (label, steps, values) in enumerate(found):
        if panel.smooth and (window := window_of(len(steps))):
            curves.append(Curve("each step", color, plane.path(steps, values), faint=True))
            label, values = f"mean of {window}", moving_average(values, window)
            curves.append(Curve(label, color, plane.path(steps, values)))
        else:
            dots = plane.dots(steps, values) if len(steps) <= _MOST_DOTS else ()
            curves.append(Curve(label, color, plane.path(steps, values), dots=dots))
    words = "; ".join(_words(label, steps, values) for label, steps, values in found)
    return Chart(panel.title, panel.unit, tuple(curves), plane.x_ticks, plane.y_ticks, words)


def band_chart(title: str, unit: str, metrics: Sequence[tuple[str, str]], rows: Rows) -> Chart:
    """Bands of counts, one on the other; a metric that a step lacks counts as 0.

    The steps are those that have the first metric; there must be one.
    """
    have = [row for row in rows if metrics[0][0] in row]
    steps = np.array([row["step"] for row in have], np.float64)
    layers = [
        (label, np.array([row.get(name) or 0.0 for row in have], np.float64))
        for name, label in metrics
    ]
    tops = np.cumsum([values for _, values in layers], axis=0)
    plane = _Plane.of([steps], [tops[-1]], (0.0, 1.05 * float(tops[-1].max()) or 1.0))
    floors = np.vstack([np.zeros_like(steps), tops[:-1]])
    curves = tuple(
        Curve(label, color, plane.band(steps, floor, top), filled=True)
        for color, ((label, values), floor, top) in enumerate(
            zip(layers, floors, tops, strict=True)
        )
        if values.any()
    )
    words = "; ".join(_words(label, steps, values) for label, values in layers if values.any())
    return Chart(title, unit, curves, plane.x_ticks, plane.y_ticks, words)


@dataclass(frozen=True)
class _Plane:
    """Where steps and values lie in a drawing."""

    x_limits: tuple[float, float]
    y_limits: tuple[float, float]

    @classmethod
    def of(
        cls, steps: Sequence[Values], values: Sequence[Values], limits: tuple[float, float] | None
    ) -> "_Plane":
        every_step, every_value = np.concatenate(steps), np.concatenate(values)
        first, last = float(np.min(every_step)), float(np.max(every_step))
        if limits is None:
            low, high = float(np.nanmin(every_value)), float(np.nanmax(every_value))
            margin = 0.05 * (high - low) or abs(high) or 1.0
            limits = low - margin, high + margin
        # A single step stands in the middle.
        return cls((first, last) if last > first else (first - 1, last + 1), limits)

    def x(self, step: float) -> float:
        low, high = self.x_limits
        return round(FRAME.left + (FRAME.right - FRAME.left) * (step - low) / (high - low), 1)

    def y(self, value: float) -> float:
        low, high = self.y_limits
        return round(FRAME.bottom - (FRAME.bottom - FRAME.top) * (value - low) / (high - low), 1)

    def dots(self, steps: Values, values: Values) -> tuple[tuple[float, float], ...]:
        pairs = zip(steps, values, strict=True)
        return tuple((self.x(step), self.y(value)) for step, value in pairs if np.isfinite(value))

    def path(self, steps: Values, values: Values) -> str:
        """A line with gaps where a value is missing."""
        parts, pen_is_down = [], False
        for step, value in zip(*_thinned(steps, values), strict=True):
            if np.isfinite(value):
                parts.append(f"{'L' if pen_is_down else 'M'}{self.x(step)} {self.y(value)}")
            pen_is_down = bool(np.isfinite(value))
        return "".join(parts)

    def band(self, steps: Values, floor: Values, top: Values) -> str:
        """The area between two lines; that of a single step is a bar."""
        if len(steps) == 1:
            steps = np.array([steps[0] - 0.4, steps[0] + 0.4])
            floor, top = np.repeat(floor, 2), np.repeat(top, 2)
        there = self.path(steps, top)
        back = self.path(*(line[::-1] for line in _thinned(steps, floor)))
        return f"{there}L{back[1:]}Z"

    @property
    def x_ticks(self) -> tuple[tuple[float, str], ...]:
        ticks = _ticks(*self.x_limits)
        return tuple((self.x(step), f"{step:,.0f}") for step in ticks if step == round(step))

    @property
    def y_ticks(self) -> tuple[tuple[float, str], ...]:
        return tuple((self.y(value), f"{value:,.6g}") for value in _ticks(*self.y_limits))


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two others, at least three of them."""
    unit = 10.0 ** math.floor(math.log10(high - low))
    for part in (2.0, 1.0, 0.5, 0.25, 0.2, 0.1):
        step = unit * part
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 >= _LEAST_TICKS:
            # Without the error of the multiplication, 0.30000000000000004.
            return [float(f"{step * number:.12g}") for number in range(first, last + 1)]
    raise AssertionError


def _points(rows: Rows, name: str) -> tuple[Values, Values]:
    """The steps that have a metric, and its values; None becomes NaN."""
    have = [(row["step"], row[name]) for row in rows if name in row]
    points = np.array(have, np.float64).reshape(-1, 2)
    return points[:, 0], points[:, 1]


def _thinned(steps: Values, values: Values) -> tuple[Values, Values]:
    """Means of neighbours, if there are more points than a screen shows."""
    if len(steps) <= _MOST_POINTS:
        return steps, values
    parts = np.array_split(np.arange(len(steps)), _MOST_POINTS)
    known = np.isfinite(values)
    means = [values[part][known[part]].mean() if known[part].any() else np.nan for part in parts]
    return np.array([steps[part].mean() for part in parts]), np.array(means)


def _words(label: str, steps: Values, values: Values) -> str:
    known = np.flatnonzero(np.isfinite(values))
    first, last = known[0], known[-1]
    text = f"{values[first]:.3g} at step {steps[first]:.0f}"
    if last != first:
        text += f", {values[last]:.3g} at step {steps[last]:.0f}"
    return f"{label}: {text}" if label else text
