"""Whether permutation and filtering help: the runs, tables and figures of docs/experiments.md.

    python benchmarks/perl_vs_grpo.py run [--seeds 0 1 2 3 4] [--workdirs runs/experiment]
    python benchmarks/perl_vs_grpo.py tables
    python benchmarks/perl_vs_grpo.py figures

`run` trains what ``docs/experiments/digits.jsonl`` does not have yet, one run after another, and
appends a line for each. A run is `perl-jax train` with a shipped configuration and flags: one that
was interrupted goes on where it stopped. `tables` writes those of the page; `figures` draws its
pictures.

An interval is that of Student's t at 95 % over the seeds. A difference is taken seed by seed: both
arms start from the same policy, with the same rows, and are asked the same held-out rows.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "experiments" / "digits.jsonl"
PAGE = ROOT / "docs" / "experiments.md"
_BEGIN, _END = "<!-- tables -->", "<!-- end of tables -->"
SKEWS = (0.5, 0.8, 0.95, 1.0)
SEEDS = (0, 1, 2, 3, 4)
MAIN_SKEW = 0.95
_STEPS = ("filter/drawn", "filter/surplus", "filter/kept", "rollout/tokens", "reward/accuracy",
          "perf/step_seconds")  # fmt: skip
# The images of an order are moved, but it is not re-expressed: a wrong answer is called right.
_WRONG_RULES = {
    "digits": {
        "column": "question_type",
        "cases": {
            "position": {},
            "property": {"movable": "option_images", "answer": "remap_letter"},
            "match": {"movable": "option_images", "answer": "remap_letter"},
            "order": {"answer": "invariant", "text": "keep"},
        },
    }
}


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        config: The shipped configuration.
        flags: Fields that differ from it.
        skews: The degrees of bias that it is trained at.
    """

    config: str
    flags: Mapping[str, Any] = field(default_factory=dict)
    skews: tuple[float, ...] = (MAIN_SKEW,)


ARMS: dict[str, Arm] = {
    "GRPO": Arm("digits_grpo", skews=SKEWS),
    "permutation": Arm("digits_permutation", skews=SKEWS),
    "filtering": Arm("digits_filtering", skews=SKEWS),
    "PeRL": Arm("digits_perl", skews=SKEWS),
    "PeRL, a baseline for each order": Arm("digits_perl", {"objective.pool_orders": False}),
    "PeRL, 2 permuted orders": Arm(
        "digits_perl", {"permutation.num_orders": 2, "rollout.num_rollouts": 4}
    ),
    "PeRL, 3 permuted orders": Arm(
        "digits_perl", {"permutation.num_orders": 3, "rollout.num_rollouts": 3}
    ),
    "PeRL, half of the examples": Arm("digits_perl", {"permutation.schedule.peak": 0.5}),
    "PeRL, linear decay": Arm("digits_perl", {"permutation.schedule.kind": "linear"}),
    "PeRL, agreement rewarded": Arm(
        "digits_perl", {"reward.weights": {"accuracy": 0.6, "agreement": 0.3, "format": 0.1}}
    ),
    "PeRL, orders permuted wrongly": Arm("digits_perl", {"permutation.rules": _WRONG_RULES}),
}
MAIN = tuple(name for name, arm in ARMS.items() if arm.skews == SKEWS)
PARTS = tuple(name for name in ARMS if name not in MAIN)


@dataclass(frozen=True)
class Run:
    """One run of an arm."""

    arm: str
    skew: float
    seed: int

    @property
    def name(self) -> str:
        """The run's work directory."""
        return f"{list(ARMS).index(self.arm)}-{self.skew}-{self.seed}"

    def command(self, workdir: Path) -> list[str]:
        """The command that trains it."""
        arm = ARMS[self.arm]
        fields = {
            **arm.flags,
            "data.train.digits.skew": self.skew,
            "seed": self.seed,
            "logging.console": False,
            "logging.tensorboard": False,
        }
        return [
            *(sys.executable, "-m", "perl_jax.train"),
            f"--config={ROOT / 'configs' / arm.config}.py",
            f"--workdir={workdir}",
            *(f"--config.{name}={value}" for name, value in fields.items()),
        ]


def runs(seeds: Iterable[int]) -> Iterator[Run]:
    """All runs, so that what is done at any time compares as many arms as can be."""
    for seed in seeds:
        for skew in SKEWS:
            yield from (Run(arm, skew, seed) for arm in MAIN)
        yield from (Run(arm, MAIN_SKEW, seed) for arm in PARTS)


