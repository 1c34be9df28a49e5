"""Tiny Qwen3-VL checkpoints, and prompts that cover what image sizes can do to the model.

Heads times their width is twice the width of the text model, as in the 4B; there are more text
layers than features of DeepStack; the last frequencies turn with time, as published.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from perl_jax.models.fresh import FreshModel, write_fresh_model
from perl_jax.testing import WORDS, revealing

TEXT = {
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
}
VISION = {
    "depth": 5,
    "hidden_size": 64,
    "intermediate_size": 84,
    "num_heads": 4,
    "num_position_embeddings": 144,
    "deepstack_visual_indexes": [1, 2, 3],
}

# The names of the other family's prompts; the table of learned positions has 12 rows.
QWEN3_PROMPTS = {
    "window_divisible": ("<image>Which digit is it?", [(192, 192)]),
    "ragged": ("<image>Which digit is it?", [(224, 352)]),
    "thin": ("Is it left or right? <image>", [(32, 352)]),
    "below_a_window": ("Which <image> is it?", [(64, 96)]),
    "two_images": ("<image><image>Which image shows the largest digit?", [(160, 224), (64, 96)]),
    "three_images": (
        "Picture 1: <image> Picture 2: <image> Picture 3: <image> the first?",
        [(64, 96), (224, 160), (32, 352)],
    ),
    "text_only": ("You are a helpful assistant . Which is the largest digit?", []),
    "smallest": ("Which <image> is it?", [(32, 32)]),
    "shown_twice": ("<image 1><image 2><image 1>Which?", [(64, 96), (32, 64)]),
    "five_images": ("<image>" * 5 + "Which?", [(32, 64), (64, 32), (96, 64), (32, 32), (64, 64)]),
}


def write_tiny_qwen3(path: str | Path, *, text=None, vision=None, **fields: Any) -> Path:
    """Writes a random checkpoint with every file of a published directory; returns ``path``."""
    fields = {"mrope_section": (8, 4, 4), "min_pixels": 1024, "words": tuple(WORDS), **fields}
    model = FreshModel(
        family="qwen3_vl",
        text={**TEXT, **(text or {})},
        vision={**VISION, **(vision or {})},
        **fields,
    )
    return write_fresh_model(path, model, draw=revealing)


def write_small_theta(path: str | Path) -> Path:
    """Angles are so large that sections of positions that reach beyond their share would show."""
    return write_tiny_qwen3(path, text={"rope_theta": 100})


def write_little_variance(path: str | Path) -> Path:
    """Patches vary so little that the constant beside the norms' variance shows."""
    source = write_tiny_qwen3(path, dtype="float32")
    tensors = load_file(source / "model.safetensors")
    for name in ("patch_embed.proj.weight", "patch_embed.proj.bias", "pos_embed.weight"):
        tensors[f"model.visual.{name}"] *= np.float32(0.02)
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    return source


# Checkpoints that show what the usual one does not.
SPECIAL: Mapping[str, Callable[[Path], Path]] = {
    "small_theta": write_small_theta,
    "little_variance": write_little_variance,
}
