"""The policies, prompts and counts that several benchmarks share."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.harness import Clock
from perl_jax.flops import count_in_jaxpr
from perl_jax.processing import Processor
from perl_jax.testing import write_tiny_checkpoint
from perl_jax.types import Group

MODELS: dict[str, dict[str, Any]] = {
    "tiny": {},
    "small": {
        "text": {
            "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 2,
        },
        "vision": {
            "hidden_size": 64, "intermediate_size": 128, "num_heads": 2,
        },
        "mrope_section": [8, 12, 12],
    },
}  # fmt: skip


def write_policy(directory: str | Path, name: str, **text: Any) -> Path:
    """Writes one of `MODELS`, float32; ``text`` replaces fields of its language model."""
    sizes = MODELS[name]
    both = {**sizes.get("text", {}), **text}
    return write_tiny_checkpoint(directory, dtype="float32", **{**sizes, "text": both})


def pictures(count: int, size: int, seed: int = 0) -> list[np.ndarray]:
    """Random pictures of that many pixels a side."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(count)]


def make_group(
    processor: Processor, shown: Sequence[np.ndarray], orders: int, text: str, name: str = "0"
) -> Group:
    """A group that asks about these pictures in that many orders, each turned by one place."""
    images = [processor.preprocess(picture) for picture in shown]
    asked = "<image>" * len(images) + " " + text
    turned = [images[k:] + images[:k] for k in range(orders)]
    return Group.of(name, [processor.encode(asked, order) for order in turned])


class Watched:
    """Compiles as a learner does; counts what its programs do, and times them on demand.

    Attributes:
        timing: Whether calls wait for their results, and are timed.
        seconds: By the program's name, the times of its calls while ``timing``.
        flops: By the program's name, the operations of each of its calls.
        temporaries: By the program's name, the bytes that its largest call holds besides arguments
            and results.
    """

    def __init__(self, *names: str, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self.timing = False
        self.seconds: dict[str, list[float]] = {name: [] for name in names}
        self.flops: dict[str, list[int]] = {name: [] for name in names}
        self.temporaries: dict[str, int] = dict.fromkeys(names, 0)

    def __call__(self, name: str, function: Callable[..., Any], **options: Any) -> Any:
        """A `perl_jax.update.programs.Compile`."""
        jitted = jax.jit(function, **options)
        if name not in self.flops:
            return jitted
        known: dict[Any, int] = {}

        def call(*arguments: Any) -> Any:
            leaves, structure = jax.tree.flatten(arguments)
            key = (structure, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves))
            if key not in known:
                known[key] = self._examine(name, jitted.trace(*arguments))
            self.flops[name].append(known[key])
            start = self._clock()
            result = jitted(*arguments)
            if self.timing:
                jax.block_until_ready(result)
                self.seconds[name].append(self._clock() - start)
            return result

        return call

    def _examine(self, name: str, traced: Any) -> int:
        memory = traced.lower().compile().memory_analysis()
        self.temporaries[name] = max(self.temporaries[name], memory.temp_size_in_bytes)
        return count_in_jaxpr(traced.jaxpr)

    def counts(self, run: Callable[[], object]) -> dict[str, int]:
        """The operations of what runs, and the most temporary bytes of any call so far."""
        before = sum(map(sum, self.flops.values()))
        run()
        after = sum(map(sum, self.flops.values()))
        return {"flops": after - before, "bytes": max(self.temporaries.values())}
