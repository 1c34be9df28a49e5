"""Runs of training that say what they do, or forget something when they go on.

    python -m tests.training.resume_program tell FILE FLAGS...
    python -m tests.training.resume_program forget STOPPED OUT MUTANT,MUTANT FLAGS...

The first is ``python -m perl_jax.train FLAGS`` that also writes into a file what it is doing. The
second copies the work directory of a stopped run for each mutant, in which something of the state
is not restored, and lets it go on.
"""

import runpy
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp

from perl_jax import main, runs
from perl_jax.data.pipeline.pipeline import Pipeline
from perl_jax.experience.collect import Collector
from perl_jax.training.checkpoint import Checkpoints
from perl_jax.update.learner import Learner

Patch = Callable[[], AbstractContextManager[Any]]


def tell(file: str) -> None:
    """Trains; every phase of a step, numbered from 1, is a line of the file before it begins."""
    step = 0

    def telling(phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Any, *arguments: Any, **options: Any) -> Any:
            nonlocal step
            step += phase == "rollout"
            with open(file, "a") as lines:
                lines.write(f"{phase} {step}\n")
            return function(self, *arguments, **options)

        return call

    def resumed(*arguments: Any, **options: Any) -> Any:
        nonlocal step
        result = start_or_resume(*arguments, **options)
        step = result[1]
        return result

    start_or_resume = runs.start_or_resume
    runs.start_or_resume = resumed
    for phase, owner, name in (
        ("rollout", Collector, "collect"),
        ("update", Learner, "reinforce"),
        ("save", Checkpoints, "save"),
        ("restore", Checkpoints, "restore"),
    ):
        setattr(owner, name, telling(phase, getattr(owner, name)))
    runpy.run_module("perl_jax.train", run_name="__main__")


def _another_state(change: Callable[[Any, Any], Any]) -> Patch:
    """Goes on from a state that is changed, given the one that a run starts from."""
    start_or_resume = runs.start_or_resume

    def changed(checkpoints: Any, stepper: Any, model: Any, key: Any, **options: Any) -> Any:
        fresh = stepper.learner.init(model, key)
        state, step, progression = start_or_resume(checkpoints, stepper, model, key, **options)
        return change(state, fresh), step, progression

    return lambda: mock.patch.object(runs, "start_or_resume", changed)


def _forgotten_data() -> AbstractContextManager[Any]:
    return mock.patch.object(Pipeline, "restore")


def _read_ahead() -> AbstractContextManager[Any]:
    """The place in the data is that of what was prepared, not of what was used."""
    restore = Pipeline.restore

    def further(self: Pipeline, state: Any, **options: Any) -> None:
        restore(self, state, **options)
        next(self)

    return mock.patch.object(Pipeline, "restore", further)


def _moved_reference() -> AbstractContextManager[Any]:
    """The penalty compares with the policy that the run goes on from."""
    start_or_resume = runs.start_or_resume

    def changed(checkpoints: Any, stepper: Any, *arguments: Any, **options: Any) -> Any:
        state, step, progression = start_or_resume(checkpoints, stepper, *arguments, **options)
        dtypes = jax.tree.map(lambda leaf: leaf.dtype, stepper.learner.reference)
        copied = jax.tree.map(lambda leaf, dtype: jnp.array(leaf, dtype), state.params, dtypes)
        stepper.learner.reference = copied
        return state, step, progression

    return mock.patch.object(runs, "start_or_resume", changed)


MUTANTS: dict[str, Patch] = {
    "nothing": nullcontext,
    "data": _forgotten_data,
    "read ahead": _read_ahead,
    "key": _another_state(lambda state, _: replace(state, key=jax.random.key(0))),
    "optimizer": _another_state(lambda state, fresh: replace(state, optimizer=fresh.optimizer)),
    "reference": _moved_reference,
}


def forget(stopped: str, out: str, chosen: str) -> None:
    """Lets the mutants go on, each in a copy of the run of its own named as the mutant."""

    def go_on(config: Any, _: str) -> None:
        for name in chosen.split(","):
            workdir = shutil.copytree(stopped, Path(out) / name)
            with MUTANTS[name]():
                runs.train(config, workdir)

    main.run_main(__doc__, runs.TrainConfig, go_on, errors=runs.RUN_ERRORS)


if __name__ == "__main__":
    mode, count = {"tell": (tell, 1), "forget": (forget, 3)}[sys.argv[1]]
    arguments = sys.argv[2 : 2 + count]
    sys.argv = [sys.argv[0], *sys.argv[2 + count :]]
    mode(*arguments)