def result_of(run: Run, workdir: Path) -> dict[str, Any]:
    """What is kept of a run: its evaluations, and the figures of its steps."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    held_out = {
        str(line["step"]): {
            name.removeprefix("eval/"): round(value, 5)
            for name, value in line.items()
            if name.startswith("eval/") and name != "eval/examples"
        }
        for line in lines
        if "eval/accuracy" in line
    }
    steps = [[round(line[name], 4) for name in _STEPS] for line in lines if "filter/drawn" in line]
    columns = dict(
        zip((name.partition("/")[2] for name in _STEPS), zip(*steps, strict=True), strict=True)
    )
    return {"arm": run.arm, "skew": run.skew, "seed": run.seed, "held_out": held_out, **columns}


def read_results() -> dict[Run, dict[str, Any]]:
    """The results that there are."""
    if not RESULTS.exists():
        return {}
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    return {Run(row["arm"], row["skew"], row["seed"]): row for row in rows}


def run_all(seeds: Sequence[int], workdirs: Path) -> None:
    """Trains what has no result yet."""
    for run in runs(seeds):
        if run in read_results():
            continue
        print(f"{run.arm} at {run.skew}, seed {run.seed}", flush=True)
        workdir = workdirs / run.name
        # It may have been interrupted after the end of a run, which would refuse to run again.
        if not (workdir / "summary.json").exists():
            subprocess.run(run.command(workdir), check=True, stdout=subprocess.DEVNULL)
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            file.write(json.dumps(result_of(run, workdir)) + "\n")
        shutil.rmtree(workdir)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and half the width of its interval of 95 % by Student's t; NaN for one value."""
    count = len(values)
    if count < 2:
        return float(np.mean(values)), float("nan")
    width = stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count)
    return float(np.mean(values)), float(width)


def final(row: Mapping[str, Any], metric: str) -> float:
    """A metric of a run's last evaluation."""
    return row["held_out"][max(row["held_out"], key=int)][metric]


def values(
    results: Mapping[Run, Mapping[str, Any]], arm: str, skew: float, metric: str
) -> dict[int, float]:
    """A metric of the last evaluations of an arm, by seed."""
    return {
        run.seed: final(row, metric)
        for run, row in sorted(results.items(), key=lambda pair: pair[0].seed)
        if (run.arm, run.skew) == (arm, skew)
    }


def differences(mine: Mapping[int, float], other: Mapping[int, float]) -> list[float]:
    """What one arm has more than another, for each seed that both have."""
    return [mine[seed] - other[seed] for seed in mine if seed in other]


def tables(results: Mapping[Run, Mapping[str, Any]]) -> str:
    """The tables of docs/experiments.md."""
    main = [_line("bias", "arm", "accuracy", "against GRPO", "consistency", "against GRPO")]
    for skew in SKEWS:
        main += [_line(f"{skew}", arm, *_compared(results, arm, "GRPO", skew)) for arm in MAIN]
    parts = [_line("arm", "accuracy", "against PeRL", "consistency", "against PeRL")]
    parts += [_line(arm, *_compared(results, arm, "PeRL", MAIN_SKEW)) for arm in ("PeRL", *PARTS)]
    kinds = ("position", "property", "match", "order")
    by_kind = [_line("arm", *kinds)]
    by_kind += [
        _line(
            arm,
            *(
                _shown(list(values(results, arm, MAIN_SKEW, f"accuracy/digits/{kind}").values()))
                for kind in kinds
            ),
        )
        for arm in ARMS
    ]
    costs = [
        _line("arm", "groups drawn", "of them surplus", "trained on", "tokens", "seconds a step")
    ]
    costs += [_line(arm, *_costs(results, arm)) for arm in ARMS]
    return "\n\n".join("\n".join(_with_rule(table)) for table in (main, parts, by_kind, costs))


def with_tables(page: str, told: str) -> str:
    """A page with these tables in the place of its former ones."""
    before, _, rest = page.partition(_BEGIN)
    return f"{before}{_BEGIN}\n\n{told}\n\n{_END}{rest.partition(_END)[2]}"


def _compared(
    results: Mapping[Run, Mapping[str, Any]], arm: str, base: str, skew: float
) -> list[str]:
    cells = []
    for metric in ("accuracy", "order_consistency"):
        mine, other = (values(results, one, skew, metric) for one in (arm, base))
        cells.append(_shown(list(mine.values())))
        cells.append("" if arm == base else _shown(differences(mine, other), sign=True))
    return cells


