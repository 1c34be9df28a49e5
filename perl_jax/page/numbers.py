"""The tables of a page: results, settings, metrics, and what was left out for which reason."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perl_jax.evaluation.statistics import STATISTICS, Scores
from perl_jax.legible import legible
from perl_jax.page.charts import Chart, Rows, band_chart, line_chart
from perl_jax.page.run import RunRecord
from perl_jax.permutation.refusal import REASONS
from perl_jax.training.display.final_table import best_evaluation
from perl_jax.training.display.metrics import find_metric
from perl_jax.training.display.panels import Panel

_MAX_CHARACTERS = 300
_MOST_DETAILED = 20
# The settings that a reader looks for first; those that a run does not have are left out.
_MAIN = (
    "model.path", "steps", "seed", "objective.preset", "objective.kl_coefficient",
    "rollout.groups", "rollout.num_rollouts", "rollout.temperature", "rollout.max_new_tokens",
    "permutation.num_orders", "permutation.schedule.kind", "permutation.schedule.peak",
    "filtering.enabled", "filtering.bounds.low", "filtering.bounds.high", "filtering.max_draws",
    "reward.weights", "optimizer.name", "optimizer.learning_rate", "learner.updates_per_batch",
    "evaluation.examples", "evaluation.num_orders", "evaluation.every", "rows",
)  # fmt: skip
_OUTCOMES = (
    ("filter/kept", "kept"),
    ("filter/too_easy", "too easy"),
    ("filter/too_hard", "too hard"),
    ("filter/unscored", "no grade"),
)
_RATES = Panel(
    "Examples that are permuted",
    "share of those drawn",
    (
        ("permutation/rate", "scheduled"),
        ("permutation/rate_drawn", "chosen"),
        ("permutation/rate_realised", "permuted"),
    ),
    smooth=False,
    limits=(-0.03, 1.03),
)
_REFUSED = "permutation/kept/"


@dataclass(frozen=True)
class Reason:
    """Why something was left out: its code, how often by step or in all, and its meaning."""

    code: str
    amount: str
    meaning: str


def result(run: RunRecord) -> list[tuple[str, str, str, str]]:
    """Name, first and last value and change of the statistics that a run is judged by."""
    rows = []
    for name, statistic in STATISTICS.items():
        values = [row[f"eval/{name}"] for row in run.metrics if row.get(f"eval/{name}") is not None]
        if statistic.summary and values:
            before, after = values[0], values[-1]
            change = "" if len(values) == 1 else shown(after - before, statistic.unit, "+")
            words = name.replace("_", " ")
            both = shown(before, statistic.unit), shown(after, statistic.unit)
            rows.append((words, *both, change))
    return rows


def best(run: RunRecord) -> tuple[int, str] | None:
    """The step of the best evaluation, and its accuracy."""
    found = best_evaluation(run.metrics)
    return None if found is None else (found[0], shown(found[1], "share"))


def settings(config: Mapping[str, Any]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The main settings, and all of them, by their paths."""
    sources = [
        f"data.{part}.{name}"
        for part in ("train", "held_out")
        for name, value in (_at(config, f"data.{part}") or {}).items()
        if value is not None
    ]
    main = [(path, _at(config, path)) for path in (_MAIN[0], *sources, *_MAIN[1:])]
    known = [(path, _short(value)) for path, value in main if value is not None]
    return known, [(_short(path), _short(value)) for path, value in _flat(config)]


def metrics(run: RunRecord) -> list[tuple[str, str, str, str]]:
    """Name, value, unit and meaning of every metric, at the last step that has it."""
    last = {name: value for row in run.metrics for name, value in row.items() if name != "step"}
    rows = []
    for name, value in sorted(last.items()):
        metric = find_metric(name)
        unit, meaning = (metric.unit, metric.meaning) if metric else ("", "")
        number = "-" if value is None else f"{value:.6g}"
        rows.append((legible(name, _MAX_CHARACTERS), number, unit, meaning))
    return rows


