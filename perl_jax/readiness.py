"""Finds the faults of a run before its weights are read, and names all of them at once."""

import contextlib
import logging
import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from etils import epath

from perl_jax import hosts
from perl_jax.config import RunConfig, TrainConfig, WarmstartConfig, groups_of_micro_batch
from perl_jax.data.sources.source import BadRow, Source
from perl_jax.data.survey import (
    Rows,
    SurveyedRow,
    first_of_every_source,
    read_example,
    row_name,
)
from perl_jax.hub import resolve_directory
from perl_jax.permutation import Rules, rule_for, rules_from_config
from perl_jax.processing.files import read_json
from perl_jax.rewards import Grader, ResponseRows, RewardConfig, UserFunctions
from perl_jax.storage import RemoteFolder
from perl_jax.training.checkpoint.mirror import is_mirrored
from perl_jax.types import Example, conversation_text
from perl_jax.update.optimizer import learning_rate_schedule

logger = logging.getLogger(__name__)

_SHOWN = 3
_CONTEXT = "max_position_embeddings"
# Rows whose sources are looked at where they are not surveyed.
_LOOKED_AT = 128
# The share of bad rows among those looked at varies by chance.
_DEVIATIONS = 3.0
_DUMMY = "<think>A response that checks the reward.</think>\\boxed{0}"


class NotReadyError(ValueError):
    """A run cannot succeed; the message names every fault."""


@dataclass(frozen=True)
class Finding:
    """A fault, with the field that it is about.

    ``ends`` tells whether the run cannot start; otherwise it is a warning.
    """

    field: str
    message: str
    ends: bool = True

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def check_ready(
    config: RunConfig,
    rows: Rows,
    reward: RewardConfig,
    grader: Grader,
    checkpoints: epath.Path,
    functions: UserFunctions | None = None,
) -> None:
    """Checks a run on all hosts together; the arguments are those of `findings`.

    Raises:
        NotReadyError: The run would fail; names all faults, of every host.
    """
    found = findings(config, rows, reward, grader, checkpoints, functions)
    told = hosts.gather([[one.field, one.message, one.ends] for one in found], "the checks")
    together = dict.fromkeys(Finding(*one) for of_host in told for one in of_host)
    for one in together:
        if not one.ends:
            logger.warning("%s", one)
    refuse(list(together), "run")


def refuse(found: Sequence[Finding], what: str) -> None:
    """Raises NotReadyError for all findings that end a run, in one message about ``what``."""
    if faults := [str(one) for one in found if one.ends]:
        if len(faults) == 1:
            raise NotReadyError(faults[0])
        listed = "".join(f"\n  {fault}" for fault in faults)
        raise NotReadyError(f"this {what} has {len(faults)} faults:{listed}")


def findings(
    config: RunConfig,
    rows: Rows,
    reward: RewardConfig,
    grader: Grader,
    checkpoints: epath.Path | None,
    functions: UserFunctions | None = None,
) -> list[Finding]:
    """The faults of a run that show before its weights are read.

    Args:
        config: The run's configuration, with fitted ladders.
        rows: The rows of the run.
        reward: The settings of rewards.
        grader: Grades the responses of the run.
        checkpoints: The directory of checkpoints; None: not looked at.
        functions: Calls the functions of ``reward``; None: one that ends with the checks.
    """
    found = [*_row_faults(config, rows), *_rule_faults(config, rows)]
    found += _ladder_faults(config, rows)
    found += _schedule_faults(config)
    found += _context_faults(config)
    with contextlib.ExitStack() as stack:
        called = functions or stack.enter_context(UserFunctions(reward))
        found += _reward_faults(called, rows.surveyed)
    # One host tells all of them.
    if hosts.is_main():
        if isinstance(config, TrainConfig):
            found += _truth_faults(rows, grader, config.data.pipeline.max_bad_fraction)
        if checkpoints is not None:
            found += place_faults(checkpoints)
    return found


