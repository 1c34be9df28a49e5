"""The parts of a run, opened from its configuration, and the run's fingerprint."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from perl_jax import hosts
from perl_jax.config import RunConfig, TrainConfig
from perl_jax.data.config import SourceConfig, open_source
from perl_jax.data.pipeline.mixture import Mixture
from perl_jax.data.pipeline.pipeline import Pipeline
from perl_jax.data.pipeline.preparer import Preparer
from perl_jax.data.pipeline.rows import Filtered, RowReader
from perl_jax.data.sources.source import Source
from perl_jax.evaluation import Evaluation, evaluate
from perl_jax.experience.rollout_copy import RolloutCopy
from perl_jax.hub import resolve_directory
from perl_jax.mesh import BatchSharding, MeshConfig, make_mesh, rearranged
from perl_jax.models import Policy
from perl_jax.models.opening import open_model
from perl_jax.permutation import rules_from_config
from perl_jax.processing import Processor
from perl_jax.rewards import Grader, RewardConfig, Rewarder, make_grader
from perl_jax.rollout import Sampler
from perl_jax.settings import plain
from perl_jax.training.workdir import fingerprint_of_code, fingerprint_of_config
from perl_jax.types import Example
from perl_jax.update.learner import Learner
from perl_jax.update.programs import Compile, jit

logger = logging.getLogger(__name__)

SKIPPED_ROWS = "skipped_rows.jsonl"


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts that both kinds of run have."""

    mesh: Mesh | None
    model: Policy
    processor: Processor
    prepare: Preparer
    source: Source
    pipeline: Pipeline
    sampler: Sampler
    grader: Grader


def open_parts(config: RunConfig, reward: RewardConfig, workdir: Path, stack: ExitStack) -> Parts:
    """Opens the model, the data and the grader; ``stack`` closes them.

    Skipped rows are recorded in ``workdir``.
    """
    mesh = _mesh(config.mesh)
    model, processor = open_model(config.model, mesh)
    source = open_source(config.data.train)
    prepare = Preparer(processor, max_prompt_tokens=config.data.max_prompt_tokens)
    pipeline = stack.enter_context(
        Pipeline(
            source,
            prepare,
            config.data.pipeline,
            seed=config.seed,
            sharding=BatchSharding.of(mesh),
            exchange=hosts.gather,
            skip_log=workdir / SKIPPED_ROWS if hosts.is_main() else None,
        )
    )
    sampler = Sampler(processor, config.rollout.sampler)
    grader = stack.enter_context(make_grader(reward))
    return Parts(mesh, model, processor, prepare, source, pipeline, sampler, grader)


def _mesh(config: MeshConfig | None) -> Mesh | None:
    """The mesh of a run; None: the first device alone."""
    alone = config is None or config.devices == 1
    if alone and jax.process_count() > 1:
        raise ValueError(
            f"mesh: expected a layout of all {jax.device_count()} devices, as there are "
            f"{jax.process_count()} hosts; got that of one device"
        )
    return None if alone or config is None else make_mesh(*config.shape)


def make_learner(
    config: TrainConfig,
    model: Policy,
    banned: np.ndarray,
    mesh: Mesh | None,
    *,
    sharding: BatchSharding | None = None,
    compile: Compile = jit,
) -> Learner:
    """The learner of a reinforcement-learning run; its arguments are explained in `Learner`."""
    return Learner(
        model,
        banned,
        config=config.learner,
        optimizer=config.optimizer,
        total_updates=config.steps * config.learner.updates_per_batch,
        objective=config.objective,
        length=config.rollout.max_new_tokens,
        temperature=config.rollout.temperature,
        mesh=mesh,
        sharding=sharding,
        compile=compile,
    )


def make_rewarder(config: TrainConfig, parts: Parts) -> Rewarder:
    """The rewarder of a run, which knows what the model's chat template opens."""
    return Rewarder(
        config.reward,
        parts.grader,
        config.rollout.max_new_tokens,
        opening=parts.processor.opening,
    )


def make_rollout_copy(config: TrainConfig, model: Policy, mesh: Mesh | None) -> RolloutCopy | None:
    """The policy's copy on the mesh of rollouts; None: rollouts use the update's mesh.

    Raises:
        ValueError: Rollouts have a mesh and the update has none.
    """
    wanted = config.rollout.mesh
    if wanted is None or wanted == config.mesh:
        return None
    if mesh is None:
        raise ValueError("rollout.mesh: expected one of the update too; got mesh of one device")
    return RolloutCopy(model, mesh, rearranged(mesh, *wanted.shape))


def make_evaluator(config: RunConfig, parts: Parts) -> Callable[[Policy], Evaluation] | None:
    """A function that scores a policy on the held-out rows; None if there are no such rows.

    Raises:
        ValueError: No held-out row can be used.
    """
    if config.data.held_out is None:
        return None
    examples = _held_out(config.data.held_out, parts.prepare, config.evaluation.examples)
    rules = rules_from_config(config.permutation.rules)
    return lambda model: evaluate(
        parts.sampler,
        model,
        examples,
        rules=rules,
        grader=parts.grader,
        config=config.evaluation,
        seed=config.seed,
    )


def _held_out(config: SourceConfig, prepare: Preparer, count: int) -> list[Example]:
    """The first ``count`` usable rows."""
    source = open_source(config)
    read = RowReader(source, prepare)
    examples: list[Example] = []
    for index in source.in_turns() if isinstance(source, Mixture) else range(len(source)):
        if len(examples) == count:
            break
        row = read(index)
        if isinstance(row, Example):
            examples.append(row)
        elif not isinstance(row, Filtered):
            logger.warning("held-out row skipped: %s: %s", row.reason, row)
    if not examples:
        raise ValueError("data.held_out: expected at least one row that can be used; got none")
    return examples


def fingerprint(config: RunConfig, source: Source) -> dict[str, str]:
    """Names and digests of what must not change between runs that share checkpoints."""
    settings = plain(config)
    # None of these changes the results, except for rounding on another mesh: a run may resume with
    # fewer workers on less memory, or on other devices.
    for name in ("logging", "checkpoint", "export", "hosts", "mesh"):
        del settings[name]
    for name in ("workers", "prefetch"):
        del settings["data"]["pipeline"][name]
    if "reward" in settings:
        del settings["reward"]["workers"]
        del settings["rollout"]["mesh"]
    sizes = {
        file.name: file.stat().st_size
        for file in resolve_directory(config.model.path).iterdir()
        if file.suffix in (".json", ".safetensors", ".txt")
    }
    return {
        "config": fingerprint_of_config(settings),
        "data": source.fingerprint(),
        "model": fingerprint_of_config(sizes),
        "code": fingerprint_of_code(),
    }