def filter_charts(rows: Rows) -> list[Chart]:
    """What became of the groups drawn, and how many examples were permuted."""
    charts = []
    if any("filter/kept" in row for row in rows):
        charts.append(band_chart("Groups drawn, by outcome", "groups a step", _OUTCOMES, rows))
    rates = line_chart(_RATES, rows)
    refused = sorted({name for row in rows for name in row if name.startswith(_REFUSED)})
    if refused:
        most = sorted(refused, key=lambda name: (-_mean(rows, name), name))[:4]
        labels = [(name, legible(name.removeprefix(_REFUSED), 40)) for name in most]
        have = [row for row in rows if "permutation/rate" in row or most[0] in row]
        filled = [{**dict.fromkeys(most, 0.0), **row} for row in have]
        title = "Examples kept in order, by reason"
        charts.append(band_chart(title, "share of those drawn", labels, filled))
    return charts + ([rates] if rates else [])


def refusals(rows: Rows) -> list[Reason]:
    """Why examples kept their own order: the mean share over the steps."""
    names = {name for row in rows for name in row if name.startswith(_REFUSED)}
    found = []
    for name in sorted(names, key=lambda name: (-_mean(rows, name), name)):
        code = name.removeprefix(_REFUSED)
        amount = shown(_mean(rows, name), "share")
        found.append(Reason(_short(code), amount, REASONS.get(code, "the rule lets nothing move")))
    return found


def left_out(rows: Rows, kind: str) -> list[Reason]:
    """The rows of the data that were ``skipped`` or ``filtered`` since the run began."""
    last = {name: value for row in rows for name, value in row.items()}
    found = [(name, value) for name, value in last.items() if name.startswith(f"{kind}/") and value]
    return [
        Reason(_short(name.partition("/")[2]), f"{value:,.0f}", "")
        for name, value in sorted(found, key=lambda item: -item[1])
    ]


def shown(value: float, unit: str, sign: str = "") -> str:
    """A number as a reader wants it: shares in percent, counts whole; with a sign, a difference."""
    if not math.isfinite(value):
        return "-" if math.isnan(value) else f"{value:{sign}}"
    if unit == "share":
        return f"{100 * value:{sign}.1f}" + ("" if sign else " %")
    return f"{value:{sign},.0f}" if value == round(value) else f"{value:{sign},.2f}"


@dataclass(frozen=True)
class Part:
    """The statistics of an evaluation: over all examples, and of each source and kind."""

    step: int
    rows: Sequence[tuple[str, Sequence[str]]]


HEADINGS = tuple(one.column or name.replace("_", " ") for name, one in STATISTICS.items())
MEANINGS = tuple(one.meaning for one in STATISTICS.values())


def evaluation_tables(run: RunRecord) -> list[Part]:
    """The statistics of each evaluation."""
    parts = []
    for step, evaluation in run.evaluations.items():
        rows = [("all", _cells(evaluation))]
        rows += [(_short(name), _cells(one)) for name, one in evaluation.by_source.items()]
        parts.append(Part(step, rows))
    return parts


def spread(parts: Sequence[Part]) -> Sequence[Part]:
    """At most 20 of them, the first and the last among them."""
    if len(parts) <= _MOST_DETAILED:
        return parts
    last = _MOST_DETAILED - 1
    return [parts[turn * (len(parts) - 1) // last] for turn in range(_MOST_DETAILED)]


def _cells(scores: Scores) -> list[str]:
    return [shown(getattr(scores, name), one.unit) for name, one in STATISTICS.items()]


def _mean(rows: Rows, name: str) -> float:
    """Over the steps that drew examples: one that lacks the metric had none of this reason."""
    steps = [row for row in rows if "permutation/rate" in row or name in row]
    return math.fsum(row.get(name) or 0.0 for row in steps) / len(steps)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _at(config: Mapping[str, Any], path: str) -> Any:
    """The setting at a path; None if a run of this kind has none."""
    value: Any = config
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _short(value: object) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{name} {one}" for name, one in value.items())
    elif isinstance(value, list):
        value = ", ".join(map(str, value))
    return legible(str(value), _MAX_CHARACTERS)
