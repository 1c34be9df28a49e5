"""What filtering costs: decode steps and surplus of the real collector with scripted rollouts.

    python benchmarks/collecting.py [--steps 10] [--seeds 2]

A step wants 128 groups that inform, of 12 rollouts each, whose lengths are log-normal with a mean
of 512 tokens and a coefficient of variation of 1, at most 2,048. The collector knows the share of
groups that inform from its past steps only. The other side is one draw of the same groups, those up
to the last one of the batch, whose number was known beforehand. Prints the table of
docs/performance.md: the ratio of the decode steps that follow one another, the same ratio where
exactly the missing groups are drawn again and again ("in rounds"), the share of surplus groups, and
the draws of a step.
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from perl_jax.data.pipeline.pipeline import Taken
from perl_jax.experience.collect import Collector
from perl_jax.experience.config import GroupFilterConfig, PermutationConfig, RolloutConfig
from perl_jax.experience.past import Past
from perl_jax.objectives import Objective
from perl_jax.permutation import Rule
from perl_jax.rewards import Grade, RewardConfig, Rewarder
from perl_jax.types import Example, Group, Prompt, Rollouts

SOURCE = "simulated"
ORDERS = 2
ROWS = (1536, 384)
RATES = (0.9, 0.7, 0.5, 0.3)
MEAN, VARIATION, LONGEST = 512, 1.0, 2048
_RIGHT, _WRONG = 1, 0


@dataclass(frozen=True)
class Workload:
    """The groups of a step, and the rows that decode at once.

    Attributes:
        rate: The share of groups that inform.
        seed: Of lengths and of which groups inform.
        groups: B.
        rollouts: N.
        rows: The most rollouts at once.
        chunk: Decode steps of a launch.
    """

    rate: float
    seed: int
    groups: int = 128
    rollouts: int = 6
    rows: int = 1536
    chunk: int = 32

    def informs(self, step: int, place: int) -> bool:
        """Whether the group of an example informs."""
        return bool(self._random(step, place).random() < self.rate)

    def lengths(self, step: int, place: int) -> np.ndarray:
        """The tokens of its responses, int ``[K, N]``."""
        random = self._random(step, place)
        random.random()
        spread = np.log(1 + VARIATION**2)
        drawn = random.lognormal(
            np.log(MEAN) - spread / 2, np.sqrt(spread), (ORDERS, self.rollouts)
        )
        return np.clip(np.ceil(drawn), 1, LONGEST).astype(np.int64)

    def _random(self, step: int, place: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, step, place])


class Processor:
    """Prompts of one token, and responses that say their grade."""

    def encode(self, text: str, images: Sequence[Any]) -> Prompt:
        return Prompt(np.zeros(1, np.int32), np.zeros((3, 1), np.int32), 0)

    def decode(self, tokens: np.ndarray) -> str:
        return str(tokens[0])


class Grader:
    """A response is right if it says so."""

    def grade(self, responses: Sequence[str], answers: Sequence[str]) -> list[Grade]:
        return [Grade(float(text), "scored", "exact") for text in responses]


class Sampler:
    """Decodes in simulated time; ``step`` is the step that its next session belongs to."""

    def __init__(self, workload: Workload) -> None:
        self.workload, self.processor, self.step = workload, Processor(), 0

    def start(self, model: Any, **arguments: Any) -> "Session":
        return Session(self.workload, self.step)


class Session:
    """The schedule of a session: an order occupies its rows until its last rollout ends."""

    def __init__(self, workload: Workload, step: int) -> None:
        self._workload, self._step = workload, step
        self._places = workload.rows // workload.rollouts
        self._examples: list[int] = []
        # Of the orders: the group, and the decode steps that are left.
        self._waiting = np.zeros((0, 2), np.int64)
        self._running = np.zeros((0, 2), np.int64)
        self._orders_left: list[int] = []
        self.stats = Counter({"decode_steps": 0})

    @property
    def busy(self) -> bool:
        return bool(len(self._waiting) or len(self._running))

    def add(self, groups: Sequence[Group]) -> None:
        self.add_examples([int(group.id.rsplit("/", 1)[1]) for group in groups])

    def add_examples(self, places: Sequence[int]) -> None:
        first = len(self._examples)
        self._examples += places
        self._orders_left += [ORDERS] * len(places)
        orders = [
            (first + n, longest)
            for n, place in enumerate(places)
            for longest in self._workload.lengths(self._step, place).max(axis=1)
        ]
        self._waiting = np.concatenate([self._waiting, np.array(orders, np.int64)])

    def launch(self) -> None:
        free = self._places - len(self._running)
        self._running = np.concatenate([self._running, self._waiting[:free]])
        self._waiting = self._waiting[free:]

    def collect(self) -> list[int]:
        if not len(self._running):
            return []
        steps = min(self._workload.chunk, int(self._running[:, 1].max()))
        self.stats["decode_steps"] += steps
        self._running[:, 1] -= steps
        ended = self._running[:, 1] <= 0
        for group in self._running[ended, 0]:
            self._orders_left[group] -= 1
        complete = set(self._running[ended, 0].tolist())
        self._running = self._running[~ended]
        return sorted(group for group in complete if not self._orders_left[group])

    def drop(self, numbers: Iterable[int]) -> None:
        gone = list(numbers)
        self._waiting = self._waiting[~np.isin(self._waiting[:, 0], gone)]
        self._running = self._running[~np.isin(self._running[:, 0], gone)]

    def rollouts(self, numbers: Sequence[int]) -> Rollouts:
        shape = (len(numbers), ORDERS, self._workload.rollouts)
        tokens = np.full((*shape, 1), _RIGHT, np.int32)
        for row, number in enumerate(numbers):
            if self._workload.informs(self._step, self._examples[number]):
                tokens[row, 0, 0] = _WRONG
        ones = np.ones(shape, np.int32)
        return Rollouts(tokens, np.zeros(tokens.shape, np.float32), ones, ones.astype(bool))


class Rows:
    """Endless examples, named by their places."""

    def __init__(self) -> None:
        self.place = 0

    def take(self, count: int) -> Taken:
        places = range(self.place, self.place + count)
        self.place += count
        examples = [Example(str(n), SOURCE, "Which?", (), "1") for n in places]
        return Taken(list(examples), [0] * count)

    def put_back(self, count: int) -> None:
        self.place -= count


@dataclass(frozen=True)
class Simulated:
    """Sums over the steps of a run.

    Attributes:
        steps: Decode steps of the collector.
        oracle: Those of one draw whose size was known beforehand.
        rounds: Those of draws of exactly the missing groups, one after another.
        drawn: Groups drawn, surplus and all.
        surplus: Those that were drawn in vain.
        draws: How often examples were drawn.
    """

    steps: int
    oracle: int
    rounds: int
    drawn: int
    surplus: int
    draws: int

    @property
    def ratio(self) -> float:
        """Decode steps against those of one draw."""
        return self.steps / self.oracle

    @property
    def surplus_share(self) -> float:
        """Surplus groups among all drawn."""
        return self.surplus / self.drawn


def simulate(workload: Workload, steps: int) -> Simulated:
    """Runs steps of a run whose collector knows the share of informative groups from its past."""
    sampler, rows, past = Sampler(workload), Rows(), Past()
    collector = Collector(
        sampler,
        rows.take,
        rows.put_back,
        Rewarder(RewardConfig(workers=1), Grader(), LONGEST),
        lambda groups, responses: 0,
        rollout=RolloutConfig(
            groups=workload.groups, num_rollouts=workload.rollouts, max_new_tokens=LONGEST
        ),
        permutation=PermutationConfig(num_orders=ORDERS - 1, rules={SOURCE: Rule()}),
        filtering=GroupFilterConfig(max_draws=16),
        objective=Objective(),
        response_lengths=(1,),
        seed=0,
        total_steps=steps,
        recorded=0,
    )
    sums: Counter[str] = Counter()
    for step in range(steps):
        sampler.step, first = step, rows.place
        collected = collector.collect(None, step, jax.random.key(0), past)
        past, metrics = collected.past, collected.metrics
        assert metrics["filter/kept"] == workload.groups
        used = list(range(first, rows.place))
        sums.update(
            steps=int(metrics["perf/decode_steps"]),
            oracle=_decode(workload, step, used),
            rounds=_decode_in_rounds(workload, step, used),
            drawn=int(metrics["filter/drawn"] + metrics["filter/surplus"]),
            surplus=int(metrics["filter/surplus"]),
            draws=int(metrics["filter/refills"]) + 1,
        )
    return Simulated(**sums)


def _decode(workload: Workload, step: int, places: Sequence[int]) -> int:
    """The decode steps of one draw."""
    session = Session(workload, step)
    session.add_examples(places)
    while session.busy:
        session.launch()
        session.collect()
    return session.stats["decode_steps"]


def _decode_in_rounds(workload: Workload, step: int, places: Sequence[int]) -> int:
    """The decode steps where each draw has as many groups as the batch still lacks."""
    missing, taken, steps = workload.groups, 0, 0
    while missing:
        draw = places[taken : taken + missing]
        taken += missing
        steps += _decode(workload, step, draw)
        missing -= sum(workload.informs(step, place) for place in draw)
    return steps


def table(results: Mapping[tuple[int, float], Sequence[Simulated]], steps: int) -> str:
    """The results as Markdown, by rows at once and share of informative groups."""
    lines = [
        "| rows at once | groups that inform | decode steps against one draw | in rounds "
        "| surplus groups | draws of a step |",
        "|---|---|---|---|---|---|",
    ]
    for (rows, rate), runs in results.items():
        ratio = sum(run.steps for run in runs) / sum(run.oracle for run in runs)
        rounds = sum(run.rounds for run in runs) / sum(run.oracle for run in runs)
        surplus = sum(run.surplus for run in runs) / sum(run.drawn for run in runs)
        draws = sum(run.draws for run in runs) / (steps * len(runs))
        lines.append(
            f"| {rows:,} | {rate:.0%} | {ratio:.2f} | {rounds:.2f} | {surplus:.1%} | {draws:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    results = {
        (rows, rate): [
            simulate(Workload(rate, seed, rows=rows), options.steps)
            for seed in range(options.seeds)
        ]
        for rows in ROWS
        for rate in RATES
    }
    print(table(results, options.steps))


if __name__ == "__main__":
    main()
