"""Runs the stages of a preparation, each on the output of the one before."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from perl_jax.data.config import open_source
from perl_jax.data.sources.parquet import ParquetSource
from perl_jax.data.sources.source import Source
from perl_jax.files import lock
from perl_jax.legible import brief
from perl_jax.preparation.config import PrepareConfig
from perl_jax.preparation.deduplicate import deduplicate_rows
from perl_jax.preparation.difficulty import difficulty_depends, filter_difficulty
from perl_jax.preparation.directory import read_counts, write_outcomes
from perl_jax.preparation.filter import filter_rows
from perl_jax.preparation.order_check import check_orders, checking_depends
from perl_jax.preparation.rephrase import rephrase_rows, rephrasing_depends
from perl_jax.preparation.split import split_rows
from perl_jax.preparation.stage import Context, Stage
from perl_jax.settings import plain

# Cheap stages first, so that the costliest, the rollouts, have the fewest rows.
STAGES = (
    Stage("filter", filter_rows),
    Stage("rephrase", rephrase_rows, rephrasing_depends),
    Stage("deduplicate", deduplicate_rows),
    Stage("difficulty", filter_difficulty, difficulty_depends),
    Stage("order", check_orders, checking_depends),
    Stage("split", split_rows),
)
"""All stages in order; a stage's number is its place here."""


def prepare(config: PrepareConfig, workdir: str | Path, *, stage: str | None = None) -> None:
    """Runs the stages that have a section in the configuration, and prints their counts.

    A stage is skipped if its directory was made of the same rows with the same configuration.

    Args:
        config: The sections of the stages.
        workdir: Gets the stages' directories, such as ``3-deduplicate``, and ``cache``.
        stage: Run this stage alone, even if it has run.

    Raises:
        ValueError: Too many rows of a stage are bad, or none is kept; or ``stage`` has no section,
            or nothing to read.
        OSError: Reading, writing or the endpoint fails.
    """
    root = Path(workdir)
    stages = [one for one in STAGES if getattr(config, one.name) is not None]
    names = [one.name for one in stages]
    if not stages:
        known = ", ".join(one.name for one in STAGES)
        raise ValueError(f"config: expected a section for at least one stage of {known}; got none")
    if stage is not None and stage not in names:
        expected = f"expected one that the configuration has, {', '.join(names)}"
        raise ValueError(f"stage: {expected}; got {brief(stage)}")
    with lock(root, "workdir"):
        for number, one in enumerate(stages):
            if stage in (None, one.name):
                before = directory_of(root, stages[number - 1]) if number else None
                _run(one, config, root, before, forced=stage is not None)
        print(_table(root, stages))


def directory_of(workdir: Path, stage: Stage) -> Path:
    """The output directory of a stage."""
    return workdir / f"{STAGES.index(stage) + 1}-{stage.name}"


def _run(
    stage: Stage, config: PrepareConfig, workdir: Path, before: Path | None, *, forced: bool
) -> None:
    section = getattr(config, stage.name)
    context = Context(config.seed, workdir / "cache", config.endpoint)
    source = open_source(config.source) if before is None else _rows_of(before)
    identity = {
        "stage": stage.name,
        "input": source.fingerprint(),
        "config": plain(section),
        "seed": config.seed,
        "depends": stage.depends(section, context),
    }
    identity = json.loads(json.dumps(identity))  # as it is read back: tuples are lists
    directory = directory_of(workdir, stage)
    counts = read_counts(directory) or {}
    if not forced and all(counts.get(name) == value for name, value in identity.items()):
        print(f"{directory.name}: skipped, as its rows and its configuration are unchanged")
        return
    outcomes: Iterable[Any] = stage.run(source, section, context)
    bar = tqdm(outcomes, total=len(source), desc=stage.name, unit=" rows", disable=None)
    write_outcomes(bar, directory, identity, len(source), config.max_bad_fraction)


def _rows_of(directory: Path) -> Source:
    if read_counts(directory) is None:
        raise ValueError(f"{directory}: expected the rows of an earlier stage; it has not run")
    return ParquetSource(str(directory / "part-*.parquet"))


def _table(workdir: Path, stages: Iterable[Stage]) -> str:
    lines = [f"{'stage':<28}{'in':>10}{'kept':>10}{'dropped':>10}{'bad':>10}"]
    for stage in stages:
        directory = directory_of(workdir, stage)
        counts = read_counts(directory)
        if counts is None:
            lines.append(f"{directory.name:<28}  has not run")
            continue
        lost = [sum(counts[name].values()) for name in ("dropped", "bad")]
        lines.append(
            f"{directory.name:<28}{counts['in']:>10}{counts['kept']:>10}{lost[0]:>10}{lost[1]:>10}"
        )
        for width, name in ((20, "kept_as"), (30, "dropped"), (40, "bad")):
            for reason, count in counts[name].items():
                lines.append(f"    {reason:<24}{count:>{width}}")
    return "\n".join(lines)