def _row_faults(config: RunConfig, rows: Rows) -> Iterator[Finding]:
    if not rows.surveyed:
        yield Finding(
            "data.train",
            f"expected rows that can be used; got none among those looked at of the "
            f"{len(rows.source)} rows (perl-jax lint counts them by reason)",
        )
    if config.data.held_out is not None and not rows.held_out:
        yield Finding("data.held_out", "expected at least one row that can be used; got none")


def _rule_faults(config: RunConfig, rows: Rows) -> Iterator[Finding]:
    """Sources without a permutation rule, of all rows where their column is at hand."""
    rules = rules_from_config(config.permutation.rules)
    if isinstance(config, TrainConfig) and config.permutation.unknown == "error":
        yield from _without_rule("data.train", _train_examples(rows), rules)
    if config.evaluation.num_orders:
        yield from _without_rule("data.held_out", rows.held_out or (), rules)


def _train_examples(rows: Rows) -> Iterator[Example]:
    for number in first_of_every_source(rows.source).values():
        # A row that cannot be used is never permuted.
        with contextlib.suppress(BadRow):
            yield read_example(rows.source, number)
    for row in rows.surveyed:
        yield row.example


def _without_rule(
    field: str, examples: Iterator[Example] | Sequence[Example], rules: Rules
) -> Iterator[Finding]:
    told = set()
    for example in examples:
        try:
            rule_for(example, rules=rules)
        except ValueError as error:
            if str(error) not in told:
                told.add(str(error))
                yield Finding(field, f"example {example.id!r}: {error} (permutation.rules)")


