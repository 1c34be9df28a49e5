"""The least floating-point operations of a step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from perl_jax.models import PolicyConfig
from perl_jax.models.paths import TEXT_LAYERS, VISION, VISION_BLOCKS, within
from perl_jax.types import Group, Responses

T = TypeVar("T", int, np.ndarray)


@dataclass(frozen=True)
class Adapters:
    """Numbers in low-rank adapters, by what their maps read.

    Attributes:
        token: Those of the language model's layers, which read tokens.
        predicted: Those of the unembedding, which reads hidden states of predicting tokens.
        patch: Those of the vision tower's blocks, which read patches.
        unit: Those of the mergers, which read units of patches.
    """

    token: int = 0
    predicted: int = 0
    patch: int = 0
    unit: int = 0

    @classmethod
    def of(cls, sizes: Mapping[str, int]) -> "Adapters":
        """Sorts the sizes of the adapters' matrices by their paths."""
        sums = {"token": 0, "predicted": 0, "patch": 0, "unit": 0}
        for path, size in sizes.items():
            within_text = "token" if within(path, TEXT_LAYERS) else "predicted"
            within_vision = "patch" if within(path, VISION_BLOCKS) else "unit"
            sums[within_vision if within(path, VISION) else within_text] += size
        return cls(**sums)

    @property
    def of_vision(self) -> bool:
        """Whether the vision tower has any."""
        return self.patch + self.unit > 0


@dataclass(frozen=True)
class Operations:
    """Floating-point operations of one forward pass, counted by `PolicyConfig`.

    Attributes:
        vision: For encoding every distinct image of a group once.
        text: For reading every prompt once, and every response after it.
        of_patches: The part of ``vision`` that attention takes.
        of_tokens: The part of ``text`` that attention takes.
        tokens: The tokens that are read.
        predicted: The tokens that are predicted.
        patches: The patches that are encoded.
        units: The units that are merged to features.
    """

    vision: int
    text: int
    of_patches: int = 0
    of_tokens: int = 0
    tokens: int = 0
    predicted: int = 0
    patches: int = 0
    units: int = 0

    def forward(self) -> int:
        """The operations of the pass itself, as a rollout or to score given responses."""
        return self.vision + self.text

    def update(self, *, vision_trained: bool, text_trained: bool) -> int:
        """The operations of the pass and its gradients.

        Gradients of inputs and of weights each cost as much as the pass. A frozen vision tower gets
        none. Attention has no weights: it always costs three passes where gradients go through it.
        """
        text = self.text * (3 if text_trained else 2) + (0 if text_trained else self.of_tokens)
        return text + self.vision * (3 if vision_trained else 1)

    def update_of(self, adapters: Adapters) -> int:
        """The operations of the pass and of the gradients of adapters.

        No weight under them gets a gradient. Beside it, an adapter costs a multiplication by each
        of its numbers, and twice as much for its gradients.
        """
        own = (
            self.tokens * adapters.token
            + self.predicted * adapters.predicted
            + self.patches * adapters.patch
            + self.units * adapters.unit
        )
        vision = 2 * self.vision + self.of_patches if adapters.of_vision else self.vision
        return 2 * self.text + self.of_tokens + vision + 3 * 2 * own


def forward_operations(
    config: PolicyConfig, groups: Sequence[Group], responses: Responses
) -> Operations:
    """Counts one forward pass over groups and their responses, shared parts once.

    As is usual, all layers are counted for all tokens, though a prefill leaves most of the last one
    out: no hidden state but a prompt's last is used. Responses of length 0 cost nothing, and
    neither does a group with no other responses.
    """
    vision = of_patches = patches = tokens = pairs = predicted = 0
    for group, lengths_KxN in zip(groups, responses.lengths, strict=True):
        if not lengths_KxN.any():
            continue
        for image in group.images:
            vision += config.image_operations(image.grid)
            of_patches += config.image_attention(image.grid)
            patches += image.num_patches
        asked, lengths = np.array(group.asked), lengths_KxN[: group.num_orders].astype(np.int64)
        for number, prompt in enumerate(group.prompts):
            start, of_prompt = len(prompt.tokens), lengths[asked == number]
            # The last token of a response is predicted but never read.
            read = np.maximum(of_prompt - 1, 0)
            tokens += start + int(read.sum())
            pairs += _triangle(start) + int((read * start + _triangle(read)).sum())
            predicted += int(of_prompt.sum())
    return Operations(
        vision=vision,
        text=config.text_operations(tokens=tokens, pairs=pairs, predicted=predicted),
        of_patches=of_patches,
        of_tokens=config.text_operations(tokens=0, pairs=pairs, predicted=0),
        tokens=tokens,
        predicted=predicted,
        patches=patches,
        units=patches // config.patches_per_unit,
    )


def _triangle(n: T) -> T:
    """1 + 2 + ... + n, the pairs of causal attention over n tokens."""
    return n * (n + 1) // 2
