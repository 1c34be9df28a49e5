"""Floating-point operations that a step cannot do without."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from perl_jax.models import PolicyConfig
from perl_jax.types import Group, Responses

T = TypeVar("T", int, np.ndarray)


@dataclass(frozen=True)
class Operations:
    """Floating-point operations of one forward pass, counted by `PolicyConfig`.

    Attributes:
        vision: Of encoding every distinct image of a group once.
        text: Of reading every order once, and every response after it.
    """

    vision: int
    text: int

    def forward(self) -> int:
        """Of the pass itself: as a rollout, or to score what is given."""
        return self.vision + self.text

    def update(self, *, vision_trained: bool, text_trained: bool) -> int:
        """Of the pass and its gradients, which cost as much again for inputs and for weights.

        Where the vision tower is frozen, nothing flows back into it.
        """
        text_backward = 2 if text_trained else 1
        vision_backward = 2 if vision_trained else 0
        return self.text * (1 + text_backward) + self.vision * (1 + vision_backward)


def forward_operations(
    config: PolicyConfig, groups: Sequence[Group], responses: Responses
) -> Operations:
    """Of one forward pass over groups and their responses, shared parts once.

    Args:
        config: Of the model.
        groups: B groups.
        responses: To them; those of length 0 cost nothing.
    """
    vision = text = 0
    for group, lengths_KxN in zip(groups, responses.lengths, strict=True):
        if not lengths_KxN.any():
            continue
        vision += sum(config.image_operations(image.grid) for image in group.images)
        for prompt, lengths_N in zip(group.prompts, lengths_KxN.astype(np.int64), strict=False):
            start = len(prompt.tokens)
            # The last token of a response is predicted and never read.
            read = np.maximum(lengths_N - 1, 0)
            text += config.text_operations(
                tokens=start + int(read.sum()),
                pairs=_triangle(start) + int((read * start + _triangle(read)).sum()),
                predicted=int(lengths_N.sum()),
            )
    return Operations(vision, text)


def _triangle(n: T) -> T:
    """1 + 2 + ... + n: the pairs of n tokens that read each other in order."""
    return n * (n + 1) // 2
