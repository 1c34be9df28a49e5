"""A whole training step against that of TRL's GRPOTrainer, on the same policy and rows.

The small policy with a vocabulary of 2,048 in float32; one prompt of two images and about forty
words, eight responses of exactly 64 tokens, a KL penalty of 0.01 against a frozen reference, AdamW.
All other settings are the defaults of both. Our step is the one of a run: it draws and prepares
rows, samples, grades, scores and updates. TRL's, too, has its data in memory. Steps take turns in
one process.

The phases are those of further steps that wait for each program. TRL's rollout is generating; its
score is the processor, rewards and the reference. Ours counts preparing and grading as rollout.
Counted are the operations that a step needs, and those that TRL's executes.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import jax
import numpy as np
from PIL import Image

from benchmarks.harness import Case, Clock, Options, ratio
from benchmarks.trl_steps import PHASES, check_installed, train
from benchmarks.workload import Watched, pictures, write_policy
from perl_jax.config import TrainConfig
from perl_jax.experience.collect import Collected, Collector
from perl_jax.experience.config import GroupFilterConfig
from perl_jax.parts import fit_ladders, make_collector, make_learner, open_parts, open_rows
from perl_jax.rewards import make_grader
from perl_jax.rollout import Sampler
from perl_jax.settings import read_config
from perl_jax.testing import WORDS
from perl_jax.training.reinforce import Reinforce

SIZES = (112, 504)
IMAGES, QUESTION, GENERATIONS, NEW_TOKENS, BETA = 2, 40, 8, 64, 0.01
DROPPED = 2


def run(options: Options) -> Iterator[Case]:
    """One case for each size of images."""
    check_installed()
    for size in SIZES:
        with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
            yield compare(Path(directory), size, options, stack)


def compare(directory: Path, size: int, options: Options, stack: ExitStack) -> Case:
    """Both sides in turn, then the phases of ours."""
    turns = options.turns(7)
    model = write_policy(directory / "model", "small", vocab_size=2048)
    rows = make_rows(directory, size, DROPPED + turns)
    ours = open_ours(directory, model, size, options.clock, stack)
    texts = [(row["question"].replace("<image>", ""), row["pictures"]) for row in rows]
    theirs = train(
        model,
        texts,
        generations=GENERATIONS,
        new_tokens=NEW_TOKENS,
        beta=BETA,
        size=size,
        between=ours.step,
        clock=options.clock,
    )
    seconds = {"trl": theirs.steps[DROPPED:], "perl_jax": ours.seconds[DROPPED:]}
    of_trl = {name: median(times[DROPPED:]) for name, times in theirs.phases.items()}
    of_ours = ours.phases(turns)
    return Case(
        f"{size} pixels",
        {
            "step": ratio(seconds["trl"], seconds["perl_jax"]),
            **{name: of_trl[name] / of_ours[name] for name in ("rollout", "update")},
        },
        seconds,
        {"trl": {"flops": theirs.flops}, "perl_jax": {"flops": ours.operations}},
        {
            "phases of trl": {name: round(of_trl[name], 4) for name in PHASES},
            "phases of perl_jax": {name: round(of_ours[name], 4) for name in PHASES},
        },
    )


def make_rows(directory: Path, size: int, count: int) -> list[dict[str, Any]]:
    """Writes the rows of a run, and returns them with their pictures."""
    rng = np.random.default_rng(0)
    rows, lines = [], []
    for number in range(count):
        words = " ".join(rng.choice(WORDS, QUESTION))
        row = {"question": "<image>" * IMAGES + words, "answer": "A", "images": []}
        shown = [Image.fromarray(one) for one in pictures(IMAGES, size, seed=number)]
        for place, picture in enumerate(shown):
            row["images"].append(f"{number}-{place}.png")
            picture.save(directory / row["images"][-1])
        lines.append(json.dumps(row) + "\n")
        rows.append({**row, "pictures": shown})
    (directory / "rows.jsonl").write_text("".join(lines))
    return rows


@dataclass
class Ours:
    """The steps of a run of this project.

    Attributes:
        stepper: Makes them.
        state: The training state.
        watched: The learner's programs.
        clock: What times are read from.
        seconds: Of each step.
        operations: What the last step needed.
    """

    stepper: Reinforce
    state: Any
    watched: Watched
    clock: Clock
    seconds: list[float] = field(default_factory=list)
    operations: int = 0

    def step(self) -> None:
        """Makes a step."""
        start = self.clock()
        result = self.stepper.step(len(self.seconds), self.state)
        jax.block_until_ready((result.state, result.stats))
        self.seconds.append(self.clock() - start)
        self.state, self.operations = result.state, result.operations

    def phases(self, turns: int) -> dict[str, float]:
        """Median seconds of each phase, of steps that wait for each program."""
        found: dict[str, list[float]] = {name: [] for name in PHASES}
        watched, collect = self.watched, self.stepper.collector
        watched.timing = True
        self.stepper.collector = timed = _Timed(collect, self.clock)  # type: ignore[assignment]
        for _ in range(turns):
            before = {name: sum(times) for name, times in watched.seconds.items()}
            self.step()
            spent = {name: sum(times) - before[name] for name, times in watched.seconds.items()}
            found["rollout"].append(timed.seconds)
            found["score"].append(spent["score"])
            found["optimizer"].append(spent["apply"])
            others = sum(found[name][-1] for name in ("rollout", "score", "optimizer"))
            found["update"].append(self.seconds[-1] - others)
        return {name: median(times) for name, times in found.items()}


@dataclass
class _Timed:
    """Collects as a collector does, and knows how long that took the last time."""

    collector: Collector
    clock: Clock
    seconds: float = 0.0

    @property
    def filtering(self) -> GroupFilterConfig:
        return self.collector.filtering

    def collect(self, *arguments: Any) -> Collected:
        start = self.clock()
        collected = self.collector.collect(*arguments)
        self.seconds = self.clock() - start
        return collected


def open_ours(directory: Path, model: Path, size: int, clock: Clock, stack: ExitStack) -> Ours:
    """Opens the parts of a run as `perl_jax.runs` does; responses never end early."""
    columns = {"question": "question", "answer": "answer", "images": ("images",)}
    rows = {"paths": (str(directory / "rows.jsonl"),), "image_root": str(directory)}
    given = {
        "model": {"path": str(model), "compute_dtype": "float32", "max_pixels": size**2},
        "data": {"train": {"jsonl": {**rows, "columns": columns, "source": "noise"}}},
        "steps": 1000,
        "rollout": {"groups": 1, "num_rollouts": GENERATIONS, "max_new_tokens": NEW_TOKENS},
        "permutation": {"num_orders": 0, "unknown": "keep"},
        "filtering": {"enabled": False},
        "objective": {"kl_coefficient": BETA},
        "reward": {"workers": 1},
    }
    config = read_config(TrainConfig, given)
    opened = open_rows(config)
    config = fit_ladders(config, opened)
    grader = stack.enter_context(make_grader(config.reward))
    parts = open_parts(config, opened, grader, directory, stack)
    endless = replace(parts.processor, stop_tokens=())
    watched = Watched("add", "score", "apply", clock=clock)
    banned = parts.processor.banned_rows(parts.model.config.vocab_size)
    learner = make_learner(config, parts.model, banned, None, compile=watched)
    sampler = Sampler(endless, config.rollout.sampler)
    collector = make_collector(config, replace(parts, sampler=sampler), learner.sharding)
    state = learner.init(parts.model, jax.random.key(0))
    return Ours(Reinforce(learner, collector, parts.pipeline), state, watched, clock)
