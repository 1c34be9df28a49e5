"""Graders that several runs share, as the processes of one take a second to start."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from perl_jax import runs
from perl_jax.rewards import Grader, RewardConfig
from tests.update.cases import quick_compilation
from tests.update.kept_programs import kept_programs


class _Kept(Grader):
    """Stays when a run closes it, for the next one with these settings."""

    def close(self) -> None:
        pass

    def end(self) -> None:
        super().close()


@contextmanager
def kept_graders() -> Iterator[Callable[[RewardConfig], Grader]]:
    """Stands for `perl_jax.rewards.make_grader`; its graders end with the block."""
    made: dict[tuple[float, ...], _Kept] = {}

    def make(config: RewardConfig) -> Grader:
        key = (
            config.workers, config.deadline, config.absolute_tolerance, config.relative_tolerance,
        )  # fmt: skip
        if key not in made:
            made[key] = _Kept(
                num_workers=config.workers,
                deadline=config.deadline,
                absolute_tolerance=config.absolute_tolerance,
                relative_tolerance=config.relative_tolerance,
            )
        return made[key]

    try:
        yield make
    finally:
        for grader in made.values():
            grader.end()


@contextmanager
def quick_runs() -> Iterator[None]:
    """Runs in the block compile quickly, and share their graders and equal programs."""
    with (
        quick_compilation(),
        kept_programs(),
        kept_graders() as make_grader,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(runs, "make_grader", make_grader)
        yield
