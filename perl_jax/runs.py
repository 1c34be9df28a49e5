"""Runs: assembles the configured parts, runs them, and reports the result."""

import json
import logging
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh

from perl_jax import hosts, overview
from perl_jax.activity import Activity
from perl_jax.compilation import use_cache
from perl_jax.config import RunConfig, TrainConfig, WarmstartConfig
from perl_jax.data.pipeline.rows import PipelineError
from perl_jax.data.survey import Rows
from perl_jax.experience.album import Album
from perl_jax.files import read_object, whole_directory, write_whole
from perl_jax.hosts import HostsError
from perl_jax.mesh import BatchSharding
from perl_jax.models import Policy, save_model
from perl_jax.models.adapter_files import save_adapter
from perl_jax.models.fresh import write_fresh_model
from perl_jax.models.lora import with_adapters
from perl_jax.models.opening import ModelConfig, open_model
from perl_jax.parts import (
    Parts,
    Run,
    fit_ladders,
    identify,
    make_collector,
    make_evaluator,
    make_learner,
    make_rollout_copy,
    open_parts,
    open_rows,
)
from perl_jax.processing import Processor
from perl_jax.readiness import check_ready
from perl_jax.rewards import Grader, GradingError, RewardConfig, UserFunctions, make_grader
from perl_jax.settings import plain, read_config
from perl_jax.training.checkpoint import CheckpointConfig, CheckpointError, Checkpoints
from perl_jax.training.display.console import Console
from perl_jax.training.display.final_table import final_table
from perl_jax.training.display.logs import RunLogs
from perl_jax.training.display.rollout_log import IMAGES
from perl_jax.training.display.throughput import Throughput, peak_of
from perl_jax.training.display.writers import METRICS_FILE
from perl_jax.training.earlier import (
    CONFIG,
    STAGING,
    SUMMARY,
    checkpoint_directory,
)
from perl_jax.training.identity import Identity, check_names
from perl_jax.training.loop import Loop, Outcome, Progression, Stepper
from perl_jax.training.other_run import BEST, choose_step
from perl_jax.training.places import open_place, own_workdir
from perl_jax.training.reinforce import Reinforce
from perl_jax.training.start import Start, start_or_resume
from perl_jax.training.supervised import Supervised
from perl_jax.training.workdir import Interrupted, Preemption
from perl_jax.update.config import UpdateConfig
from perl_jax.update.learner import Learner
from perl_jax.update.state import SplitPolicy

logger = logging.getLogger(__name__)

EXPORT = "export"
ADAPTER = "adapter"
CURVES = "curves.png"
FUNCTION_LOG = "reward_functions.log"

_AS_IT_IS = Start()

RUN_ERRORS = (CheckpointError, GradingError, HostsError, Interrupted, PipelineError)
"""The exceptions that may end a run, besides wrong values and failing storage."""


def train(config: TrainConfig, workdir: str | Path, start: Start = _AS_IT_IS) -> Outcome:
    """Trains a policy by reinforcement learning, from the start or from its latest checkpoint.

    The work directory holds everything of the run; see `perl_jax.train`.
    """
    logged = config.logging.rollouts

    def stepper(
        config: TrainConfig, parts: Parts, album: Album | None, activity: Activity
    ) -> Stepper:
        banned = parts.processor.banned_rows(parts.model.config.vocab_size)
        learner = make_learner(config, parts.model, banned, parts.mesh)
        collector = make_collector(
            config,
            parts,
            learner.sharding,
            recorded=logged.groups if hosts.is_main() else 0,
            album=album,
            pictured=logged.groups,
            activity=activity,
        )
        copy = make_rollout_copy(config, parts.model, parts.mesh)
        return Reinforce(learner, collector, parts.pipeline, copy, activity)

    return _run(config, workdir, start, config.reward, stepper)


def warmstart(config: WarmstartConfig, workdir: str | Path, start: Start = _AS_IT_IS) -> Outcome:
    """Trains a policy on given responses, from the start or from its latest checkpoint."""

    def stepper(
        config: WarmstartConfig, parts: Parts, album: Album | None, activity: Activity
    ) -> Stepper:
        learner = Learner(
            parts.model,
            parts.processor.banned_rows(parts.model.config.vocab_size),
            config=config.learner,
            optimizer=config.optimizer,
            total_updates=config.steps,
            mesh=parts.mesh,
        )
        longest = config.max_response_tokens
        return Supervised(learner, parts.pipeline, parts.processor, config.rows, longest, activity)

    return _run(config, workdir, start, RewardConfig(), stepper)


