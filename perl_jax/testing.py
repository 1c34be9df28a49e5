"""Small random checkpoints in the published format, for tests and benchmarks.

The weights make defects visible in the logits: biases are not zero, norm gains are not one,
activations are of order one (initialised as usual, a wrong vision RoPE moves logits by < 1e-3).
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from perl_jax.models.fresh import FreshModel, Layout, write_fresh_model

TEXT = {
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
VISION = {
    "depth": 4,
    "hidden_size": 64,
    "intermediate_size": 84,
    "num_heads": 4,
    "fullatt_block_indexes": [1, 3],
}
MROPE_SECTION = [2, 3, 3]

# Words that become single tokens, so that prompts are not spelled byte by byte.
WORDS = [
    "You", "are", "a", "helpful", "assistant", ".", "system", "user", "Which", "image", "shows",
    "the", "largest", "digit", "same", "as", "reference", "Answer", "think", "boxed", "first",
    "second", "third", "left", "right", "of", "in", "is", "it", "to", "and", "Picture",
]  # fmt: skip


def write_tiny_checkpoint(
    path: str | Path,
    *,
    layout: Layout = "hub",
    tied: bool = True,
    shards: int = 1,
    dtype: Literal["bfloat16", "float32"] = "bfloat16",
    seed: int = 0,
    text: Mapping[str, Any] | None = None,
    vision: Mapping[str, Any] | None = None,
    mrope_section: list[int] | None = None,
) -> Path:
    """Writes a random checkpoint with every file of a published directory; returns ``path``.

    The arguments are fields of `perl_jax.models.fresh.FreshModel`; ``text`` and ``vision`` replace
    fields of `TEXT` and `VISION` above. The same arguments give the same bytes.
    """
    model = FreshModel(
        text={**TEXT, **(text or {})},
        vision={**VISION, **(vision or {})},
        mrope_section=tuple(mrope_section or MROPE_SECTION),
        words=tuple(WORDS),
        tied=tied,
        layout=layout,
        shards=shards,
        dtype=dtype,
        seed=seed,
    )
    return write_fresh_model(path, model, draw=revealing)


def revealing(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Weights of a fresh model that make defects visible."""
    if name.endswith("bias"):
        deviation = 0.2
    elif "norm" in name or "ln_q" in name:
        return rng.uniform(0.5, 1.5, shape)
    elif "embed_tokens" in name or "lm_head" in name or "pos_embed" in name:
        deviation = 0.6
    else:
        deviation = 1.2 / math.sqrt(math.prod(shape[1:]))
    return rng.standard_normal(shape, np.float32) * np.float32(deviation)
