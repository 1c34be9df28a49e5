"""Fits the ladders of padded sizes to the rows of a run; see `choose_ladders`.

A size that arrays are padded to costs work, and every further one costs a compilation. Rows of one
kind need a single size; rows of many sizes need a few.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from perl_jax.buckets import bucket
from perl_jax.data.survey import SurveyedRow
from perl_jax.rollout import SamplerConfig
from perl_jax.update.packing import PackingConfig

Config = TypeVar("Config", SamplerConfig, PackingConfig)

# A micro-batch holds several rows; this many are put together of the surveyed ones.
_TRIALS = 512
# Smaller sizes are those that hold these shares of the micro-batches, if they save a third.
_SHARES = (0.6, 0.25)
_WORTH = 1.5
# Little beyond what was seen is more probable than much.
_NEXT = 1.25
# A count of orders that fewer micro-batches have is not worth a size.
_SELDOM = 0.1
# A sum of independent sizes stays below its mean and four deviations, but once in 30,000.
_DEVIATIONS = 4.0
# Shorter responses than these are not worth a program of their own.
_SHORTEST_RESPONSE = 128
# Nor are calls of the vision tower with fewer patches.
_FEWEST_PATCHES = 1024
# Memory limits the patches of one call of the vision tower.
_MOST_PATCHES = 65536


@dataclass(frozen=True, eq=False)
class Demand:
    """What the ladders of a run have to hold.

    Attributes:
        rows: Surveyed rows that the run trains on.
        held_out: Surveyed rows that it is evaluated on.
        prompt: The longest prompt that the filters let through, in tokens.
        unit: Patches that become one token of a prompt.
        patches: The most patches of one image.
        groups: Groups of a draw, on each shard.
        evaluated: Examples that are evaluated together, on each shard.
        micro_groups: Groups of a micro-batch, on each shard.
        orders: The most orders of a group.
        permuted: The smallest share of groups that are shown in other orders, over the run.
        response: The longest response of an update, in tokens.
        drawn: The longest response that is drawn, for an update or an evaluation.
    """

    rows: Sequence[SurveyedRow]
    held_out: Sequence[SurveyedRow]
    prompt: int
    unit: int
    patches: int
    groups: int
    evaluated: int
    micro_groups: int
    orders: int
    permuted: float
    response: int
    drawn: int


@dataclass(frozen=True)
class Ladders:
    """Ladders for sampling and for the update."""

    sampler: SamplerConfig
    packing: PackingConfig


def choose_ladders(demand: Demand, sampler: SamplerConfig, packing: PackingConfig) -> Ladders:
    """Chooses every ladder that is ``auto``; others stay.

    A ladder of an update has at most three sizes that hold the micro-batches of rows like the
    surveyed ones (``images`` one, ``orders`` three), and then sizes up to the largest micro-batch
    that the filters let through. The latter are compiled only if such a micro-batch comes. So rows
    of any sizes need at most 3 x 3 x 3 programs per length of responses, and rows of one kind one;
    micro-batches with a prompt of several orders, whose prompts ``orders`` counts too, need
    programs of their own. The result depends on the arguments only.
    """
    if not demand.rows:
        return Ladders(sampler, packing)
    trial = _Trials(demand.rows, demand.micro_groups)
    longest = [max(row.prompts) for row in demand.rows]
    # An order can be longer than the example's own, as its references are rewritten.
    most_tokens = 2 * demand.prompt
    # Every unit of patches is a token of the prompt, and so is every image at least.
    units, groups = demand.prompt, demand.micro_groups
    patches = [row.patches for row in demand.rows]
    images = [len(row.images) for row in demand.rows]
    chosen: dict[str, tuple[int, ...]] = {
        "prompt_lengths": _rungs(trial.largest(longest), most_tokens),
        "response_lengths": _response_lengths(demand.response),
        "patches": _rungs(trial.sums(patches), groups * units * demand.unit, demand.unit),
        "images": _rungs(trial.sums(images)[-1:], groups * units),
        "orders": _order_counts(demand),
    }
    asked = [*longest, *(max(row.prompts) for row in demand.held_out)]
    drawn: dict[str, tuple[int, ...]] = {
        "prompt_lengths": _rungs(np.sort(asked), most_tokens),
        "response_lengths": _response_lengths(demand.drawn),
        "patches": _call_sizes(demand),
    }
    return Ladders(_filled(sampler, drawn), _filled(packing, chosen))


def _filled(config: Config, chosen: dict[str, tuple[int, ...]]) -> Config:
    auto: dict[str, Any] = {n: rungs for n, rungs in chosen.items() if getattr(config, n) == "auto"}
    return replace(config, **auto)


class _Trials:
    """Micro-batches of surveyed rows, put together at random."""

    def __init__(self, rows: Sequence[SurveyedRow], groups: int) -> None:
        self._index = np.random.default_rng(0).integers(0, len(rows), (_TRIALS, groups))

    def largest(self, sizes: Sequence[int]) -> np.ndarray:
        """The largest size in each micro-batch, ascending."""
        return np.sort(np.array(sizes)[self._index].max(axis=1))

    def sums(self, sizes: Sequence[int]) -> np.ndarray:
        """The sum of the sizes in each micro-batch, ascending; the last bounds nearly all."""
        sums = np.sort(np.array(sizes)[self._index].sum(axis=1))
        bound = math.ceil(sums.mean() + _DEVIATIONS * sums.std())
        most = self._index.shape[1] * max(sizes)
        return np.append(sums, max(sums[-1], min(most, bound)))


def _rungs(sizes: np.ndarray, most: int, unit: int = 1) -> tuple[int, ...]:
    """At most three sizes for ascending ``sizes`` of micro-batches, and larger ones to ``most``."""
    top = _rounded(int(sizes[-1]), unit)
    rungs = [top]
    for share in _SHARES:
        rung = _rounded(int(sizes[math.ceil(share * len(sizes)) - 1]), unit)
        if rung * _WORTH <= rungs[0]:
            rungs.insert(0, rung)
    while rungs[-1] < most:
        grown = math.ceil(rungs[-1] * (_NEXT if rungs[-1] == top else 2))
        rungs.append(_rounded(grown, unit))
    return tuple(rungs)


def _rounded(size: int, unit: int = 1) -> int:
    """A size rounded up by at most a sixteenth, to a multiple of ``unit``."""
    return bucket(-(-max(size, 1) // unit), steps=16) * unit


def _response_lengths(longest: int) -> tuple[int, ...]:
    """The longest response and halves of it."""
    rungs = [longest]
    while rungs[0] >= 2 * _SHORTEST_RESPONSE and len(rungs) < 3:
        rungs.insert(0, -(-rungs[0] // 2))
    return tuple(rungs)


def _order_counts(demand: Demand) -> tuple[int, ...]:
    """The orders of a micro-batch: of permuted groups only, of half as many, of none.

    Groups of constant size always ask as many orders; their prompts, each read once, are fewer.
    """
    groups = demand.micro_groups
    share = demand.permuted * np.mean([len(row.prompts) > 1 for row in demand.rows])
    counts = [groups * demand.orders]
    for permuted in (groups // 2, 0):
        fewer = groups + permuted * (demand.orders - 1)
        often = _binomial(groups, float(share), permuted) >= _SELDOM
        if often and fewer * _NEXT <= counts[0]:
            counts.insert(0, fewer)
    return tuple(counts)


def _binomial(count: int, share: float, most: int) -> float:
    """The probability of at most ``most`` of ``count``, each of which has the share."""
    return sum(math.comb(count, n) * share**n * (1 - share) ** (count - n) for n in range(most + 1))


def _call_sizes(demand: Demand) -> tuple[int, ...]:
    """Patches of one call of the vision tower: of a full draw, parts of one, an evaluation.

    The sampler cuts what a call does not hold into several, so only single images need more. The
    groups that replace others come a few at a time, so a sixteenth of a large draw has a size too.
    """
    unit, wanted = demand.unit, list[int]()
    parts = ((demand.rows, demand.groups), (demand.held_out, demand.evaluated))
    for rows, count in parts:
        if rows and count:
            full = int(_Trials(rows, count).sums([row.patches for row in rows])[-1])
            few = [-(-full // 16)] if full >= 16 * _FEWEST_PATCHES else []
            wanted += [full] if wanted else [full, -(-full // 4), *few]
    rungs: list[int] = []
    for size in sorted(_rounded(min(size, _MOST_PATCHES), unit) for size in wanted):
        if not rungs or size >= _NEXT * rungs[-1]:
            rungs.append(size)
        else:
            rungs[-1] = size
    # Without draws and evaluations nothing is sampled.
    rungs = rungs or [unit]
    while rungs[-1] < demand.patches:
        rungs.append(2 * rungs[-1])
    return tuple(rungs)
