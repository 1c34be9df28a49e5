"""What a run is and what came of it, in a few lines at its start and its end."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import jax
from flax import nnx
from jax.sharding import Mesh
from tqdm import tqdm

from perl_jax.config import RunConfig, TrainConfig, WarmstartConfig
from perl_jax.data.pipeline.mixture import Mixture
from perl_jax.data.sources.source import Source
from perl_jax.models import Policy
from perl_jax.models.lora import adapted_maps, adapters_of
from perl_jax.models.opening import held_dtype
from perl_jax.permutation import Rule, Rules, rule_for, rules_from_config
from perl_jax.training.display.final_table import best_evaluation
from perl_jax.training.display.writers import METRICS_FILE, read_metrics
from perl_jax.training.loop import Outcome
from perl_jax.types import Example

# Reading a row may read a whole row group, from a bucket.
_SAMPLED_ROWS = 16


def first_words(
    config: RunConfig, mesh: Mesh | None, model: Policy, source: Source, start: Sequence[str]
) -> list[str]:
    """The lines at the start of a run; the last ones are those of `places_lines`."""
    return [
        _devices_line(mesh),
        _model_line(config, model),
        *_training_lines(config, model),
        *_data_lines(config, source),
        *_step_lines(config),
        *start,
    ]


def last_words(config: RunConfig, workdir: Path, export: Path, outcome: Outcome) -> list[str]:
    """How long a run took, what was best, and what to do next."""
    took = tqdm.format_interval(outcome.progression.seconds)
    lines = [f"{_counted(outcome.step, 'step')} took {took}, not counting start and evaluations"]
    best = best_evaluation(read_metrics(workdir / METRICS_FILE))
    if best is not None:
        lines.append(f"best held-out accuracy: {best[1]:.3f}, after step {best[0]}")
    # Without evaluations there is no best one.
    step = "latest" if best is None else "best"
    lines.append(
        f"to export a checkpoint: perl-jax export --workdir={shlex.quote(str(workdir))} "
        f"--out=DIR --step={step}"
    )
    if config.export:
        lines.append(
            f"to ask the policy: perl-jax generate --model={shlex.quote(str(export))} "
            "--image=a.png --image=b.png --prompt='<image><image> ...'"
        )
    return lines


def _devices_line(mesh: Mesh | None) -> str:
    """The devices that a run uses, and how it lays them out."""
    device = jax.devices()[0]
    count = jax.device_count() if mesh is not None else 1
    kind = device.device_kind if device.device_kind != device.platform else device.platform
    found = f"{count} of {jax.device_count()} {kind} ({device.platform})"
    if jax.process_count() > 1:
        found += f" on {jax.process_count()} hosts"
    if mesh is None:
        return f"devices      {found}"
    return f"devices      {found}, mesh {', '.join(f'{n} {s}' for n, s in mesh.shape.items())}"


def _model_line(config: RunConfig, model: Policy) -> str:
    """The policy: where it is from, its family, size and dtypes."""
    size = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model)))
    return (
        f"model        {config.model.path}: {model.config.model_type}, {size:,} parameters "
        f"({held_dtype(config.model, config.learner.lora)}, computes in "
        f"{config.model.compute_dtype})"
    )


def _training_lines(config: RunConfig, model: Policy) -> list[str]:
    """The adapters, and the factors on the learning rate."""
    lines, lora = [], config.learner.lora
    if lora is not None:
        size = sum(leaf.size for _, leaf in adapters_of(model))
        lines.append(
            f"adapters     {size:,} of these parameters, in float32: rank {lora.rank}, alpha "
            f"{lora.alpha:g}, of {_counted(len(adapted_maps(model)), 'linear map')} (a stack of "
            "layers counts once); all else is frozen"
        )
    for pattern, factor in config.optimizer.rates:
        lines.append(f"rates        {factor:g} x the learning rate for {pattern}")
    return lines


def _data_lines(config: RunConfig, source: Source) -> list[str]:
    """The rows by part and, of a sample, by the source that they name; their rules."""
    sample = _Sample.of(source)
    lines = [f"data         {_rows_by_part(source)}"]
    sources = ", ".join(f"{name} {count}" for name, count in sample.sources.most_common())
    lines.append(f"  sources    {sources or 'none'} (of {sample.rows} rows that were looked at)")
    if sample.refused:
        lines.append(f"  refused    {sample.refused} of these rows, by filters or as unusable")
    if config.data.held_out is not None:
        lines.append(f"  held out   at most {config.evaluation.examples:,} examples")
    if config.permutation.num_orders and not isinstance(config, WarmstartConfig):
        rules = rules_from_config(config.permutation.rules)
        lines += _rule_lines(sample.examples, rules, config.permutation.unknown)
    return lines


def _step_lines(config: RunConfig) -> list[str]:
    """What a step holds, what is filtered and what is permuted."""
    if isinstance(config, WarmstartConfig):
        return [f"a step       {config.rows:,} rows, 1 update"]
    assert isinstance(config, TrainConfig)
    rollout, permutation = config.rollout, config.permutation
    orders = 1 + permutation.num_orders
    responses = rollout.groups * orders * rollout.num_rollouts
    lines = [
        f"a step       {rollout.groups:,} groups x up to {orders} orders x {rollout.num_rollouts} "
        f"rollouts = {responses:,} responses of up to {rollout.max_new_tokens:,} tokens, "
        f"{_counted(config.learner.updates_of_step, 'update')}"
    ]
    bounds, filtering = config.filtering.bounds, config.filtering
    if filtering.enabled:
        brackets = "[]" if bounds.inclusive else "()"
        lines.append(
            f"filtering    keeps groups of a mean accuracy in {brackets[0]}{bounds.low:g}, "
            f"{bounds.high:g}{brackets[1]}; draws up to {filtering.max_draws * rollout.groups:,}"
        )
    else:
        lines.append("filtering    keeps every group with a grade")
    if permutation.num_orders:
        lines.append(
            f"permutation  {_counted(permutation.num_orders, 'order')} beside an example's own; "
            f"rate {permutation.schedule.kind}, peak {permutation.schedule.peak:g}"
        )
    else:
        lines.append("permutation  none")
    return lines


def places_lines(config: RunConfig, workdir: Path, checkpoints: object, step: int) -> list[str]:
    """Where things are written, the seed, and where the run starts."""
    start = f"resumes from step {step:,}" if step else "starts"
    return [
        f"work dir     {workdir}",
        f"checkpoints  {checkpoints}",
        f"run          seed {config.seed}; {start}; {_counted(config.steps, 'step')} in all",
    ]


@dataclass(frozen=True)
class _Sample:
    """A few rows of a source, spread evenly over each of its parts."""

    examples: Sequence[Example]
    refused: int

    @classmethod
    def of(cls, source: Source) -> "_Sample":
        examples, refused = [], 0
        for index in _spread(source):
            try:
                examples.append(source[index])
            except OSError:
                raise
            # As the pipeline, which skips and counts such a row.
            except Exception:
                refused += 1
        return cls(examples, refused)

    @property
    def rows(self) -> int:
        return len(self.examples) + self.refused

    @property
    def sources(self) -> Counter[str]:
        return Counter(example.source for example in self.examples)


def _spread(source: Source) -> list[int]:
    starts = source.starts if isinstance(source, Mixture) else (0, len(source))
    parts = list(pairwise(starts))
    wanted = max(1, _SAMPLED_ROWS // len(parts))
    return [
        first + turn * (end - first) // min(wanted, end - first)
        for first, end in parts
        for turn in range(min(wanted, end - first))
    ]


def _rows_by_part(source: Source) -> str:
    rows = _counted(len(source), "row")
    if not isinstance(source, Mixture) or len(source.parts) == 1:
        return rows
    shares = sum(source.shares)
    parts = (
        f"{part.name} {len(part.source):,} (drawn {share / shares:.0%} of the time)"
        for part, share in zip(source.parts, source.shares, strict=True)
    )
    return f"{rows}: {', '.join(parts)}"


def _rule_lines(examples: Sequence[Example], rules: Rules, unknown: str) -> list[str]:
    """The rules of the sampled examples, by source and kind of rule."""
    found: Counter[tuple[str, str]] = Counter()
    for example in examples:
        try:
            rule = rule_for(example, rules=rules, unknown=unknown)
        except ValueError:
            found[example.source, "has no rule"] += 1
        else:
            found[example.source, _described(rule, example.source, rules)] += 1
    return [
        f"  rule       {source}: {text} ({count} of the rows looked at)"
        for (source, text), count in found.most_common()
    ]


def _described(rule: Rule, source: str, rules: Mapping[str, object]) -> str:
    if rule.movable == "none":
        return f"stays in order: {rule.why}"
    mine = source.lower() in {name.lower() for name in rules}
    origin = "yours" if mine else "built in"
    return f"moves {rule.movable}, answer {rule.answer}, text {rule.text}, {origin}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
