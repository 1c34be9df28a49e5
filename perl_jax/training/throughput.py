"""How much of what the devices can do a step made use of."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from perl_jax.models.qwen2_5_vl.config import Qwen2_5_VLConfig
from perl_jax.models.qwen2_5_vl.operations import image_operations, text_operations
from perl_jax.training.packing import Responses
from perl_jax.types import Group

# Dense bfloat16 operations a second, from the makers' data sheets, by the start of a device's kind.
_PEAKS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA L20": 119.5e12,
}
_MEASURED_SIDE = 1024
_MEASUREMENTS = 5

T = TypeVar("T", int, np.ndarray)


@dataclass(frozen=True)
class Operations:
    """Floating-point operations of one forward pass, see `perl_jax.models.qwen2_5_vl.operations`.

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
    config: Qwen2_5_VLConfig, groups: Sequence[Group], responses: Responses
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
        vision += sum(image_operations(config.vision, image.grid) for image in group.images)
        for prompt, lengths_N in zip(group.prompts, lengths_KxN.astype(np.int64), strict=False):
            start = len(prompt.tokens)
            # The last token of a response is predicted and never read.
            read = np.maximum(lengths_N - 1, 0)
            text += text_operations(
                config.text,
                tokens=start + int(read.sum()),
                pairs=_triangle(start) + int((read * start + _triangle(read)).sum()),
                predicted=int(lengths_N.sum()),
            )
    return Operations(vision, text)


@dataclass(frozen=True)
class Throughput:
    """Turns what a step did into rates.

    Attributes:
        devices: How many took part.
        peak: Operations a second of one of them.
    """

    devices: int
    peak: float

    def metrics(self, tokens: float, operations: float, seconds: float) -> dict[str, float]:
        """``perf/tokens_per_second`` and ``perf/mfu`` of a step.

        Args:
            tokens: Of prompts and responses, as `docs/metrics.md` counts them.
            operations: That the step could not do without.
            seconds: That it took.
        """
        return {
            "perf/tokens_per_second": tokens / seconds / self.devices,
            "perf/mfu": operations / seconds / (self.devices * self.peak),
        }


def peak_of(device: jax.Device) -> float:
    """Operations a second that a device can do.

    Known accelerators have their data sheet's figure for bfloat16. Any other device, a CPU for
    one, is measured: the fastest of a few float32 products of two square matrices.
    """
    kinds = (kind for kind in _PEAKS if device.device_kind.startswith(kind))
    known = max(kinds, key=len, default=None)
    return _PEAKS[known] if known is not None else _measured_peak(device)


def _measured_peak(device: jax.Device) -> float:
    matrix = jax.device_put(np.ones((_MEASURED_SIDE, _MEASURED_SIDE), np.float32), device)
    multiply = jax.jit(jnp.matmul)
    multiply(matrix, matrix).block_until_ready()
    fastest = min(_seconds_of(lambda: multiply(matrix, matrix)) for _ in range(_MEASUREMENTS))
    return 2 * _MEASURED_SIDE**3 / fastest


def _seconds_of(call: Callable[[], jax.Array]) -> float:
    start = time.perf_counter()
    call().block_until_ready()
    return time.perf_counter() - start


def _triangle(n: T) -> T:
    """1 + 2 + ... + n: the pairs of n tokens that read each other in order."""
    return n * (n + 1) // 2
