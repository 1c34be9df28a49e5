"""The work of a chip in one call of a program."""

import inspect
import math
from dataclasses import dataclass
from typing import Any

from perl_jax.config import TrainConfig
from perl_jax.kernels.tpu_decoding import block_of
from perl_jax.models import PolicyConfig
from perl_jax.planning.rehearsal import Call
from perl_jax.planning.shapes import bytes_on_chip

# Readings of the weights by the backward pass, in addition to the one of the forward pass.
_BACKWARD = 2
# How often it computes with them again, by `LearnerConfig.remat`: with those of the text model, and
# with those of the vision tower. A tower that keeps nothing is read once more for the inputs of its
# layers.
_AGAIN = {"none": (0, 0), "activations": (0, 0), "wide": (1, 1), "inputs": (1, 1), "layers": (1, 2)}


@dataclass(frozen=True)
class Work:
    """The work of one chip in a call, used to estimate the bytes that it moves.

    Attributes:
        tokens: Tokens that the text model reads.
        pairs: Pairs of a token and a token that it is compared with.
        predicted: Tokens that get logits over the whole vocabulary.
        patches: Patches that the vision tower reads.
        passes: The number of times a call reads the weights of the text model.
        image_passes: The number of times a call reads the weights of the vision tower.
        steps: Decoding steps, each of which reads weights and caches; 0 in other programs.
        prefix: Bytes of the caches of prompts, which each step reads.
        cache: Bytes of the caches of responses, which each step reads.
        owned: The share of them in blocks that a response owns at the end of the call, at most.
            Kernels read no others.
    """

    tokens: float = 0
    pairs: float = 0
    predicted: float = 0
    patches: float = 0
    passes: float = 0
    image_passes: float = 0
    steps: int = 0
    prefix: float = 0
    cache: float = 0
    owned: float = 1.0

    def operations(self, model: PolicyConfig, of_patch: float) -> float:
        """Operations of one forward pass, padding included.

        Args:
            model: The sizes of the policy.
            of_patch: Operations of encoding a patch.
        """
        tokens, pairs, predicted = map(round, (self.tokens, self.pairs, self.predicted))
        text = model.text_operations(tokens=tokens, pairs=pairs, predicted=predicted)
        return text + self.patches * of_patch

    def attention(self, model: PolicyConfig, of_patch: float) -> float:
        """The part of them that attention takes; ``of_patch`` is that of encoding a patch."""
        text = model.text_operations(tokens=0, pairs=round(self.pairs), predicted=0)
        return text + self.patches * of_patch


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
        prompts, length = given["prompts"].tokens.shape
        of_shard = prompts / shards
        # All layers whole, though of most tokens the last one computes keys and values only.
        return Work(of_shard * length, of_shard * length**2, of_shard, passes=1)
    if call.name == "decode":
        steps, state = given["steps"], given["state"]
        tokens = steps * state.tokens.size / shards
        compared = state.prefix.valid.shape[-1] + state.cache.keys.shape[1]
        return Work(
            tokens=tokens,
            pairs=tokens * compared,
            predicted=tokens,
            passes=steps,
            steps=steps,
            prefix=bytes_on_chip(state.prefix),
            cache=bytes_on_chip(state.cache),
        )
    if call.name in ("score", "reference", "update"):
        batch = given["batch"]
        (prompts, length), rows = batch.prompts.tokens.shape, batch.rows.starts.shape
        images = batch.prompts.images
        more, of_images = 0, 0
        if call.name == "update":
            more, of_images = (_BACKWARD + again for again in _AGAIN[config.learner.remat])
        return Work(
            tokens=batch.rows.source.size / shards,
            pairs=(prompts * length**2 + math.prod(rows) * (length + rows[-1])) / shards,
            predicted=batch.rows.read_at.size / shards,
            patches=0 if images is None else images.patches.shape[1],
            passes=1 + more,
            image_passes=1 + of_images * vision_trained,
        )
    return None


def owned_share(slots: int, filled: int) -> float:
    """The share of the slots of a cache that a kernel reads of so many that are filled.

    In blocks of those of TPUs; kernels for GPUs have smaller ones and read no more.
    """
    block = block_of(slots)
    return min(1.0, ceil_div(filled, block) * block / slots)


def num_micro_batches(config: TrainConfig, shards: int) -> tuple[int, int]:
    """The number of groups of a shard in a micro-batch, and of micro-batches in an update."""
    groups = ceil_div(ceil_div(config.rollout.groups, config.learner.updates_per_batch), shards)
    at_once = min(groups, ceil_div(config.learner.packing.micro_groups, shards))
    return at_once, ceil_div(groups, at_once)


def ceil_div(size: int, by: int) -> int:
    """The quotient, rounded up."""
    return -(-size // by)
