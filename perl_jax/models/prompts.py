"""Padding prompts to the arrays that a policy reads, on the host with NumPy."""

from collections.abc import Sequence

import numpy as np

from perl_jax.buckets import bucket
from perl_jax.models.policy import ImageInputs, PolicyConfig, PromptInputs
from perl_jax.types import Prompt


def feature_rows(
    prompt: Prompt, config: PolicyConfig, rows: Sequence[np.ndarray], where: str
) -> np.ndarray:
    """The row of the image features at each token of a prompt, or -1: int32 ``[T]``.

    The image tokens show the ``rows`` of the prompt's images one after the other.

    Raises:
        ValueError: The numbers of image tokens and rows differ; ``where`` names the prompt.
    """
    is_image = prompt.tokens == config.image_token
    shown = np.concatenate([np.zeros(0, np.int32), *rows])
    if (count := np.count_nonzero(is_image)) != len(shown):
        raise ValueError(
            f"{where}: expected as many image tokens as image features; "
            f"got {count} and {len(shown)}"
        )
    at_tokens = np.full(len(prompt.tokens), -1, np.int32)
    at_tokens[is_image] = shown
    return at_tokens


def pad_prompts(
    prompts: Sequence[Prompt],
    rows: Sequence[np.ndarray],
    shape: tuple[int, int],
    images: ImageInputs | None = None,
) -> PromptInputs:
    """Pads prompts, with the `feature_rows` of each, to the shape ``(B, T)``.

    ``images`` are given where the policy is to encode them.
    """
    tokens = np.zeros(shape, np.int32)
    positions = np.zeros((3, *shape), np.int32)
    valid = np.zeros(shape, bool)
    shown = np.full(shape, -1, np.int32)
    for number, (prompt, at_tokens) in enumerate(zip(prompts, rows, strict=True)):
        end = len(prompt.tokens)
        tokens[number, :end] = prompt.tokens
        positions[:, number, :end] = prompt.positions
        valid[number, :end] = True
        shown[number, :end] = at_tokens
    return PromptInputs(tokens, positions, valid, shown, images)


def pack_prompts(
    prompts: Sequence[Prompt], config: PolicyConfig, *, length: int | None = None
) -> PromptInputs:
    """Pads prompts to T = ``length`` (by default the longest's `bucket`) and packs their images.

    Raises:
        ValueError: There is no prompt, or one is empty or has image tokens that do not match the
            features of its images.
    """
    if not prompts:
        raise ValueError("prompts: expected at least one, got none")
    rows, first = [], 0
    for number, prompt in enumerate(prompts):
        if len(prompt.tokens) == 0:
            raise ValueError(f"prompt {number}: expected at least one token, got none")
        of_prompt = sum(i.num_patches for i in prompt.images) // config.patches_per_unit
        shown = np.arange(first, first + of_prompt, dtype=np.int32)
        where = f"prompt {number} with {len(prompt.images)} images"
        rows.append(feature_rows(prompt, config, [shown], where))
        first += of_prompt
    images = [image for prompt in prompts for image in prompt.images]
    packed = config.image_sizes([[i.grid for i in images]]).pack(images) if images else None
    shape = (len(prompts), length or bucket(max(len(prompt.tokens) for prompt in prompts)))
    return pad_prompts(prompts, rows, shape, packed)
