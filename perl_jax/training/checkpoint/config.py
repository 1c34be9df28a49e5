"""When checkpoints are saved, and which of them are kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from perl_jax.settings import Checked, Count, Expects

Best = Literal["max", "min"]

_Count = Annotated[Count, Expects("a whole number of at least 1")]


@dataclass(frozen=True)
class CheckpointConfig(Checked):
    """When to save, and what to keep.

    Attributes:
        directory: Where; None: in the work directory. On several hosts all of them must see it:
            a bucket (``gs://...``) or a directory that they share.
        every: Steps between saves: the steps that it divides are saved.
        keep_last: How many of the newest are kept.
        keep_best: How many of those with the best metric are kept; None for none.
        keep_every: Steps that it divides are kept for ever; None for none.
        asynchronous: Whether the files are written while training goes on.
    """

    directory: str | None = None
    every: _Count = 50
    keep_last: _Count = 2
    keep_best: _Count | None = 1
    keep_every: _Count | None = None
    asynchronous: bool = True


def rank_by_metric(metrics: Mapping[int, float | None], best: Best) -> list[int]:
    """The steps that have a metric, best first; of equal ones the newest first."""
    sign = 1 if best == "max" else -1
    scored = [(sign * metric, step) for step, metric in metrics.items() if metric is not None]
    return [step for _, step in sorted(scored, reverse=True)]


def steps_to_keep(
    metrics: Mapping[int, float | None], config: CheckpointConfig, best: Best
) -> set[int]:
    """Which of the steps are kept.

    Args:
        metrics: For every step that is there its metric, or None.
        config: The rules; a step that any of them keeps is kept.
        best: Whether a high or a low metric is good.
    """
    kept = set(sorted(metrics)[-config.keep_last :])
    kept |= set(rank_by_metric(metrics, best)[: config.keep_best or 0])
    if config.keep_every is not None:
        kept |= {step for step in metrics if step % config.keep_every == 0}
    return kept
