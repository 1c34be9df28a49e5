"""How many tokens an update computes for each real one, and what padding to the longest would take.

    python benchmarks/padding.py

128 groups of two prompts with six responses each, dealt and packed as the learner does. "Padded" is
the count with every response padded to the longest of its micro-batch, rounded up to 128, 256, 512,
1,024 or 2,048 tokens, and groups dealt in the order drawn. Nothing is timed.
"""

from itertools import chain

import numpy as np

from perl_jax.mesh import BatchSharding
from perl_jax.planning.workload import log_normal as drawn_lengths
from perl_jax.types import Group, Prompt, Responses
from perl_jax.update.assignment import assign_groups, cut, tokens_of
from perl_jax.update.packing import PackingConfig, Sizes

GROUPS, ORDERS, ROLLOUTS, PROMPT, LONGEST = 128, 2, 6, 1152, 2048
LENGTHS = ((300, 0.5), (300, 1.0), (512, 0.5))
# Shards, and the groups of each in a micro-batch.
LAYOUTS = ((8, 2), (16, 2), (32, 2), (64, 1))


def log_normal(mean: float, variation: float) -> np.ndarray:
    """Lengths ``[GROUPS, ORDERS, ROLLOUTS]`` of this mean and coefficient of variation."""
    return drawn_lengths(mean, variation, LONGEST, (GROUPS, ORDERS, ROLLOUTS))


def packed(lengths: np.ndarray, shards: int, at_once: int) -> list[Sizes]:
    """The sizes of the micro-batches of one update."""
    zeros = np.zeros(PROMPT, np.int32)
    prompts = [Prompt(zeros, np.zeros((3, PROMPT), np.int32), 0) for _ in range(ORDERS)]
    groups = [Group.of(str(number), prompts) for number in range(GROUPS)]
    responses = Responses(np.zeros((*lengths.shape, LONGEST), np.int32), lengths)
    sharding = BatchSharding((tuple(range(shards)),), (0,), host=0)
    tokens = tokens_of(groups, responses)
    assigned = assign_groups(groups, sharding, tokens)
    count = -(-max(map(len, assigned)) // at_once)
    of_shards = [cut(numbers, tokens, count) for numbers in assigned]
    found = []
    for parts in zip(*of_shards, strict=True):
        members = [[groups[number] for number in numbers] for numbers in parts]
        of_part = lengths[list(chain(*parts))]
        # Text has no images, so no sizes of a model are read.
        found.append(Sizes.of(members, of_part, PackingConfig(), None, lengths))  # type: ignore[arg-type]
    return found


def padded(lengths: np.ndarray, groups: int) -> int:
    """The tokens of prompts and responses in micro-batches of so many groups, padded."""
    total = 0
    for first in range(0, len(lengths), groups):
        part = lengths[first : first + groups]
        longest = next(rung for rung in (128, 256, 512, 1024, 2048) if rung >= part.max())
        total += len(part) * ORDERS * (PROMPT + ROLLOUTS * longest)
    return total


def main() -> None:
    """Prints the table of docs/performance.md."""
    print("| mean length | coefficient of variation | shards | padded to the longest | read / real "
          "| predicted / real | pairs of attention / needed |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for mean, variation in LENGTHS:
        lengths = log_normal(mean, variation)
        real = GROUPS * ORDERS * PROMPT + int((lengths - 1).sum())
        pairs = float((lengths * (PROMPT + lengths.astype(float))).sum())
        for shards, at_once in LAYOUTS:
            sizes = packed(lengths, shards, at_once)
            longest = padded(lengths, shards * at_once) / real
            read = shards * sum(one.tokens for one in sizes) / real
            predicted = shards * sum(one.predicted for one in sizes) / lengths.sum()
            compared = shards * sum(one.orders * one.rows.pairs(one.prompt) for one in sizes)
            print(f"| {mean} | {variation} | {shards} | {longest:.1f} | {read:.2f} "
                  f"| {predicted:.2f} | {compared / pairs:.1f} |")  # fmt: skip


if __name__ == "__main__":
    main()
