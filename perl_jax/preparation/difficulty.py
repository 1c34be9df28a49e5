"""The difficulty filter keeps questions that a policy answers sometimes, but not always."""

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from perl_jax.data.pipeline.preparer import Preparer
from perl_jax.data.pipeline.rows import Skipped
from perl_jax.data.sources.source import BadRow, Source
from perl_jax.filtering import Bounds, Verdict, judge_groups
from perl_jax.models.fingerprint import fingerprint_of_model
from perl_jax.models.opening import ModelConfig, open_model
from perl_jax.preparation.accuracies import Accuracies, Result
from perl_jax.preparation.stage import Context, KeptRow, Outcome, dropped, map_rows, read_rows
from perl_jax.rewards import Grader
from perl_jax.rollout import Group, Sampler, SamplerConfig, Strategy
from perl_jax.rollout.config import Temperature
from perl_jax.settings import Checked, Count, Dtype, plain
from perl_jax.types import Example, prompt_of

ACCURACY = "accuracy"
"""The metadata key of the policy's mean accuracy."""

_REASONS = {Verdict.TOO_EASY: "too_easy", Verdict.TOO_HARD: "too_hard"}


@dataclass(frozen=True)
class PolicyConfig(ModelConfig):
    """The policy that measures difficulty: a run's model, but in bfloat16 by default."""

    dtype: Dtype = "bfloat16"

    def _check_together(self) -> None:
        if not self.path:
            raise ValueError("path: expected a model directory or a hub id; got none")


@dataclass(frozen=True)
class RolloutsConfig(Checked):
    """How the policy's responses are sampled and graded.

    Attributes:
        num_rollouts: The number of responses to each question.
        max_new_tokens: The most tokens of a response.
        temperature: The sampling temperature.
        prompt_suffix: Appended to every question, as in training; written rows do not have it.
        max_prompt_tokens: Rows with a longer prompt are bad.
        batch: The number of questions sampled together.
        sampler: The sampler's batching.
        grading_workers: The number of grading processes.
    """

    num_rollouts: Count = 10
    max_new_tokens: Count = 2048
    temperature: Temperature = 1.0
    prompt_suffix: str = ""
    max_prompt_tokens: Count = 8192
    batch: Count = 32
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    grading_workers: Count = 2


@dataclass(frozen=True)
class DifficultyConfig(Checked):
    """The policy, its rollouts, and the questions that are kept.

    Attributes:
        policy: The model that answers.
        rollouts: How it is sampled.
        bounds: The mean accuracies to keep; changing them needs no new rollouts. PeRL's are not
            published; MM-Eureka's are 0.1 and 0.9.
    """

    policy: PolicyConfig
    rollouts: RolloutsConfig = field(default_factory=RolloutsConfig)
    bounds: Bounds = field(default_factory=lambda: Bounds(0.1, 0.9, inclusive=True))


def filter_difficulty(
    source: Source, config: DifficultyConfig, context: Context
) -> Iterator[Outcome]:
    """Keeps rows by the policy's mean accuracy, which goes into the metadata as ``accuracy``.

    Ungraded rollouts do not count. Rows are dropped as ``too_easy``, ``too_hard`` or ``unscored``
    (no rollout has a grade). Grades are kept on disk batch by batch: after an interruption, or with
    other bounds, only missing rows are rolled out.
    """
    path = context.cache / "accuracies" / f"{_key(source, config, context)}.jsonl"
    accuracies = Accuracies(path)
    _complete(accuracies, source, config, context.seed)
    return map_rows(source, lambda row: _judged(row, accuracies, config.bounds))


def difficulty_depends(config: DifficultyConfig, context: Context) -> Any:
    """The fingerprint of the policy."""
    return fingerprint_of_model(config.policy.path)


def _judged(row: Example, accuracies: Accuracies, bounds: Bounds) -> Outcome:
    found = accuracies[row.source, row.id]
    if isinstance(found, Skipped):
        return found
    scored = np.array([one is not None for one in found])
    values = np.array([one or 0.0 for one in found])
    verdict = Verdict(int(judge_groups(values[None], scored[None], bounds)[0]))
    if verdict == Verdict.UNSCORED:
        return dropped(row, "unscored", "no rollout could be graded")
    mean = float(values[scored].mean())
    if verdict == Verdict.INFORMATIVE:
        return KeptRow(replace(row, metadata={**row.metadata, ACCURACY: mean}))
    return dropped(row, _REASONS[verdict], f"{mean:.4g} of {scored.sum()} rollouts")


def _complete(accuracies: Accuracies, source: Source, config: DifficultyConfig, seed: int) -> None:
    missing = (
        row
        for row in read_rows(source)
        if isinstance(row, Example) and (row.source, row.id) not in accuracies
    )
    first = next(missing, None)
    if first is None:
        return  # so that no policy is loaded
    rows = itertools.chain([first], missing)
    with Grader(num_workers=config.rollouts.grading_workers) as grader:
        asker = _Asker(config, grader, seed)
        while batch := list(itertools.islice(rows, config.rollouts.batch)):
            accuracies.add(asker(batch))


class _Asker:
    """Samples and grades the policy's responses."""

    def __init__(self, config: DifficultyConfig, grader: Grader, seed: int) -> None:
        self.model, processor = open_model(config.policy)
        self.config = config.rollouts
        self.prepare = Preparer(processor, max_prompt_tokens=config.rollouts.max_prompt_tokens)
        self.sampler = Sampler(processor, config.rollouts.sampler)
        self.grader = grader
        self.seed = seed

    def __call__(self, rows: Sequence[Example]) -> dict[tuple[str, str], Result]:
        results: dict[tuple[str, str], Result] = {}
        asked: list[tuple[Example, Group]] = []
        for row in rows:
            try:
                asked.append((row, self._group(row)))
            except BadRow as error:
                results[row.source, row.id] = Skipped.of(error)
        grades = self._grades(asked) if asked else []
        keys = [(row.source, row.id) for row, _ in asked]
        return results | dict(zip(keys, grades, strict=True))

    def _group(self, row: Example) -> Group:
        question = row.question + self.config.prompt_suffix
        prepared = self.prepare(replace(row, question=question))
        prompt = self.sampler.processor.encode(prompt_of(prepared), prepared.images)
        group = Group.of(json.dumps([row.source, row.id]), [prompt])
        try:
            self.sampler.check(group)
        except ValueError as error:
            raise BadRow.of(row, "too_long", str(error)) from error
        return group

    def _grades(self, asked: Sequence[tuple[Example, Group]]) -> list[list[float | None]]:
        rollouts = self.sampler.sample(
            self.model,
            [group for _, group in asked],
            num_rollouts=self.config.num_rollouts,
            max_new_tokens=self.config.max_new_tokens,
            strategy=Strategy(temperature=self.config.temperature),
            key=self.seed,
        )
        texts = rollouts.texts(self.sampler.processor.decode)
        return [
            [grade.score for grade in self.grader.grade(own, [row.answer] * len(own))]
            for (row, _), (own,) in zip(asked, texts, strict=True)
        ]


def _key(source: Source, config: DifficultyConfig, context: Context) -> str:
    policy, rollouts = plain(config.policy), plain(config.rollouts)
    # The model is identified by its files, and batching changes nothing.
    del policy["path"], rollouts["batch"], rollouts["sampler"], rollouts["grading_workers"]
    parts = {
        "rows": source.fingerprint(),
        "model": fingerprint_of_model(config.policy.path),
        "policy": policy,
        "rollouts": rollouts,
        "seed": context.seed,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
