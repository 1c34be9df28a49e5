"""The work of a chip in one call of a program, and the number of calls in a step."""

import inspect
import math
from dataclasses import dataclass
from typing import Any

from perl_jax.config import TrainConfig
from perl_jax.planning.rehearsal import Call
from perl_jax.planning.workload import Step

# Readings of the weights by the backward pass, in addition to the one of the forward pass.
_BACKWARD = 2


@dataclass(frozen=True)
class Work:
    """The work of one chip in a call, used to estimate the bytes that it moves.

    Attributes:
        tokens: Tokens that the text model reads.
        pairs: Pairs of a token and a token that it may attend to.
        patches: Patches that the vision tower reads.
        passes: The number of times a call reads the weights of the text model.
        image_passes: The number of times a call reads the weights of the vision tower.
        steps: Decoding steps, each of which reads weights and caches; 0 in other programs.
    """

    tokens: float = 0
    pairs: float = 0
    patches: float = 0
    passes: float = 0
    image_passes: float = 0
    steps: int = 0


def arguments_of(call: Call) -> dict[str, Any]:
    """The arguments of a call by the names of the program's parameters."""
    return inspect.signature(call.function).bind(*call.arguments).arguments


def work_of(call: Call, config: TrainConfig, shards: int, *, vision_trained: bool) -> Work | None:
    """The work of a program that runs the model; None for other programs.

    Args:
        call: The call.
        config: The configuration of the run.
        shards: The number of shards of a batch.
        vision_trained: Whether the vision tower is trained.
    """
    given = arguments_of(call)
    if call.name == "encode":
        return Work(patches=given["images"].patches.shape[1], image_passes=1)
    if call.name == "prefill":
        orders, length = given["prompts"].tokens.shape
        return Work(orders * length / shards, orders * length**2 / shards, passes=1)
    if call.name == "decode":
        steps = given["steps"]
        return Work(steps * given["state"].tokens.size / shards, passes=steps, steps=steps)
    if call.name in ("score", "reference", "update"):
        batch = given["batch"]
        (prompts, length), rows = batch.prompts.tokens.shape, batch.rows.starts.shape
        images = batch.prompts.images
        again = 0 if config.learner.remat == "none" else 1
        more = _BACKWARD + again if call.name == "update" else 0
        return Work(
            tokens=batch.rows.source.size / shards,
            pairs=(prompts * length**2 + math.prod(rows) * (length + rows[-1])) / shards,
            patches=0 if images is None else images.patches.shape[1],
            passes=1 + more,
            image_passes=1 + more * vision_trained,
        )
    return None


def calls_of_step(call: Call, config: TrainConfig, step: Step, shards: int) -> int:
    """The number of times a step calls a program.

    Recorded responses all have the longest length; this number assumes their mean length.
    """
    given, num_rollouts = arguments_of(call), config.rollout.num_rollouts
    if call.name in ("start", "copy"):
        return 0  # Called once in a run.
    if call.name == "encode":
        # Recorded for a full batch.
        return ceil_div(call.count * step.draws.drawn, step.draws.wanted)
    if call.name == "prefill":
        return ceil_div(step.orders, len(given["prompts"].tokens))
    if call.name == "admit":
        return ceil_div(step.orders, len(given["slots"]))
    if call.name == "decode":
        # Free places are refilled: the batch is full until the last rollouts end one by one.
        full = ceil_div(step.orders * step.mean, len(given["state"].tokens))
        return ceil_div(full + step.longest - step.mean, given["steps"])
    if call.name == "compact":
        return (len(given["state"].tokens) // shards * num_rollouts).bit_length() - 1
    return call.count


def num_micro_batches(config: TrainConfig, shards: int) -> tuple[int, int]:
    """The number of groups of a shard in a micro-batch, and of micro-batches in an update."""
    groups = ceil_div(ceil_div(config.rollout.groups, config.learner.updates_per_batch), shards)
    at_once = min(groups, ceil_div(config.learner.packing.micro_groups, shards))
    return at_once, ceil_div(groups, at_once)


def ceil_div(size: int, by: int) -> int:
    """The quotient, rounded up."""
    return -(-size // by)
