"""The parts of a run, opened from its configuration, and the run's identity."""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from perl_jax import hosts
from perl_jax.activity import Activity, silent
from perl_jax.config import RunConfig, TrainConfig, WarmstartConfig, groups_of_micro_batch
from perl_jax.data.config import open_source
from perl_jax.data.pipeline.mixture import Mixture
from perl_jax.data.pipeline.pipeline import Pipeline
from perl_jax.data.pipeline.preparer import Preparer
from perl_jax.data.pipeline.rows import Filtered, RowReader
from perl_jax.data.sources.source import Source
from perl_jax.data.survey import Rows, SurveyedRow, survey
from perl_jax.evaluation.evaluate import evaluate
from perl_jax.evaluation.results import Evaluation
from perl_jax.experience.collect import Collector
from perl_jax.experience.rollout_copy import RolloutCopy
from perl_jax.hub import resolve_directory, revision_of
from perl_jax.ladders import Demand, choose_ladders
from perl_jax.mesh import BatchSharding, MeshConfig, make_mesh, rearranged
from perl_jax.models import Policy
from perl_jax.models.fingerprint import fingerprint_of_model
from perl_jax.models.opening import load_policy, open_processor
from perl_jax.permutation import orders_for, permutation_rate, rule_for, rules_from_config
from perl_jax.processing import Processor
from perl_jax.rewards import Grader, Rewarder, UserFunctions
from perl_jax.rollout import Sampler
from perl_jax.training.identity import CODE, DATA, MODEL, Identity
from perl_jax.training.workdir import fingerprint_of_code
from perl_jax.types import Example
from perl_jax.update.learner import Learner
from perl_jax.update.operations import forward_operations
from perl_jax.update.programs import Compile, jit

logger = logging.getLogger(__name__)

SKIPPED_ROWS = "skipped_rows.jsonl"
# The rows that are looked at before a run starts.
_SURVEYED = 128

Run = TypeVar("Run", bound=RunConfig)


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts that both kinds of run have."""

    mesh: Mesh | None
    model: Policy
    rows: Rows
    pipeline: Pipeline
    sampler: Sampler
    grader: Grader
    functions: UserFunctions | None = None

    @property
    def processor(self) -> Processor:
        """The processor of the model directory."""
        return self.rows.prepare.processor


def open_rows(config: RunConfig) -> Rows:
    """Opens the rows of a run and looks at some of them; no weights are read."""
    rules = rules_from_config(config.permutation.rules)
    processor = open_processor(config.model)
    prepare = Preparer(
        processor, max_prompt_tokens=config.data.max_prompt_tokens, prompt=config.data.prompt
    )

    def orders(example: Example) -> tuple[Example, ...]:
        rule, most = rule_for(example, rules=rules, unknown="keep"), orders_of_group(config) - 1
        return orders_for(example, rule, seed=0, step=0, rate=1.0, num_orders=most).examples

    source = open_source(config.data.train)
    surveyed = survey(source, prepare, orders, count=_SURVEYED)
    if config.data.held_out is None:
        return Rows(prepare, source, surveyed)
    asked, count = open_source(config.data.held_out), config.evaluation.examples
    of_asked = survey(asked, prepare, orders, count=_SURVEYED // 4, first=count)
    return Rows(prepare, source, surveyed, _held_out(asked, prepare, count), of_asked)


def orders_of_group(config: RunConfig) -> int:
    """The most orders of a group; supervised training shows an example in its own order."""
    return 1 + config.permutation.num_orders if isinstance(config, TrainConfig) else 1


def fit_ladders(config: Run, rows: Rows) -> Run:
    """The configuration with ladders in place of ``auto``, fitted to the rows of the run.

    They depend on the configuration, the rows and the number of shards only, so a run that resumes
    has the same ones.
    """
    settings = rows.prepare.processor.image_settings
    return fit_ladders_to(
        config,
        rows.surveyed,
        rows.surveyed_held_out,
        unit=settings.merge_size**2,
        most_patches=settings.most_patches,
    )


def fit_ladders_to(
    config: Run,
    surveyed: Sequence[SurveyedRow],
    held_out: Sequence[SurveyedRow],
    *,
    unit: int,
    most_patches: int,
) -> Run:
    """As `fit_ladders`, for rows that were looked at.

    Args:
        config: The configuration.
        surveyed: Some of the rows to train on.
        held_out: Some of the rows to evaluate on.
        unit: Patches that become one token of a prompt.
        most_patches: The most patches of one image.
    """
    shards = 1 if config.mesh is None else config.mesh.data * config.mesh.fsdp
    steps = config.steps
    groups, longest, permuted = 0, 0, 0.0
    if isinstance(config, TrainConfig):
        groups, longest = config.rollout.groups, config.rollout.max_new_tokens
        schedule = config.permutation.schedule
        permuted = min(permutation_rate(step, steps, schedule) for step in range(steps))
    elif isinstance(config, WarmstartConfig):
        longest = config.max_response_tokens
    evaluated = 0 if config.data.held_out is None else config.evaluation.max_new_tokens
    demand = Demand(
        rows=surveyed,
        held_out=held_out,
        prompt=config.data.max_prompt_tokens,
        unit=unit,
        patches=min(most_patches, config.data.max_prompt_tokens * unit),
        groups=-(-groups // shards),
        evaluated=-(-min(config.evaluation.batch, config.evaluation.examples) // shards),
        micro_groups=-(-groups_of_micro_batch(config) // shards),
        orders=orders_of_group(config),
        permuted=permuted,
        response=longest,
        drawn=max(longest, evaluated),
    )
    found = choose_ladders(demand, config.rollout.sampler, config.learner.packing)
    return replace(
        config,
        rollout=replace(config.rollout, sampler=found.sampler),
        learner=replace(config.learner, packing=found.packing),
    )


def open_parts(
    config: RunConfig,
    rows: Rows,
    grader: Grader,
    workdir: Path,
    stack: ExitStack,
    functions: UserFunctions | None = None,
) -> Parts:
    """Opens the pipeline and the model; ``stack`` closes them.

    Skipped rows are recorded in ``workdir``.
    """
    mesh = _mesh(config.mesh)
    # Its processes start while the weights are read.
    pipeline = stack.enter_context(
        Pipeline(
            rows.source,
            rows.prepare,
            config.data.pipeline,
            seed=config.seed,
            sharding=BatchSharding.of(mesh),
            exchange=hosts.gather,
            skip_log=workdir / SKIPPED_ROWS if hosts.is_main() else None,
        )
    )
    model = load_policy(config.model, mesh, config.learner.lora, config.seed)
    sampler = Sampler(rows.prepare.processor, config.rollout.sampler)
    return Parts(mesh, model, rows, pipeline, sampler, grader, functions)


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
        total_updates=config.steps * config.learner.updates_of_step,
        objective=config.objective,
        length=config.rollout.max_new_tokens,
        temperature=config.rollout.temperature,
        mesh=mesh,
        sharding=sharding,
        compile=compile,
    )


def make_collector(
    config: TrainConfig, parts: Parts, sharding: BatchSharding, **recording: Any
) -> Collector:
    """The collector of a run's rollouts, for a learner with this sharding.

    ``recording`` are the arguments of `Collector` about what is kept of rollouts and told of them.
    """
    sizes = parts.model.config
    return Collector(
        parts.sampler,
        parts.pipeline.take_ahead,
        parts.pipeline.put_back,
        make_rewarder(config, parts),
        lambda groups, responses: forward_operations(sizes, groups, responses).forward(),
        rollout=config.rollout,
        permutation=config.permutation,
        filtering=config.filtering,
        objective=config.objective,
        response_lengths=config.learner.packing.rungs("response_lengths"),
        seed=config.seed,
        total_steps=config.steps,
        sharding=sharding,
        **recording,
    )


def make_rewarder(config: TrainConfig, parts: Parts) -> Rewarder:
    """The rewarder of a run, which knows what the model's chat template opens."""
    return Rewarder(
        config.reward,
        parts.grader,
        config.rollout.max_new_tokens,
        opening=parts.processor.opening,
        functions=parts.functions,
    )