def _run(
    given: Run,
    place: str | Path,
    start: Start,
    reward: RewardConfig,
    make_stepper: Callable[[Run, Parts, Album | None, Activity], Stepper],
) -> Outcome:
    check_names(given, start.allowed)
    hosts.set_deadline(given.hosts.deadline)
    use_cache(given.compilation)
    main = hosts.is_main()
    host = f"host {jax.process_index()}" if jax.process_count() > 1 else None
    console = Console(given.steps, enabled=given.logging.console and main, host=host)
    with console, console.logging_of("perl_jax"), ExitStack() as stack:
        workdir = stack.enter_context(own_workdir(place))
        check = partial(start.check_adapter, given.learner.lora, given.model.path)
        directory, lease = open_place(given.checkpoint, workdir, start, stack, check)
        config = _with_model(given, workdir)
        rows, grader = _open_early(config, reward, stack)
        identity = identify(given, config, rows.source)
        fitted = fit_ladders(config, rows)
        functions = stack.enter_context(UserFunctions(reward, workdir / FUNCTION_LOG))
        check_ready(fitted, rows, reward, grader, directory, functions)
        ladders = repr((fitted.rollout.sampler, fitted.learner.packing))
        hosts.check_same({**identity.fixed(), "ladders": ladders}, "what the hosts run")
        # Every host checks the record that one of them writes.
        record = hosts.gather(identity.record(), "the record of the run")[0]
        console.say(f"loading {config.model.path}")
        parts = open_parts(fitted, rows, grader, workdir, stack, functions)
        album = _open_album(config, parts, workdir, stack)
        stepper = make_stepper(fitted, parts, album, console)
        checkpoints = stack.enter_context(
            Checkpoints(
                directory,
                config.checkpoint,
                fingerprint=record,
                lease=lease,
                staging=workdir / STAGING,
            )
        )
        key = jax.random.key(config.seed)
        state, step, progression = start_or_resume(
            checkpoints, stepper, parts.model, key, identity=identity, start=start
        )
        _check_unfinished(config, workdir, identity, step, progression)
        if main:
            write_whole(workdir / CONFIG, json.dumps(plain(config), indent=2) + "\n")
            places = overview.places_lines(config, workdir, directory, step)
            told = (config, parts.mesh, parts.model, rows.source, places)
            for line in overview.first_words(*told):
                console.say(line)
        logs = RunLogs(
            workdir,
            config.logging,
            settings=plain(config),
            resume_step=step or None,
            active=main,
        )
        stack.enter_context(logs)
        preemption = stack.enter_context(Preemption(answers=main))
        loop = Loop(
            stepper=stepper,
            checkpoints=checkpoints,
            write=logs.write,
            console=console,
            preemption=preemption,
            steps=config.steps,
            evaluate=make_evaluator(config, parts, console),
            evaluate_every=config.evaluation.every,
            early_stop=config.early_stop,
            record=logs.record,
            keep=logs.keep,
            max_skipped=config.optimizer.max_skipped,
            max_logprob_gap=config.learner.max_logprob_gap,
            throughput=Throughput(
                1 if parts.mesh is None else parts.mesh.devices.size,
                peak_of(jax.local_devices()[0]),
            ),
        )
        with preemption.interruptible():
            outcome = loop.run(state, step, progression)
    if outcome.finished:
        _finish(config, workdir, directory, stepper.learner, outcome, console)
    elif main:
        print(
            f"stopped as asked after step {outcome.step}; the same command goes on from there",
            file=sys.stderr,
        )
    return outcome


def _open_early(config: RunConfig, reward: RewardConfig, stack: ExitStack) -> tuple[Rows, Grader]:
    """The rows and the grader, whose processes start while the rows are opened."""
    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(make_grader, reward)
        try:
            rows = open_rows(config)
        finally:
            stack.callback(lambda: starting.result().close())
    return rows, starting.result()


def _open_album(config: RunConfig, parts: Parts, workdir: Path, stack: ExitStack) -> Album | None:
    """The album of a run that logs pictures."""
    logged = config.logging.rollouts
    if not logged.images or logged.groups == 0 or isinstance(config, WarmstartConfig):
        return None
    sharding = BatchSharding.of(parts.mesh)
    album = Album(workdir / IMAGES, parts.processor.image_settings, sharding)
    return stack.enter_context(album)


def _with_model(config: Run, workdir: Path) -> Run:
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


def _check_unfinished(
    config: RunConfig, workdir: Path, identity: Identity, step: int, progression: Progression
) -> None:
    """Raises ValueError, on all hosts, if the run has ended and nothing lets it go on."""
    early = config.early_stop.is_reached(progression)
    file = workdir / SUMMARY
    # The summary is the last file that a run writes.
    ended = file.exists() and read_object(file).get("steps") == step
    ended &= early or step >= config.steps
    if not hosts.gather(ended, "whether the run is finished")[0]:
        return
    more = f"--config.steps=N with more than {step}"
    if identity.tied_to_steps:
        tied = ", ".join(identity.tied_to_steps)
        more += f" and --allow_changes=steps, as {tied} depends on it"
    if early:
        more = "another early_stop, which ended it" + (f", or {more}" * (step >= config.steps))
    raise ValueError(
        f"{workdir}: this run is finished: {step} of {config.steps} steps are done. To go on, "
        f"give {more}; to run again, give another work directory, or --restart"
    )


