"""Settings for saving and keeping checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from perl_jax.legible import brief
from perl_jax.settings import Checked, Count, Expects

_BUCKETS = ("gs://", "s3://")
_Count = Annotated[Count, Expects("a whole number of at least 1")]


@dataclass(frozen=True)
class CheckpointConfig(Checked):
    """When to save checkpoints, and which to keep.

    Attributes:
        directory: The directory of checkpoints; None: in the work directory. All hosts must see it:
            a bucket (``gs://...``, or ``s3://...`` for one host) or a shared directory.
        every: Steps that are a multiple of it are saved.
        keep_last: The number of newest checkpoints to keep.
        keep_best: The number of checkpoints with the highest metric to keep; None for none.
        keep_every: Steps that are a multiple of it are kept for ever; None for none.
        asynchronous: Whether files are written while training continues.
    """

    directory: str | None = None
    every: _Count = 50
    keep_last: _Count = 2
    keep_best: _Count | None = 1
    keep_every: _Count | None = None
    asynchronous: bool = True

    def _check_together(self) -> None:
        if "://" in (self.directory or "") and not str(self.directory).startswith(_BUCKETS):
            raise ValueError(
                f"directory: expected a path, gs://BUCKET/FOLDER or s3://BUCKET/FOLDER, as "
                f"checkpoints are written to no other bucket; got {brief(self.directory)}: give "
                "the path of a file system that all hosts share, or mount the bucket"
            )


def rank_by_metric(metrics: Mapping[int, float | None]) -> list[int]:
    """The steps with a metric, the highest first; among equal metrics the newest first."""
    scored = [(metric, step) for step, metric in metrics.items() if metric is not None]
    return [step for _, step in sorted(scored, reverse=True)]


def steps_to_keep(metrics: Mapping[int, float | None], config: CheckpointConfig) -> set[int]:
    """The existing steps that any rule keeps; ``metrics`` has every step's metric or None."""
    kept = set(sorted(metrics)[-config.keep_last :])
    kept |= set(rank_by_metric(metrics)[: config.keep_best or 0])
    if config.keep_every is not None:
        kept |= {step for step in metrics if step % config.keep_every == 0}
    return kept
