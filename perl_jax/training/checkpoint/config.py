"""When checkpoints are saved, and which of them are kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from perl_jax.settings import Checked, Count, Expects

_Count = Annotated[Count, Expects("a whole number of at least 1")]


@dataclass(frozen=True)
class CheckpointConfig(Checked):
    """When to save, and what to keep.

    Attributes:
        directory: Where; None: in the work directory. All hosts must see it: a bucket
            (``gs://...``) or a directory that they share.
        every: The steps that it divides are saved.
        keep_last: How many of the newest are kept.
        keep_best: How many of those with the highest metric are kept; None for none.
        keep_every: The steps that it divides are kept for ever; None for none.
        asynchronous: Whether the files are written while training goes on.
    """

    directory: str | None = None
    every: _Count = 50
    keep_last: _Count = 2
    keep_best: _Count | None = 1
    keep_every: _Count | None = None
    asynchronous: bool = True


def rank_by_metric(metrics: Mapping[int, float | None]) -> list[int]:
    """The steps that have a metric, the highest first; of equal ones the newest first."""
    scored = [(metric, step) for step, metric in metrics.items() if metric is not None]
    return [step for _, step in sorted(scored, reverse=True)]


def steps_to_keep(metrics: Mapping[int, float | None], config: CheckpointConfig) -> set[int]:
    """The steps that any rule keeps, of those that are there, each with its metric or None."""
    kept = set(sorted(metrics)[-config.keep_last :])
    kept |= set(rank_by_metric(metrics)[: config.keep_best or 0])
    if config.keep_every is not None:
        kept |= {step for step in metrics if step % config.keep_every == 0}
    return kept
