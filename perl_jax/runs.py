"""Runs: assembles the configured parts, runs them, and reports the result."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
from etils import epath

from perl_jax import hosts
from perl_jax.config import RunConfig, TrainConfig, WarmstartConfig
from perl_jax.experience.collect import Collector
from perl_jax.files import ResumableLog, whole_directory, write_whole
from perl_jax.hosts import HostsError
from perl_jax.models import save_model
from perl_jax.models.fresh import write_fresh_model
from perl_jax.models.opening import ModelConfig, open_model
from perl_jax.parts import (
    Parts,
    fingerprint,
    make_evaluator,
    make_learner,
    make_rewarder,
    make_rollout_copy,
    open_parts,
)
from perl_jax.rewards import GradingError, RewardConfig
from perl_jax.settings import plain, read_config
from perl_jax.training.checkpoint import CheckpointConfig, CheckpointError, Checkpoints
from perl_jax.training.display.curves import plot_curves
from perl_jax.training.display.progress import ProgressBar, final_table
from perl_jax.training.display.throughput import Throughput, peak_of
from perl_jax.training.display.writers import METRICS_FILE, MetricsWriter
from perl_jax.training.loop import Loop, Outcome, Stepper, start_or_resume
from perl_jax.training.reinforce import Reinforce
from perl_jax.training.start import Start
from perl_jax.training.supervised import Supervised
from perl_jax.training.workdir import Preemption, lock_workdir
from perl_jax.update.learner import Learner, UpdateConfig
from perl_jax.update.operations import forward_operations
from perl_jax.update.state import SplitPolicy

CHECKPOINTS = "checkpoints"
EXPORT = "export"
CONFIG = "config.json"
SUMMARY = "summary.json"
CURVES = "curves.png"

_AS_IT_IS = Start()

RUN_ERRORS = (CheckpointError, GradingError, HostsError)
"""The exceptions that may end a run, besides wrong values and failing storage."""


def train(config: TrainConfig, workdir: str | Path, start: Start = _AS_IT_IS) -> Outcome:
    """Trains a policy by reinforcement learning, from the start or from its latest checkpoint.

    The work directory holds everything of the run; see `perl_jax.train`.
    """

    def stepper(parts: Parts) -> Stepper:
        model = parts.model.config
        learner = make_learner(
            config, parts.model, parts.processor.banned_rows(model.vocab_size), parts.mesh
        )
        collector = Collector(
            parts.sampler,
            parts.pipeline.take,
            make_rewarder(config, parts),
            lambda groups, responses: forward_operations(model, groups, responses).forward(),
            rollout=config.rollout,
            permutation=config.permutation,
            filtering=config.filtering,
            objective=config.objective,
            response_lengths=config.learner.packing.response_lengths,
            seed=config.seed,
            total_steps=config.steps,
            sharding=learner.sharding,
        )
        copy = make_rollout_copy(config, parts.model, parts.mesh)
        return Reinforce(learner, collector, parts.pipeline, copy)

    return _run(config, workdir, start, config.reward, stepper)


def warmstart(config: WarmstartConfig, workdir: str | Path, start: Start = _AS_IT_IS) -> Outcome:
    """Trains a policy on given responses, from the start or from its latest checkpoint."""

    def stepper(parts: Parts) -> Stepper:
        learner = Learner(
            parts.model,
            parts.processor.banned_rows(parts.model.config.vocab_size),
            config=config.learner,
            optimizer=config.optimizer,
            total_updates=config.steps,
            mesh=parts.mesh,
        )
        longest = config.max_response_tokens
        return Supervised(learner, parts.pipeline, parts.processor, config.rows, longest)

    return _run(config, workdir, start, RewardConfig(), stepper)


def _run(
    config: RunConfig,
    given: str | Path,
    start: Start,
    reward: RewardConfig,
    make_stepper: Callable[[Parts], Stepper],
) -> Outcome:
    hosts.set_deadline(config.hosts.deadline)
    main = hosts.is_main()
    with ExitStack() as stack:
        workdir = stack.enter_context(_own_workdir(given))
        config = _with_model(config, workdir)
        parts = open_parts(config, reward, workdir, stack)
        identity = fingerprint(config, parts.source)
        hosts.check_same(identity, "what the hosts run")
        stepper = make_stepper(parts)
        directory = _checkpoint_directory(config.checkpoint, workdir)
        checkpoints = stack.enter_context(
            Checkpoints(directory, config.checkpoint, fingerprint=identity)
        )
        key = jax.random.key(config.seed)
        state, step, progression = start_or_resume(checkpoints, stepper, parts.model, key)
        if hosts.gather(_is_finished(workdir, step), "whether the run is finished")[0]:
            raise ValueError(
                f"{workdir}: this run is finished: {step} of {config.steps} steps are done; give "
                "another work directory to run again"
            )
        log = None
        if main:
            write_whole(workdir / CONFIG, json.dumps(plain(config), indent=2) + "\n")
            log = ResumableLog(workdir / "rollouts.jsonl", "step")
            log.take_back(step or -1)
        loop = Loop(
            stepper=stepper,
            checkpoints=checkpoints,
            write=stack.enter_context(
                MetricsWriter(
                    workdir,
                    config.logging,
                    run_name=workdir.name,
                    settings=plain(config),
                    resume_step=step or None,
                    active=main,
                )
            ).write,
            progress=ProgressBar(
                config.steps, initial_step=step, enabled=config.logging.console and main
            ),
            asked_to_stop=stack.enter_context(Preemption()).agreed,
            steps=config.steps,
            evaluate=make_evaluator(config, parts),
            evaluate_every=config.evaluation.every,
            early_stop=config.early_stop,
            record=log.add if log else None,
            max_skipped=config.optimizer.max_skipped,
            max_logprob_gap=config.learner.max_logprob_gap,
            throughput=Throughput(
                1 if parts.mesh is None else parts.mesh.devices.size,
                peak_of(jax.local_devices()[0]),
            ),
        )
        stack.callback(loop.progress.close)
        outcome = loop.run(state, step, progression)
    if outcome.finished:
        _finish(config, workdir, directory, stepper.learner, outcome)
    elif main:
        print(f"stopped as asked after step {outcome.step}; the same command goes on from there")
    return outcome


@contextmanager
def _own_workdir(workdir: str | Path) -> Iterator[Path]:
    """The work directory, locked by the main host; others may share it or have their own."""
    if hosts.is_main():
        with lock_workdir(workdir) as locked:
            hosts.gather(None, "the work directory")
            yield locked
        return
    hosts.gather(None, "the work directory")
    path = Path(workdir).expanduser().absolute()
    path.mkdir(parents=True, exist_ok=True)
    yield path


def _checkpoint_directory(config: CheckpointConfig, workdir: Path) -> epath.Path:
    """The directory of checkpoints; raises ValueError if another host does not see it."""
    directory = epath.Path(config.directory or workdir / CHECKPOINTS)
    if jax.process_count() == 1:
        return directory
    probe = directory.parent / f".{directory.name}.seen"
    if hosts.is_main():
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
    hosts.gather(None, "the directory of checkpoints")
    seen = hosts.gather(probe.exists(), "whether the directory of checkpoints is shared")
    hosts.once(probe.unlink, "the directory of checkpoints")
    blind = [str(host) for host, sees in enumerate(seen) if not sees]
    if blind:
        raise ValueError(
            f"checkpoint.directory: expected one that all hosts see, such as a bucket (gs://...); "
            f"host {', '.join(blind)} does not see {directory} of host 0"
        )
    return directory


def _with_model(config: RunConfig, workdir: Path) -> RunConfig:
    """The configuration with the path of its model; a fresh model is made first."""
    if not isinstance(config, WarmstartConfig) or config.fresh is None:
        return config
    path, fresh = workdir / "fresh_model", config.fresh

    def write() -> None:
        if not path.exists():
            with whole_directory(path) as unfinished:
                write_fresh_model(unfinished, fresh)

    hosts.once(write, "the fresh model")
    # Every host makes the same one; a host that does not share the directory lacks it so far.
    write()
    return replace(config, fresh=None, model=replace(config.model, path=str(path)))


def _is_finished(workdir: Path, step: int) -> bool:
    """Whether the run ended with this step; the summary is the last file that a run writes."""
    file = workdir / SUMMARY
    return file.exists() and json.loads(file.read_text(encoding="utf-8"))["steps"] == step


def _finish(
    config: RunConfig, workdir: Path, checkpoints: epath.Path, learner: Learner, outcome: Outcome
) -> None:
    """Exports the policy with all hosts, as each holds parts of it; the main host summarises."""
    target = workdir / EXPORT
    if target.exists():
        target = workdir / f"{EXPORT}-{time.strftime('%Y%m%d-%H%M%S')}"
    if config.export:
        save_model(learner.model(outcome.state), target)
    hosts.once(lambda: _summarise(config, workdir, checkpoints, target, outcome), "the summary")


def _summarise(
    config: RunConfig, workdir: Path, checkpoints: epath.Path, target: Path, outcome: Outcome
) -> None:
    progression = outcome.progression
    summary: dict[str, Any] = {
        "before": progression.before,
        "after": progression.after,
        "steps": outcome.step,
        "seconds": round(progression.seconds, 1),
        "seed": config.seed,
    }
    rows = {"metrics": workdir / METRICS_FILE, "checkpoints": checkpoints}
    if config.export:
        summary["export"] = str(target)
        rows |= {"exported model": target}
    plot_curves(workdir / METRICS_FILE, workdir / CURVES)
    rows |= {"learning curves": workdir / CURVES, "summary": workdir / SUMMARY}
    write_whole(workdir / SUMMARY, json.dumps(summary, indent=2) + "\n")
    if progression.before:
        print(final_table(progression.before, progression.after))
    for name, file in rows.items():
        print(f"{name:16} {file}")


def export(settings: dict[str, Any], workdir: Path, out: Path, step: str) -> int:
    """Writes the policy of a checkpoint as a Hugging Face directory, and returns its step.

    Args:
        settings: The content of the run's ``config.json``.
        workdir: The run's work directory.
        out: A new or empty directory.
        step: A step number, ``latest`` or ``best``.

    Raises:
        CheckpointError: There is no such step, or none that can be read.
        ValueError: The run has no checkpoint.
    """
    model, _ = open_model(read_config(ModelConfig, settings["model"], "config.model"))
    update = read_config(UpdateConfig, settings["learner"], "config.learner")
    policy = SplitPolicy(model, update.trainable, update.frozen)
    directory = settings["checkpoint"]["directory"] or workdir / CHECKPOINTS
    with Checkpoints(directory, CheckpointConfig(), fingerprint=None) as checkpoints:
        wanted = {"latest": checkpoints.latest_step, "best": checkpoints.best_step}
        number = wanted[step]() if step in wanted else int(step)
        if number is None:
            raise ValueError(f"{workdir}: expected a run with checkpoints; got none")
        like = {"params": policy.split(model)}
        restored = checkpoints.restore(like, number, partial=True)
    assert restored is not None
    save_model(policy.merge(restored.arrays["params"]), out)
    return number
