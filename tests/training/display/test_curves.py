import json

import numpy as np
import pytest
from PIL import Image

from perl_jax.training.display.curves import figure_of, plot_curves
from perl_jax.training.display.writers import LoggingConfig, MetricsWriter, read_metrics


def rows_of_a_run(steps=60):
    rng = np.random.default_rng(0)
    rows = []
    for step in range(1, steps + 1):
        row = {
            "step": step,
            "reward/accuracy": float(rng.random()),
            "rollout/length": float(50 + step),
            "policy/entropy": 1 / step,
            "policy/kl": 0.001 * step,
            "optimizer/grad_norm": None if step == 7 else 1.0 + step % 3,
            "reward/mean": 0.5,
        }
        if step % 20 == 0:
            row |= {"eval/accuracy": step / 100, "eval/order_consistency": 1 - step / 100}
        rows.append(row)
    return [{"step": 0, "eval/accuracy": 0.1, "eval/order_consistency": 0.9}, *rows]


def panels(figure):
    return {axes.get_title(): axes for axes in figure.axes}


def points(line):
    return [tuple(point) for point in line.get_xydata()]


METRIC_OF_PANEL = {
    "Training accuracy": "reward/accuracy",
    "Response length": "rollout/length",
    "Entropy": "policy/entropy",
    "KL to the reference": "policy/kl",
    "Gradient norm": "optimizer/grad_norm",
}


def test_what_is_drawn_are_the_numbers_of_the_file(tmp_path):
    rows = rows_of_a_run()
    with MetricsWriter(
        tmp_path, LoggingConfig(tensorboard=False), run_name="run", settings={}
    ) as writer:
        for row in rows:
            values = {name: value for name, value in row.items() if name != "step"}
            writer.write(
                row["step"], {n: float("nan") if v is None else v for n, v in values.items()}
            )
    drawn = panels(figure_of(read_metrics(tmp_path / "metrics.jsonl")))
    assert drawn.keys() == {*METRIC_OF_PANEL, "Held-out examples"}
    for title, name in METRIC_OF_PANEL.items():
        have = [row for row in rows if name in row]
        want = [[row["step"], np.nan if row[name] is None else row[name]] for row in have]
        np.testing.assert_array_equal(drawn[title].get_lines()[0].get_xydata(), want)
    held_out = {line.get_label(): points(line) for line in drawn["Held-out examples"].get_lines()}
    assert held_out == {
        "accuracy": [(0, 0.1), (20, 0.2), (40, 0.4), (60, 0.6)],
        "order consistency": [(0, 0.9), (20, 0.8), (40, 0.6), (60, 0.4)],
    }


def test_the_second_line_is_the_moving_average():
    rows = rows_of_a_run(60)
    smooth = panels(figure_of(rows))["Training accuracy"].get_lines()[1]
    assert smooth.get_label() == "mean of 3"
    values = [row["reward/accuracy"] for row in rows if "reward/accuracy" in row]
    want = [np.mean(values[max(0, i - 2) : i + 1]) for i in range(60)]
    np.testing.assert_allclose(smooth.get_ydata(), want, rtol=1e-12)
    np.testing.assert_array_equal(smooth.get_xdata(), np.arange(1, 61))


def test_a_gap_is_left_out_of_the_moving_average():
    smooth = panels(figure_of(rows_of_a_run(60)))["Gradient norm"].get_lines()[1]
    # Steps 5, 6, 8, 9 have 3, 1, 3, 1; step 7 has none.
    np.testing.assert_allclose(smooth.get_ydata()[6:9], [2.0, 2.0, 2.0])
    np.testing.assert_allclose(smooth.get_ydata()[4:6], [2.0, 2.0])


def test_a_short_run_has_points_and_no_average():
    axes = panels(figure_of(rows_of_a_run(5)))["Entropy"]
    (line,) = axes.get_lines()
    assert points(line) == [(step, 1 / step) for step in range(1, 6)]
    assert line.get_marker() == "o"
    assert axes.get_legend() is None


def test_axes_say_what_they_show_and_in_which_unit():
    figure = figure_of(rows_of_a_run())
    assert figure.get_suptitle() == "Learning curves, 60 steps"
    units = {
        title: (axes.get_xlabel(), axes.get_ylabel()) for title, axes in panels(figure).items()
    }
    assert units == {
        "Training accuracy": ("step", "share right"),
        "Held-out examples": ("step", "share"),
        "Response length": ("step", "tokens"),
        "Entropy": ("step", "nats per token"),
        "KL to the reference": ("step", "nats per token"),
        "Gradient norm": ("step", "before clipping"),
    }
    legend = panels(figure)["Held-out examples"].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["accuracy", "order consistency"]


def test_what_a_run_does_not_have_is_left_out():
    rows = [{"step": 1, "supervised/loss": 2.0}, {"step": 2, "supervised/loss": 1.0}]
    (axes,) = figure_of(rows).axes
    assert axes.get_title() == "Supervised loss"
    assert points(axes.get_lines()[0]) == [(1, 2.0), (2, 1.0)]
    accuracy_only = [{"step": 3, "eval/accuracy": 0.5}]
    (axes,) = figure_of(accuracy_only).axes
    assert [line.get_label() for line in axes.get_lines()] == ["accuracy"]
    nothing = figure_of([])
    assert nothing.axes == []
    assert "no step was logged" in nothing.get_suptitle()


def test_the_picture_is_a_png_with_ink_in_every_panel(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        "".join(json.dumps(row) + "\n" for row in rows_of_a_run()) + '{"step": 61, "rew'
    )
    out = plot_curves(path, tmp_path / "curves.png")
    assert out == tmp_path / "curves.png"
    with Image.open(out) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape[1] == 1200
    # Coloured ink, beside black text and grey grids: three rows of two panels.
    colourful = pixels.max(axis=-1) - pixels.min(axis=-1) > 60
    rows, columns = np.array_split(np.arange(len(pixels)), 3), (slice(0, 600), slice(600, 1200))
    assert all(colourful[part][:, column].any() for part in rows for column in columns)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"metrics\.jsonl"):
        plot_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