def _ladder_faults(config: RunConfig, rows: Rows) -> Iterator[Finding]:
    """Ladders that do not hold the largest row that was looked at."""
    shards = 1 if config.mesh is None else config.mesh.data * config.mesh.fsdp
    sampler, packing = config.rollout.sampler, config.learner.packing
    trained, asked = rows.surveyed, rows.surveyed_held_out
    groups = -(-groups_of_micro_batch(config) // shards)
    repeated = _orders_of_every_group(config)
    drawn = [*(trained if isinstance(config, TrainConfig) else ()), *asked]
    of_update: dict[str, Callable[[SurveyedRow], int]] = {
        "prompt_lengths": lambda row: max(row.prompts),
        "patches": lambda row: groups * row.patches,
        "images": lambda row: groups * len(row.images),
        "orders": lambda row: groups * max(repeated, len(row.prompts)),
    }
    of_sampler: dict[str, Callable[[SurveyedRow], int]] = {
        "prompt_lengths": lambda row: max(row.prompts),
        "patches": lambda row: max(row.images, default=0),
    }
    for section, settings, measured, sizes in (
        ("learner.packing", packing, trained, of_update),
        ("rollout.sampler", sampler, drawn, of_sampler),
    ):
        for name, size in sizes.items():
            rungs = settings.rungs(name)
            largest = max(measured, key=size, default=None)
            if rungs and largest is not None and size(largest) > rungs[-1]:
                many = f"{groups} groups like " if size is not of_sampler.get(name) else ""
                yield Finding(
                    f"{section}.{name}",
                    f"expected at least {size(largest)}, for {many}example "
                    f"{largest.example.id!r}; the largest is {rungs[-1]} ('auto' fits it)",
                )


def _orders_of_every_group(config: RunConfig) -> int:
    """The orders that every group is asked under, or more."""
    if isinstance(config, TrainConfig) and config.permutation.constant_groups:
        return 1 + config.permutation.num_orders
    return 1


def _schedule_faults(config: RunConfig) -> Iterator[Finding]:
    """A warm-up that is longer than the run."""
    updates = config.learner.updates_of_step if isinstance(config, TrainConfig) else 1
    try:
        learning_rate_schedule(config.optimizer, config.steps * updates)
    except ValueError as error:
        yield Finding("optimizer.warmup_updates", str(error).partition(": ")[2])


def _context_faults(config: RunConfig) -> Iterator[Finding]:
    """Prompts and responses that are longer together than what the model was made for."""
    # The language model of newer directories has a section of its own.
    content = read_json(resolve_directory(config.model.path) / "config.json")
    section = content.get("text_config")
    sections = [section, content] if isinstance(section, dict) else [content]
    most = next((s[_CONTEXT] for s in sections if isinstance(s.get(_CONTEXT), int)), None)
    prompt, responses = config.data.max_prompt_tokens, {}
    if isinstance(config, TrainConfig):
        responses["rollout.max_new_tokens"] = config.rollout.max_new_tokens
    elif isinstance(config, WarmstartConfig):
        responses["max_response_tokens"] = config.max_response_tokens
    if config.data.held_out is not None:
        responses["evaluation.max_new_tokens"] = config.evaluation.max_new_tokens
    for field, response in responses.items():
        if most is not None and prompt + response > most:
            yield Finding(
                field,
                f"expected at most {max(0, most - prompt)} beside data.max_prompt_tokens of "
                f"{prompt}, as config.json of {config.model.path} has {_CONTEXT} {most}; "
                f"got {response}",
            )


def _reward_faults(functions: UserFunctions, rows: Sequence[SurveyedRow]) -> Iterator[Finding]:
    """Calls every function of the user once, as a run does."""
    problems = functions.problems()
    for name in functions.paths:
        field = f"reward.functions.{name}"
        if name in problems:
            yield Finding(field, problems[name])
        elif rows and not problems:
            _, faults = functions.call(name, _dummy_response(rows[0].example).columns([0]))
            for fault in faults:
                yield Finding(field, f"{functions.paths[name]}: {fault.message}")


def _dummy_response(example: Example) -> ResponseRows:
    return ResponseRows(
        texts=[_DUMMY],
        answers=[example.answer],
        metadata=[example.metadata],
        lengths=np.array([len(_DUMMY)]),
        stopped=np.array([True]),
        questions=[conversation_text(example)],
        ids=[example.id],
        orders=[tuple(range(len(example.images)))],
        groups=np.array([0]),
    )


def _truth_faults(rows: Rows, grader: Grader, fraction: float) -> Iterator[Finding]:
    """Truths that no response could match, among the rows that were looked at."""
    count = len(rows.surveyed)
    problems = grader.check_gold([row.example.answer for row in rows.surveyed])
    bad = [(row, why) for row, why in zip(rows.surveyed, problems, strict=True) if why]
    if not bad:
        return
    allowed = count * fraction + _DEVIATIONS * math.sqrt(count * fraction)
    examples = "; ".join(
        f"{row_name(rows.source, row.number)} (id {row.example.id!r}): {why}"
        for row, why in bad[:_SHOWN]
    )
    yield Finding(
        "data.train",
        f"expected answers that a response can match; {len(bad)} of {count} rows looked at have "
        f"others ({len(bad) / count:.1%}), such as {examples}",
        ends=len(bad) > allowed,
    )


def place_faults(checkpoints: epath.Path) -> Iterator[Finding]:
    """Whether checkpoints can be written; the work directory is locked already."""
    # Nobody else's file has this name.
    probe = checkpoints.parent / f".{checkpoints.name}.{secrets.token_hex(8)}.probe"
    try:
        if is_mirrored(checkpoints):
            folder = RemoteFolder(str(probe.parent))
            folder.write(probe.name, b"")
            folder.delete([probe.name])
            return
        probe.parent.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    # Clients of buckets have exceptions of their own.
    except Exception as error:
        yield Finding(
            "checkpoint.directory",
            f"expected a directory that can be written; got {checkpoints}: {error}",
        )


def unruled_sources(config: RunConfig, train: Source) -> Iterator[Finding]:
    """Sources without a permutation rule, among rows as they are, where there is no processor."""
    if isinstance(config, TrainConfig) and config.permutation.unknown == "error":
        rules = rules_from_config(config.permutation.rules)
        yield from _without_rule("data.train", _first_examples(train), rules)


def _first_examples(source: Source) -> Iterator[Example]:
    for number in [*first_of_every_source(source).values(), *range(min(len(source), _LOOKED_AT))]:
        with contextlib.suppress(BadRow):
            yield read_example(source, number)
