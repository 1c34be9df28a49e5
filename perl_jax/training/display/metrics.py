"""Every metric that a run logs: its name, its meaning, and its reduction over a log interval."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from perl_jax.evaluation.statistics import STATISTICS
from perl_jax.rewards import COMPONENTS

Reduction = Literal["mean", "sum", "min", "max", "last"]


@dataclass(frozen=True)
class Metric:
    """One metric, or a family of metrics: the value at one step, and the reduction of several."""

    meaning: str
    unit: str
    reduction: Reduction = "mean"


# A name with angle brackets is a family: any text may take their place.
METRICS: dict[str, Metric] = {
    "reward/mean": Metric("reward of the scored rollouts drawn, before the filter", "reward"),
    **{f"reward/{name}": Metric(part.meaning, part.unit) for name, part in COMPONENTS.items()},
    "reward/unscored": Metric("rollouts drawn that could not be graded or rewarded", "share"),
    "reward/failed/<reason>": Metric(
        "rollouts drawn that a reward function gave no reward", "rollouts", "sum"
    ),
    "reward/<component>": Metric("one reward function, over the scored rollouts drawn", "reward"),
    "advantage/std": Metric("standard deviation of the advantages trained on", "1"),
    "policy/loss": Metric("what the update minimises", "1"),
    "policy/entropy": Metric("entropy of the policy at a response's tokens", "nats per token"),
    "policy/kl": Metric("penalty against the reference policy", "nats per token"),
    "policy/kl_coefficient": Metric("factor of this penalty, if it adapts", "1", "last"),
    "policy/approx_kl": Metric("divergence of the policy from the one sampled", "nats per token"),
    "policy/clip_fraction": Metric("tokens that either clip holds back", "share"),
    "policy/clip_fraction_high": Metric("tokens that the upper clip holds back", "share"),
    "policy/clip_fraction_low": Metric("tokens that the lower clip holds back", "share"),
    "policy/dual_clip_fraction": Metric("tokens that the dual clip holds back", "share"),
    "policy/ratio_mean": Metric("probability under the policy over that when sampled", "1"),
    "policy/ratio_min": Metric("its least", "1", "min"),
    "policy/ratio_max": Metric("its greatest", "1", "max"),
    "policy/logprob_gap_mean": Metric(
        "absolute difference of the sampler's and the trainer's log-probability", "nats per token"
    ),
    "policy/logprob_gap_max": Metric("its greatest", "nats", "max"),
    "policy/importance_weight_mean": Metric(
        "weight that corrects for the gap between sampler and trainer", "1"
    ),
    "policy/importance_weight_truncated": Metric("tokens whose weight was cut to its cap", "share"),
    "update/applied": Metric("updates that were made", "updates"),
    "policy/importance_weight_masked": Metric("tokens left out for their weight", "share"),
    "optimizer/learning_rate": Metric("learning rate of the last update", "1", "last"),
    "optimizer/grad_norm": Metric("global norm of the gradient before clipping", "1"),
    "optimizer/update_norm": Metric("global norm of what was added to the parameters", "1"),
    "optimizer/param_norm": Metric("global norm of the trainable parameters", "1", "last"),
    "optimizer/skipped": Metric("updates skipped for not being finite", "updates", "sum"),
    "rollout/length": Metric("length of a response", "tokens"),
    "rollout/length_max": Metric("length of the longest response", "tokens", "max"),
    "rollout/truncated": Metric("responses cut off at the token limit", "share"),
    "perf/decode_steps": Metric("decode steps of the rollouts, one after another", "steps"),
    "rollout/tokens": Metric("prompt and response tokens of all rollouts drawn", "tokens"),
    "permutation/rate": Metric("scheduled probability that an example is permuted", "share"),
    "permutation/rate_drawn": Metric("examples that the gate chose to permute", "share"),
    "permutation/rate_realised": Metric("examples that have permuted orders", "share"),
    "permutation/orders": Metric("orders of an example, its own among them", "orders"),
    "permutation/kept/<reason>": Metric("examples that it kept from being permuted", "share"),
    "filter/kept": Metric("informative groups that were trained on", "groups"),
    "filter/drawn": Metric(
        "groups drawn, up to the last one of the batch; their examples are used", "groups"
    ),
    "filter/too_easy": Metric("groups dropped because nearly all is right", "groups"),
    "filter/too_hard": Metric("groups dropped because nearly all is wrong", "groups"),
    "filter/unscored": Metric("groups dropped because nothing could be graded", "groups"),
    "filter/surplus": Metric(
        "groups drawn ahead of those; their examples come again in the next step", "groups"
    ),
    "filter/refills": Metric("draws after the first", "draws"),
    "filter/pass_rate": Metric("groups that inform, as the steps before it let expect", "share"),
    "filter/cap_reached": Metric("steps whose batch stayed incomplete", "steps", "sum"),
    "filter/empty": Metric("steps that no group informed, and that were skipped", "steps", "sum"),
    "data/epoch": Metric("passes over the data so far", "epochs", "last"),
    "skipped/<reason>": Metric(
        "rows of the data that could not be used since the run began", "rows", "last"
    ),
    "filtered/<reason>": Metric(
        "rows of the data that its filters left out since the run began", "rows", "last"
    ),
    "perf/step_seconds": Metric("the whole step", "seconds"),
    "perf/rollout_seconds": Metric("sampling, without the grading beside it", "seconds"),
    "perf/reward_seconds": Metric("grading, most of it while others are sampled", "seconds"),
    "perf/update_seconds": Metric("log-probabilities, gradients and updates", "seconds"),
    "perf/reshard_seconds": Metric(
        "copying the policy to the mesh of the rollouts, where it has one", "seconds"
    ),
    "perf/evaluation_seconds": Metric("evaluating on held-out examples", "seconds"),
    "perf/tokens_per_second": Metric(
        "`rollout/tokens` over the step's time", "tokens/s per device"
    ),
    "perf/mfu": Metric("useful operations over what the devices could do", "share"),
    "perf/compilations": Metric("programs compiled during the step", "programs", "sum"),
    **{
        name: Metric(meaning, one.unit, "last")
        for statistic, one in STATISTICS.items()
        for name, meaning in (
            (f"eval/{statistic}", one.meaning),
            (f"eval/{statistic}/<source>", "the same for one source"),
        )
        if one.by_source or "<" not in name
    },
    "supervised/loss": Metric("cross-entropy of the responses", "nats per token"),
    "supervised/likely": Metric(
        "tokens of the responses with more than half of the probability", "share"
    ),
}

_REDUCE: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": lambda values: math.fsum(values) / len(values),
    "sum": math.fsum,
    "min": min,
    "max": max,
    "last": lambda values: values[-1],
}


def describe() -> str:
    """The table of all metrics as Markdown."""
    header = ["| metric | meaning | unit | over several steps |", "|---|---|---|---|"]
    rows = [
        f"| `{name}` | {metric.meaning} | {metric.unit} | {metric.reduction} |"
        for name, metric in METRICS.items()
    ]
    return "\n".join(header + rows)


def find_metric(name: str) -> Metric | None:
    """The metric with this name, or the family that it belongs to; None if there is none."""
    if name in METRICS:
        return None if "<" in name else METRICS[name]
    families = (family for family in METRICS if "<" in family)
    return next((METRICS[f] for f in families if re.fullmatch(re.sub("<.+>", ".+", f), name)), None)


def reduce_metrics(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """One row for several steps, each metric reduced as its table says.

    Args:
        rows: The metrics of consecutive steps, which may differ in their names. Non-finite values
            count as missing; a metric without a finite value is NaN.

    Returns:
        Every metric of any row, in the order of first appearance; metrics that are not in the
        table are reduced to their mean.
    """
    reduced = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        metric = find_metric(name)
        reduce = _REDUCE["mean" if metric is None else metric.reduction]
        finite = [row[name] for row in rows if name in row and math.isfinite(row[name])]
        reduced[name] = reduce(finite) if finite else math.nan
    return reduced
