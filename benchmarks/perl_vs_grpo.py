"""Whether permutation, filtering and their parts help: the runs, tables and figures of the experiment.

    python benchmarks/perl_vs_grpo.py run [--seeds 0 1 2 3 4] [--workdirs runs/experiment]
    python benchmarks/perl_vs_grpo.py tables
    python benchmarks/perl_vs_grpo.py figures

`run` trains every arm that ``docs/experiments/digits.jsonl`` does not have yet, one after another,
and appends one line for each. A run is `perl-jax train` with a shipped configuration and flags: what
was interrupted goes on where it stopped. `tables` prints what docs/experiments.md shows; `figures`
draws docs/experiments/*.svg.

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

import numpy as np
from scipy import stats

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "experiments" / "digits.jsonl"
SKEWS = (0.5, 0.8, 0.95, 1.0)
SEEDS = (0, 1, 2, 3, 4)
MAIN_SKEW = 0.95
_STEPS = ("filter/drawn", "filter/surplus", "filter/kept", "rollout/tokens", "reward/accuracy",
          "perf/step_seconds")  # fmt: skip
# The order of a list is moved with the images, but not re-expressed: a wrong answer is called right.
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


def read_results(path: Path = RESULTS) -> dict[Run, dict[str, Any]]:
    """The results that there are."""
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {Run(row["arm"], row["skew"], row["seed"]): row for row in rows}


def run_all(seeds: Sequence[int], workdirs: Path) -> None:
    """Trains what has no result yet."""
    for run in runs(seeds):
        if run in read_results():
            continue
        print(f"{run.arm} at {run.skew}, seed {run.seed}", flush=True)
        workdir = workdirs / run.name
        subprocess.run(run.command(workdir), check=True, stdout=subprocess.DEVNULL)
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            file.write(json.dumps(result_of(run, workdir)) + "\n")
        shutil.rmtree(workdir)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "tables", "figures"])
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--workdirs", type=Path, default=ROOT / "runs" / "experiment")
    args = parser.parse_args()
    if args.what == "run":
        run_all(args.seeds, args.workdirs)


if __name__ == "__main__":
    main()
