"""What an earlier run left in a work directory: goes on, is moved aside, or is an error."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etils import epath

from perl_jax.files import read_object
from perl_jax.legible import brief
from perl_jax.training.checkpoint.config import CheckpointConfig
from perl_jax.training.checkpoint.files import absolute
from perl_jax.training.checkpoint.mirror import open_steps
from perl_jax.training.display.writers import METRICS_FILE, read_metrics

logger = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
STAGING = ".checkpoints"
CONFIG = "config.json"
SUMMARY = "summary.json"
ROLLOUTS = "rollouts.jsonl"

# Patterns of what a run writes into its work directory; other files there are left alone.
_LOGS = (
    CONFIG, METRICS_FILE, "rollouts.*", "skipped_rows*.jsonl", "tensorboard", "wandb*",
    "evaluations", "images", "reward_functions.log",
)  # fmt: skip
_ALL = (*_LOGS, SUMMARY, "curves.png", "export*", "fresh_model", CHECKPOINTS, STAGING)


def recorded_settings(workdir: Path) -> dict[str, Any]:
    """The configuration that a run recorded, as plain values.

    Raises:
        FileNotFoundError: There is none.
        ValueError: The file is not that of a run.
    """
    settings = read_object(workdir / CONFIG)
    if not {"model", "data", "checkpoint"} <= settings.keys():
        raise ValueError(
            f"{workdir}: expected the work directory of a run; its {CONFIG} is not one of a run, "
            "but perhaps that of a model"
        )
    return settings


@dataclass(frozen=True)
class EarlierRun:
    """What the files of a work directory say about the run that wrote them.

    Attributes:
        directory: Its checkpoints; None: not known.
        every: Its ``checkpoint.every``; None: not known.
        logged: The last step that it logged; 0: none.
        finished: Whether it had ended.
    """

    directory: epath.Path | None
    every: int | None
    logged: int
    finished: bool

    @classmethod
    def of(cls, workdir: Path) -> "EarlierRun":
        """Reads them; each may be missing."""
        config = workdir / CONFIG
        settings: Any = read_object(config) if config.exists() else {}
        checkpoint = settings.get("checkpoint", {})
        if not isinstance(checkpoint, dict) or not isinstance(
            checkpoint.get("directory", ""), str | None
        ):
            raise ValueError(
                f"{config}: checkpoint: expected its settings; got {brief(checkpoint)}"
            )
        metrics = workdir / METRICS_FILE
        steps = [row["step"] for row in read_metrics(metrics)] if metrics.exists() else []
        return cls(
            directory=checkpoint_directory(settings, workdir) if checkpoint else None,
            every=checkpoint.get("every"),
            logged=max(steps, default=0),
            finished=(workdir / SUMMARY).exists(),
        )


def checkpoint_directory(settings: Any, workdir: Path) -> epath.Path:
    """The directory of checkpoints of a run, from the content of its ``config.json``."""
    return absolute(settings["checkpoint"].get("directory") or workdir / CHECKPOINTS)


def settle(workdir: Path, directory: epath.Path, config: CheckpointConfig) -> bool:
    """Decides whether a run goes on from checkpoints; call it on one host.

    If an earlier run died before its first checkpoint, its logs are moved aside.

    Args:
        workdir: The work directory.
        directory: The directory of checkpoints of this run.
        config: Its settings.

    Returns:
        Whether there are checkpoints.

    Raises:
        ValueError: The work directory is that of a run whose checkpoints are gone or elsewhere.
    """
    if open_steps(directory).seen():
        return True
    earlier = EarlierRun.of(workdir)
    ways = (
        "--restart moves the files of that run aside and starts again, and another --workdir "
        "leaves them as they are"
    )
    if earlier.directory not in (None, directory) and open_steps(earlier.directory).seen():
        raise ValueError(
            f"{workdir}: the checkpoints of this run are in {earlier.directory}, as its {CONFIG} "
            f"says, and checkpoint.directory is now {directory}, where there are none. To go on, "
            f"give --config.checkpoint.directory={earlier.directory}, or copy them first; {ways}"
        )
    every = earlier.every or config.every
    # The first save is begun right after the step is logged; it may not have begun.
    if earlier.finished or (earlier.logged > every and not _has_unfinished(directory)):
        raise ValueError(
            f"{workdir}: an earlier run logged {earlier.logged} steps here and saved every "
            f"{every}, and its checkpoints are gone: there are none in "
            f"{earlier.directory or directory}"
            + (f" and none in {directory}" if earlier.directory not in (None, directory) else "")
            + f". To go on, put them back; {ways}"
        )
    if earlier.logged:
        aside = move_aside(workdir, _LOGS)
        logger.warning(
            "%s: an earlier run stopped after step %d, before its first checkpoint (checkpoint."
            "every=%d); starts again from the beginning, its logs are now in %s",
            workdir, earlier.logged, every, aside,
        )  # fmt: skip
    return False


def restart(workdir: Path, directory: epath.Path) -> None:
    """Moves everything that an earlier run left aside; call it on one host.

    Raises:
        ValueError: There are checkpoints outside of the work directory, which stay where they are.
    """
    steps = open_steps(directory).seen()
    if steps and directory != absolute(workdir / CHECKPOINTS):
        raise ValueError(
            f"--restart: expected an empty checkpoint.directory, as only the one in the work "
            f"directory is moved; {directory} holds the steps {', '.join(map(str, steps))}. Give "
            "another --config.checkpoint.directory, or move them"
        )
    aside = move_aside(workdir, _ALL)
    if aside is not None:
        logger.warning("%s: the files of the earlier run are now in %s", workdir, aside)


def move_aside(workdir: Path, patterns: tuple[str, ...]) -> Path | None:
    """Moves the files of these names into a new directory in the work directory.

    Returns:
        The directory; None if there are no such files.
    """
    found = sorted({path for pattern in patterns for path in workdir.glob(pattern)})
    # A lease is the running job's own and stays.
    found = [path for path in found if path.name != CHECKPOINTS or _visible(path)]
    if not found:
        return None
    aside = _new_directory(workdir)
    for path in found:
        if path.name != CHECKPOINTS:
            path.rename(aside / path.name)
            continue
        (aside / CHECKPOINTS).mkdir()
        for inner in _visible(path):
            inner.rename(aside / CHECKPOINTS / inner.name)
    return aside


def _new_directory(workdir: Path) -> Path:
    name, number = f"before-{time.strftime('%Y%m%d-%H%M%S')}", 1
    while True:
        aside = workdir / (name if number == 1 else f"{name}-{number}")
        try:
            aside.mkdir()
        except FileExistsError:
            number += 1
        else:
            return aside


def _visible(directory: Any) -> list[Any]:
    return [path for path in directory.iterdir() if not path.name.startswith(".")]


def _has_unfinished(directory: epath.Path) -> bool:
    """Whether there is the beginning of a save in a directory without complete steps."""
    return directory.exists() and bool(_visible(directory))