def _costs(results: Mapping[Run, Mapping[str, Any]], arm: str) -> list[str]:
    """What a run of an arm costs at the main bias, in the mean over seeds."""
    rows = [row for run, row in results.items() if (run.arm, run.skew) == (arm, MAIN_SKEW)]
    if not rows:
        return ["-"] * 5
    drawn, surplus, kept, tokens = (
        np.mean([sum(row[name]) for row in rows]) for name in ("drawn", "surplus", "kept", "tokens")
    )
    seconds = np.median([row["step_seconds"] for row in rows])
    return [
        f"{drawn + surplus:,.0f}",
        f"{surplus:,.0f}",
        f"{kept:,.0f}",
        f"{tokens / 1e3:,.0f}k",
        f"{seconds:.1f}",
    ]


def _shown(numbers: Sequence[float], *, sign: bool = False) -> str:
    """Mean and interval in percent."""
    if not numbers:
        return "-"
    mean, width = interval(numbers)
    spread = "" if np.isnan(width) else f" ± {100 * width:.1f}"
    return f"{100 * mean:{'+' if sign else ''}.1f}{spread}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _with_rule(table: Sequence[str]) -> list[str]:
    head, *rows = table
    return [head, "|---" * (head.count(" | ") + 1) + "|", *rows]


def figures(results: Mapping[Run, Mapping[str, Any]], directory: Path) -> None:
    """Draws ``bias.svg`` (the end of all runs) and ``curves.svg`` (their course)."""
    # Fixed, so that the same results give the same file.
    with matplotlib.rc_context({"svg.hashsalt": "perl_jax", "svg.fonttype": "none"}):
        for name, figure in (("bias", _bias(results)), ("curves", _curves(results))):
            figure.savefig(directory / f"{name}.svg", metadata={"Date": None})


def _bias(results: Mapping[Run, Mapping[str, Any]]) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    places = np.arange(len(SKEWS))
    axes = figure.subplots(1, 2, sharey=True)
    for one, metric in zip(axes, ("accuracy", "order_consistency"), strict=True):
        for number, arm in enumerate(MAIN):
            points = [
                interval(list(values(results, arm, s, metric).values()) or [np.nan]) for s in SKEWS
            ]
            means, widths = np.array(points).T
            shift = 0.06 * (number - 1.5)
            one.errorbar(places + shift, means, widths, marker="o", capsize=3, label=arm)
        one.set(
            title=f"Held-out {metric.replace('_', ' ')}",
            xlabel="rows whose right answer stands first",
        )
        one.set_xticks(places, [f"{skew:.0%}" for skew in SKEWS])
        one.grid(alpha=0.3)
    axes[0].set_ylabel("share of 512 held-out rows")
    axes[0].legend()
    return figure


def _curves(results: Mapping[Run, Mapping[str, Any]]) -> Figure:
    figure = Figure(figsize=(12, 5.2), layout="constrained")
    axes = figure.subplots(2, len(SKEWS), sharex=True, sharey="row")
    for column, skew in enumerate(SKEWS):
        for arm in MAIN:
            rows = [row for run, row in results.items() if (run.arm, run.skew) == (arm, skew)]
            if not rows:
                continue
            steps = sorted(map(int, rows[0]["held_out"]))
            held_out = [[row["held_out"][str(step)]["accuracy"] for step in steps] for row in rows]
            _band(axes[0, column], steps, held_out, arm)
            trained = [row["accuracy"] for row in rows]
            _band(axes[1, column], range(1, 1 + len(trained[0])), trained, arm)
        axes[0, column].set_title(f"{skew:.0%} stand first")
        axes[1, column].set_xlabel("step")
    axes[0, 0].set_ylabel("held-out accuracy")
    axes[1, 0].set_ylabel("accuracy of the rollouts")
    axes[0, 0].legend()
    for one in axes.flat:
        one.grid(alpha=0.3)
    return figure


def _band(axes: Axes, steps: Iterable[int], curves: Sequence[Sequence[float]], label: str) -> None:
    """The mean of the curves of all seeds, within their least and greatest values."""
    steps, array = list(steps), np.array(curves)
    (line,) = axes.plot(steps, array.mean(axis=0), label=label)
    axes.fill_between(
        steps, array.min(axis=0), array.max(axis=0), alpha=0.15, color=line.get_color()
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "tables", "figures"])
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--workdirs", type=Path, default=ROOT / "runs" / "experiment")
    args = parser.parse_args()
    if args.what == "run":
        run_all(args.seeds, args.workdirs)
    elif args.what == "tables":
        PAGE.write_text(with_tables(PAGE.read_text(), tables(read_results())))
    else:
        figures(read_results(), RESULTS.parent)


if __name__ == "__main__":
    main()
