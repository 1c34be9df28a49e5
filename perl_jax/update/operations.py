"""The least floating-point operations of a step."""

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
        vision: For encoding every distinct image of a group once.
        text: For reading every prompt once, and every response after it.
    """

    vision: int
    text: int

    def forward(self) -> int:
        """The operations of the pass itself, as a rollout or to score given responses."""
        return self.vision + self.text

    def update(self, *, vision_trained: bool, text_trained: bool) -> int:
        """The operations of the pass and its gradients.

        Gradients of inputs and of weights each cost as much as the pass. A frozen vision tower gets
        none.
        """
        return self.text * (3 if text_trained else 2) + self.vision * (3 if vision_trained else 1)


def forward_operations(
    config: PolicyConfig, groups: Sequence[Group], responses: Responses
) -> Operations:
    """Counts one forward pass over groups and their responses, shared parts once.

    Responses of length 0 cost nothing, and neither does a group with no other responses.
    """
    vision = text = 0
    for group, lengths_KxN in zip(groups, responses.lengths, strict=True):
        if not lengths_KxN.any():
            continue
        vision += sum(config.image_operations(image.grid) for image in group.images)
        asked, lengths = np.array(group.asked), lengths_KxN[: group.num_orders].astype(np.int64)
        for number, prompt in enumerate(group.prompts):
            start, of_prompt = len(prompt.tokens), lengths[asked == number]
            # The last token of a response is predicted but never read.
            read = np.maximum(of_prompt - 1, 0)
            text += config.text_operations(
                tokens=start + int(read.sum()),
                pairs=_triangle(start) + int((read * start + _triangle(read)).sum()),
                predicted=int(of_prompt.sum()),
            )
    return Operations(vision, text)


def _triangle(n: T) -> T:
    """1 + 2 + ... + n, the pairs of causal attention over n tokens."""
    return n * (n + 1) // 2