def _finish(
    config: RunConfig,
    workdir: Path,
    checkpoints: epath.Path,
    learner: Learner,
    outcome: Outcome,
    console: Console,
) -> None:
    """Exports the policy with all hosts, as each holds parts of it; the main host summarises."""
    target, adapter = workdir / EXPORT, workdir / ADAPTER

    def make_room() -> None:
        # Those of an earlier end of this run, which went on.
        for there in (target, adapter):
            if there.exists():
                there.rename(f"{there}-until-{time.strftime('%Y%m%d-%H%M%S')}")

    if config.export:
        hosts.once(make_room, "the directory of the exported policy")
        console.say(f"exporting the policy to {target}")
        policy = learner.model(outcome.state)
        if config.learner.lora is not None:
            save_adapter(policy, adapter, config.model.path)
        save_model(policy, target)

    def summarise() -> None:
        _summarise(config, workdir, checkpoints, target, outcome)
        for line in overview.last_words(config, workdir, target, outcome):
            console.say(line)

    hosts.once(summarise, "the summary")


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
    if progression.init_from:
        summary["init_from"] = progression.init_from
    rows = {"metrics": workdir / METRICS_FILE, "checkpoints": checkpoints}
    if config.export:
        summary["export"] = str(target)
        rows |= {"exported model": target}
    # Importing Matplotlib takes most of a second, and only the end of a run needs it.
    from perl_jax.training.display.curves import plot_curves

    plot_curves(workdir / METRICS_FILE, workdir / CURVES)
    rows |= {"learning curves": workdir / CURVES, "summary": workdir / SUMMARY}
    write_whole(workdir / SUMMARY, json.dumps(summary, indent=2) + "\n")
    if progression.before:
        print(final_table(progression.before, progression.after))
    for name, file in rows.items():
        print(f"{name:16} {file}")


def export(
    settings: dict[str, Any], workdir: Path, out: Path, step: str, *, merged: bool = False
) -> int:
    """Writes the policy of a checkpoint as a Hugging Face directory, and returns its step.

    Of a run with adapters these alone are written, as PEFT has them.

    Args:
        settings: The content of the run's ``config.json``.
        workdir: The run's work directory.
        out: A new or empty directory.
        step: A step number, ``latest`` or ``best``: of those saved, the one whose evaluation is
            the best.
        merged: Whether the policy of a run with adapters is written as a whole model.

    Raises:
        CheckpointError: There is no such step, or none that can be read.
        ValueError: The run has no checkpoint, no evaluation to choose the best by, or no adapters
            that could be merged.
    """
    lora = settings["learner"].get("lora") is not None
    if merged and not lora:
        raise ValueError(f"--merged: expected a run with learner.lora; {workdir} has no adapters")
    policy, _, number = restore_policy(settings, workdir, step)
    if lora and not merged:
        save_adapter(policy, out, settings["model"]["path"])
    else:
        save_model(policy, out)
    return number


def find_step(settings: dict[str, Any], workdir: Path, step: str) -> int:
    """The number of a step given as `export` takes it; raises as `export` does."""
    directory = checkpoint_directory(settings, workdir)
    with Checkpoints(directory, CheckpointConfig(), fingerprint=None) as checkpoints:
        return choose_step(checkpoints, step, workdir)


def restore_policy(
    settings: dict[str, Any], workdir: Path, step: str, mesh: Mesh | None = None
) -> tuple[Policy, Processor, int]:
    """The policy of a checkpoint, on a mesh or the first device, its processor and its step.

    The arguments and the exceptions are those of `export`.
    """
    directory = checkpoint_directory(settings, workdir)
    with Checkpoints(directory, CheckpointConfig(), fingerprint=None) as checkpoints:
        # Before the model is loaded.
        number = choose_step(checkpoints, step, workdir)
        model, processor = open_model(
            read_config(ModelConfig, settings["model"], "config.model"), mesh
        )
        update = read_config(UpdateConfig, settings["learner"], "config.learner")
        if update.lora is not None:
            model = with_adapters(model, update.lora, seed=0)
        policy = SplitPolicy(model, update.trainable, update.frozen)
        like = {"params": policy.split(model)}
        restored = checkpoints.restore(like, number, partial=True)
    assert restored is not None
    first = restored.host["progression"]["before"].get("accuracy", -1.0)
    if step == BEST and restored.metric is not None and first > restored.metric:
        logger.warning(
            "the evaluation before the first step was better: %s, and %s at step %d",
            first, restored.metric, number,
        )  # fmt: skip
    return policy.merge(restored.arrays["params"]), processor, number
