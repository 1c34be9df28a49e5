"""From prompts to the padded arrays that a policy reads, computed on the host with NumPy."""

from collections.abc import Sequence

import numpy as np

from perl_jax.buckets import bucket
from perl_jax.models.policy import ImageInputs, PolicyConfig, PromptInputs
from perl_jax.types import Prompt


def feature_rows(
    prompt: Prompt, config: PolicyConfig, rows: Sequence[np.ndarray], where: str
) -> np.ndarray:
    """The row of the image features that stands at each token of a prompt, or -1: int32 ``[T]``.

    Args:
        prompt: Its image tokens show the rows one after the other.
        config: Names the image token.
        rows: Of each of its images.
        where: What errors call the prompt.

    Raises:
        ValueError: there are more or fewer image tokens than rows.
    """
    is_image = prompt.tokens == config.image_token
    shown = np.concatenate([np.zeros(0, np.int32), *rows])
    if np.count_nonzero(is_image) != len(shown):
        raise ValueError(
            f"{where}: expected as many image tokens as image features; "
            f"got {np.count_nonzero(is_image)} and {len(shown)}"
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
    """Pads prompts to one length, and their number with prompts of padding alone.

    Args:
        prompts: None of them longer than T.
        rows: Of each prompt, its `feature_rows`.
        shape: B and T.
        images: What the rows count in, where the policy shall encode it.
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
    """Pads prompts to one length and packs their images.

    Args:
        prompts: At least one; with different numbers of images, or none.
        config: Of the policy.
        length: T; by default the `bucket` of the longest prompt.

    Raises:
        ValueError: a prompt is empty, or its image tokens are not as many as its images' features.
    """
    if not prompts:
        raise ValueError("prompts: expected at least one, got none")
    rows, first = [], 0
    for number, prompt in enumerate(prompts):
        if len(prompt.tokens) == 0:
            raise ValueError(f"prompt {number}: expected at least one token, got none")
        of_prompt = sum(i.num_patches for i in prompt.images) // config.patches_per_unit
        shown = [np.arange(first, first + of_prompt, dtype=np.int32)]
        where = f"prompt {number} with {len(prompt.images)} images"
        rows.append(feature_rows(prompt, config, shown, where))
        first += of_prompt
    images = [image for prompt in prompts for image in prompt.images]
    packed = config.image_sizes([[i.grid for i in images]]).pack(images) if images else None
    shape = (len(prompts), length or bucket(max(len(prompt.tokens) for prompt in prompts)))
    return pad_prompts(prompts, rows, shape, packed)