def make_rollout_copy(config: TrainConfig, model: Policy, mesh: Mesh | None) -> RolloutCopy | None:
    """The copy of the policy that rollouts read; None: they read the policy itself.

    There is one on a mesh of the rollouts' own, or with merged adapters.

    Raises:
        ValueError: Rollouts have a mesh and the update has none.
    """
    wanted, merge = config.rollout.mesh, config.rollout.merge_adapters
    if wanted is not None and wanted != config.mesh:
        if mesh is None:
            raise ValueError("rollout.mesh: expected one of the update too; got mesh of one device")
        return RolloutCopy(model, mesh, rearranged(mesh, *wanted.shape), merge=merge is not False)
    return RolloutCopy(model, mesh, mesh) if merge else None


def make_evaluator(
    config: RunConfig, parts: Parts, activity: Activity = silent
) -> Callable[[Policy], Evaluation] | None:
    """A function that scores a policy on the held-out rows; None if no rows are held out.

    ``activity`` hears how many examples are asked.
    """
    examples = parts.rows.held_out
    if examples is None:
        return None
    rules = rules_from_config(config.permutation.rules)
    return lambda model: evaluate(
        parts.sampler,
        model,
        examples,
        rules=rules,
        grader=parts.grader,
        config=config.evaluation,
        seed=config.seed,
        activity=activity,
    )


def _held_out(source: Source, prepare: Preparer, count: int) -> list[Example]:
    """The first ``count`` usable rows."""
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
    return examples


def identify(given: RunConfig, config: RunConfig, source: Source) -> Identity:
    """What a run is, to be compared with its checkpoints.

    Args:
        given: The configuration as the user wrote it.
        config: The same, with the path of the model that was made if it was to be a fresh one.
        source: The rows.
    """
    directory = resolve_directory(config.model.path)
    revision = revision_of(directory)
    return Identity(
        kind="train" if isinstance(config, TrainConfig) else "warmstart",
        config=given,
        contents={
            DATA: source.fingerprint(),
            MODEL: fingerprint_of_model(directory),
            CODE: fingerprint_of_code(),
        },
        origin=config.model.path + (f" at revision {revision}" if revision else ""),
        tied_to_steps=tied_to_steps(config),
    )


def tied_to_steps(config: RunConfig) -> tuple[str, ...]:
    """The settings by which a step depends on the number of all steps."""
    tied = []
    if config.optimizer.schedule != "constant":
        tied.append(f"optimizer.schedule={config.optimizer.schedule}")
    # Supervised training permutes nothing.
    if isinstance(config, TrainConfig) and config.permutation.num_orders:
        schedule = config.permutation.schedule
        if schedule.kind != "constant":
            tied.append(f"permutation.schedule.kind={schedule.kind}")
        if schedule.warmup:
            tied.append(f"permutation.schedule.warmup={schedule.warmup}")
    return tuple(tied)
