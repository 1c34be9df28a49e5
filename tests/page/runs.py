"""Work directories as runs leave them, by the writers that runs use."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from perl_jax.config import TrainConfig
from perl_jax.evaluation.records import Record
from perl_jax.evaluation.results import Evaluation
from perl_jax.overrides import open_config
from perl_jax.rewards import Grade
from perl_jax.settings import plain
from perl_jax.training.display.logs import RunLogs
from perl_jax.training.display.rollout_log import RolloutLogConfig
from perl_jax.training.display.writers import LoggingConfig
from tests.training.display.rows import row

# What must never do anything but be read.
HOSTILE = (
    "</p></script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}&lt;\"'"
    "\u202egnp\u061c\x1b[31m\x00\u200b"
)
SEEN = (
    "</p></script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}&lt;\"'"
    r"\u202egnp\u061c\u001b[31m\u0000\u200b"
)


def metrics(step: int) -> dict[str, float]:
    return {
        "reward/accuracy": 0.5 + 0.1 * step,
        "filter/kept": 3.0,
        "filter/too_easy": 1.0,
        "filter/too_hard": 0.0,
        "permutation/rate": 1.0,
        "permutation/rate_drawn": 1.0,
        "permutation/rate_realised": 0.75,
        "permutation/kept/ambiguous_side": 0.25,
        "skipped/bad_image": float(step),
    }


def record(id: str, order: Sequence[int], right: bool, consistent: bool) -> Record:
    grade = Grade(float(right), "scored", "exact")
    return Record(
        id, "digits", "match", tuple(order), 0, "A", "A", "A", grade, consistent, 3, False
    )


RECORDS = (
    record("a", (0, 1), True, True), record("a", (1, 0), True, True),
    record("b", (0, 1), True, False), record("b", (1, 0), False, False),
)  # fmt: skip


def write_run(
    workdir: Path,
    rows: Mapping[int, Sequence[Mapping[str, Any]]] | None = None,
    *,
    steps: int = 2,
    format: str = "jsonl",
    evaluations: Sequence[int] = (0, 2),
    resume_step: int | None = None,
    ended: bool = True,
    pictures: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """A run with these rows of its rollouts by step; None: one group a step."""
    rows = {step: [row()] for step in range(1, steps + 1)} if rows is None else rows
    logging = LoggingConfig(tensorboard=False, rollouts=RolloutLogConfig(format=format))
    settings = plain(open_config(TrainConfig, "demo", {"steps": str(steps)}))
    workdir.mkdir(parents=True, exist_ok=True)
    (workdir / "config.json").write_text(json.dumps(settings))
    with RunLogs(workdir, logging, settings={}, resume_step=resume_step, active=True) as logs:
        for step in range(0 if resume_step is None else resume_step + 1, steps + 1):
            logs.record(step, rows.get(step, []))
            found = metrics(step) if step else {}
            if step in evaluations:
                evaluation = Evaluation.of(RECORDS)
                logs.keep(step, evaluation)
                found |= evaluation.metrics()
            if found:
                logs.write(step, found)
    if ended:
        (workdir / "summary.json").write_text(json.dumps({"steps": steps, "seconds": 61.5}))
    (workdir / "images").mkdir(exist_ok=True)
    for digest, pixels in (pictures or {"aa": grey(0), "bb": grey(255)}).items():
        Image.fromarray(pixels).save(workdir / "images" / f"{digest}.jpg", quality=90)
    return workdir


def grey(level: int) -> np.ndarray:
    return np.full((28, 28, 3), level, np.uint8)
