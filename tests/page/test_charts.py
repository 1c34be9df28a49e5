import re

import numpy as np
import pytest

from perl_jax.page.charts import FRAME, band_chart, learning_curves, line_chart
from perl_jax.training.display.panels import Panel

PANEL = Panel("Length", "tokens", (("rollout/length", ""),))


def rows(values, name="rollout/length"):
    return [{"step": step, name: value} for step, value in enumerate(values, 1)]


def points(path):
    return [tuple(map(float, pair)) for pair in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", path)]


def test_a_curve_goes_through_its_values():
    chart = line_chart(Panel("L", "", PANEL.metrics, limits=(0.0, 10.0)), rows([0, 10, 5]))
    (curve,) = chart.curves
    middle = (FRAME.left + FRAME.right) / 2
    expected = [(FRAME.left, FRAME.bottom), (middle, FRAME.top), (FRAME.right, 86)]
    assert points(curve.path) == list(curve.dots) == expected
    assert chart.y_ticks == ((164.0, "0"), (86.0, "5"), (8.0, "10"))
    assert [text for _, text in chart.x_ticks] == ["1", "2", "3"]
    assert chart.words == "0 at step 1, 5 at step 3"


def test_a_missing_value_is_a_gap():
    (curve,) = line_chart(PANEL, rows([1, 2, None, 4, 5])).curves
    assert re.sub(r"[\d. -]", "", curve.path) == "MLML"
    assert len(curve.dots) == 4


def test_noise_stands_behind_its_moving_average():
    noise, mean = line_chart(PANEL, rows(list(range(40)))).curves
    assert (noise.label, noise.faint, mean.label, mean.faint) == (
        "each step",
        True,
        "mean of 2",
        False,
    )
    # The mean of the first value is itself; that of the last two is below the last.
    assert points(noise.path)[0] == points(mean.path)[0]
    assert points(noise.path)[-1][1] < points(mean.path)[-1][1]


def test_many_steps_are_drawn_as_means_of_neighbours():
    values = np.random.default_rng(0).random(9_000)
    noise, mean = line_chart(PANEL, rows(values.tolist())).curves
    assert len(points(noise.path)) == len(points(mean.path)) == 300
    assert len(noise.path) < 5_000


@pytest.mark.parametrize(
    "values", [[3], [0], [0, 0], [7, 7, 7], [1e-9, 2e-9], [-5, 5], [1e9, 3e9], [0.999, 1.0]]
)
def test_axes_of_any_values_have_ticks_within_them(values):
    chart = line_chart(PANEL, rows(values))
    assert 3 <= len(chart.y_ticks) <= 12
    assert len({text for _, text in chart.y_ticks}) == len(chart.y_ticks)
    assert all(FRAME.top <= place <= FRAME.bottom for place, _ in chart.y_ticks)
    for x, y in points(chart.curves[0].path):
        assert FRAME.left <= x <= FRAME.right
        assert FRAME.top <= y <= FRAME.bottom


def test_what_was_not_logged_is_not_drawn():
    assert learning_curves([]) == []
    assert line_chart(PANEL, rows([None, None])) is None
    found = learning_curves(rows([0.5], "reward/accuracy"))
    assert [chart.title for chart in found] == ["Training accuracy"]


def test_bands_stand_on_each_other_and_empty_ones_are_left_out():
    counts = [{"step": 1, "a": 1, "c": 2}, {"step": 2, "a": 2, "b": 0, "c": 1}, {"step": 3, "x": 1}]
    chart = band_chart("T", "groups", (("a", "first"), ("b", "second"), ("c", "third")), counts)
    assert [(one.label, one.color) for one in chart.curves] == [("first", 0), ("third", 2)]
    low, high = (points(one.path) for one in chart.curves)
    # Up along the top of a band, and back along that of the one below.
    assert high[2:] == low[:2][::-1]
    assert low[2:] == [(FRAME.right, FRAME.bottom), (FRAME.left, FRAME.bottom)]
    assert high[0][1] == high[1][1]
    assert chart.words == "first: 1 at step 1, 2 at step 2; third: 2 at step 1, 1 at step 2"


def test_the_band_of_one_step_is_a_bar():
    (bar,) = band_chart("T", "", (("a", "first"),), [{"step": 4, "a": 2}]).curves
    left, right = points(bar.path)[:2]
    assert right[0] - left[0] > 50
