"""What a run's recorded configuration says about the policy that is evaluated."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from perl_jax.data.config import SourceConfig, open_source
from perl_jax.data.pipeline.prompt import PromptConfig
from perl_jax.data.survey import first_of_every_source
from perl_jax.evaluation.prompts import BoxedPrompt
from perl_jax.settings import read_config

_CONTAINED = {"mv_math": "ViRL39K"}
"""Benchmarks whose rows are in a training set."""


def recorded_prompt(settings: Mapping[str, Any]) -> BoxedPrompt:
    """The prompt of a run, from the content of its ``config.json``.

    In a mixture of sources with different suffixes, that of the largest weight counts.
    """
    data = settings["data"]
    around = read_config(PromptConfig, data["prompt"], "config.data.prompt")
    weights: dict[str, float] = {}
    for suffix, weight in _suffixes(read_config(SourceConfig, data["train"], "config.data.train")):
        weights[suffix] = weights.get(suffix, 0.0) + weight
    return BoxedPrompt(max(weights, key=lambda suffix: weights[suffix]), around)


def _suffixes(source: SourceConfig) -> Iterator[tuple[str, float]]:
    chosen = source.chosen
    if isinstance(chosen, tuple):
        for part in chosen:
            yield from ((suffix, part.weight) for suffix, _ in _suffixes(part.source))
        return
    files = source.parquet or source.jsonl or source.dataset_directory or source.tfds
    # The built-in demo's questions hold all that is asked.
    yield ("" if files is None else files.prompt_suffix), 1.0


def warning_of(settings: Mapping[str, Any], benchmark: str) -> str | None:
    """A warning if the run's training rows hold rows of a benchmark, by all that is known of them.

    Args:
        settings: The content of the run's ``config.json``.
        benchmark: The benchmark's name.
    """
    inner = _CONTAINED.get(benchmark)
    if inner is None:
        return None
    train = settings["data"]["train"]
    # A path or a source's name; the files themselves say more where they are at hand.
    known = [json.dumps(train), *_sources(train)]
    if not any(inner.lower() in text.lower() for text in known):
        return None
    return (
        f"{benchmark}: the policy was trained on {inner}, which holds rows of this benchmark: its "
        "score says less than that of a policy that never saw them"
    )


def _sources(train: Mapping[str, Any]) -> set[str]:
    """The sources that the training rows name; none if the files are elsewhere."""
    try:
        source = open_source(read_config(SourceConfig, train, "config.data.train"))
        return set(first_of_every_source(source))
    except (OSError, ValueError):
        return set()
