"""Seconds of a training step with ladders fitted to the rows, beside ladders fitted by hand.

    python benchmarks/ladders.py [--size 112] [--repeats 7]

Rows of two images and questions of different lengths, a tiny model (width 64), 8 groups of 2 orders
of 4 rollouts, 48 new tokens, float32 on the CPU. Three sides run in turn in one process: ladders
that are "auto", as by default; the smallest sizes that hold these rows; and the sizes for any rows
that "auto" stands for where no rows are known. A step samples, pads and updates; nothing is graded.
Figures are medians after two warm-up steps, in which everything is compiled.

On two shared cores with jax 0.10.2: 1.07 s, 1.07 s and 2.34 s a step, ratios 0.99 and 2.18.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from perl_jax.config import TrainConfig
from perl_jax.experience.draws import padded
from perl_jax.models import load_model
from perl_jax.parts import fit_ladders, make_learner, open_rows
from perl_jax.rollout import Group, Sampler, SamplerConfig
from perl_jax.settings import read_config
from perl_jax.testing import write_tiny_checkpoint
from perl_jax.types import TrainBatch, prompt_text
from perl_jax.update.packing import PackingConfig

ROWS, GROUPS, ORDERS, ROLLOUTS, NEW_TOKENS, MICRO_GROUPS = 64, 8, 2, 4, 48, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=112, help="pixels a side")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(compare(Path(directory), args.size, args.repeats)))


def write_rows(directory: Path, size: int) -> Path:
    """Rows of two random images, with questions of one to eight sentences."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(ROWS):
        names = [f"{number}-{side}.png" for side in "lr"]
        for name in names:
            pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(directory / name)
        asked = "Which image shows the largest digit ? " * (1 + number % 8)
        lines.append({"q": f"<image><image> {asked}", "a": "A", "images": names})
    file = directory / "rows.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def configuration(directory: Path, size: int) -> TrainConfig:
    columns = {"question": "q", "answer": "a", "images": ("images",)}
    rows = {"paths": (str(write_rows(directory, size)),), "columns": columns}
    rows |= {"image_root": str(directory), "source": "Mantis-Eval"}
    model = write_tiny_checkpoint(directory / "model", dtype="float32")
    return read_config(
        TrainConfig,
        {
            "model": {"path": str(model), "compute_dtype": "float32"},
            "data": {"train": {"jsonl": rows}},
            "steps": 100,
            "rollout": {"groups": GROUPS, "num_rollouts": ROLLOUTS, "max_new_tokens": NEW_TOKENS},
            "permutation": {"schedule": {"kind": "constant"}},
            "objective": {"kl_coefficient": 0.0},
            "learner": {"packing": {"micro_groups": MICRO_GROUPS}},
        },
    )


def by_hand(config: TrainConfig, groups: list[Group]) -> TrainConfig:
    """The smallest sizes that hold these groups in any micro-batch."""
    prompt = max(len(prompt.tokens) for group in groups for prompt in group.prompts)
    patches = max(sum(image.num_patches for image in group.images) for group in groups)
    images = max(len(group.images) for group in groups)
    packing = PackingConfig(
        micro_groups=MICRO_GROUPS,
        prompt_lengths=(prompt,),
        response_lengths=(NEW_TOKENS,),
        patches=(MICRO_GROUPS * patches,),
        images=(MICRO_GROUPS * images,),
        orders=(MICRO_GROUPS * ORDERS,),
    )
    sampler = SamplerConfig(
        prompt_lengths=(prompt,), response_lengths=(NEW_TOKENS,), patches=(GROUPS * patches,)
    )
    return replace(
        config,
        data=replace(config.data, max_prompt_tokens=prompt),
        rollout=replace(config.rollout, sampler=sampler),
        learner=replace(config.learner, packing=packing),
    )


def make_step(config: TrainConfig, processor, groups: list[Group]) -> Callable[[int], None]:
    """A step of training on the next groups."""
    model = load_model(config.model.path, dtype="float32")
    learner = make_learner(config, model, processor.banned_rows(model.config.vocab_size), None)
    sampler = Sampler(processor, config.rollout.sampler)
    state = learner.init(model, jax.random.key(0))
    length = next(n for n in config.learner.packing.rungs("response_lengths") if n >= NEW_TOKENS)

    def step(number: int) -> None:
        nonlocal state
        first = number * GROUPS % len(groups)
        drawn = groups[first : first + GROUPS]
        rollouts = sampler.sample(
            learner.model(state),
            drawn,
            num_rollouts=ROLLOUTS,
            max_new_tokens=NEW_TOKENS,
            key=number,
            most_orders=GROUPS * ORDERS,
        )
        rollouts = padded(rollouts, ORDERS, length)
        batch = TrainBatch(
            groups=tuple(drawn),
            tokens=rollouts.tokens,
            lengths=rollouts.lengths,
            logprobs=rollouts.logprobs,
            rewards=np.zeros(rollouts.lengths.shape, np.float32),
            advantages=np.random.default_rng(number).standard_normal(rollouts.lengths.shape),
            mask=rollouts.mask,
        )
        state, stats = learner.reinforce(state, batch)
        jax.block_until_ready(stats)

    return step


def compare(directory: Path, size: int, repeats: int) -> dict:
    config = configuration(directory, size)
    rows = open_rows(config)
    processor = rows.prepare.processor
    groups = []
    for number in range(len(rows.source)):
        example = rows.prepare(rows.source[number])
        orders = [
            processor.encode(prompt_text(example), images)
            for images in (example.images, example.images[::-1])
        ]
        groups.append(Group.of(str(number), orders))
    fitted = fit_ladders(config, rows)
    sides = {"auto": fitted, "by_hand": by_hand(config, groups), "any_rows": config}
    steps = {name: make_step(side, processor, groups) for name, side in sides.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(repeats + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step(turn)
            if turn > 1:
                seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    return {
        "pixels": size,
        "seconds": {name: round(time, 3) for name, time in median.items()},
        "auto_to_by_hand": round(median["auto"] / median["by_hand"], 3),
        "any_rows_to_by_hand": round(median["any_rows"] / median["by_hand"], 3),
    }


if __name__ == "__main__":
    main()
