"""Seconds to trace and compile the forward pass at 4 and at 28 layers.

    python benchmarks/compile_time.py

Layers are scanned, so the time must not grow with their number (bound: 30 %). Both depths are
compiled in turn, several times, in one process; the table gives medians. On two shared CPU cores
with jax 0.10.2: 1.88 s at 4 layers, 1.84 s at 28, ratio 0.98.
"""

import json
import statistics
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from perl_jax.models import abstract_model, read_config
from perl_jax.models.policy import PolicyConfig
from perl_jax.models.prompts import pack_prompts
from perl_jax.types import ImagePatches, Prompt

REPEATS = 5
IMAGE_TOKEN = 1


def config(layers: int) -> PolicyConfig:
    published = read_config("Qwen/Qwen2.5-VL-3B-Instruct")
    text = replace(
        published.text, vocab_size=1024, hidden_size=256, intermediate_size=512,
        num_layers=layers, num_heads=4, num_kv_heads=2, head_dim=64, mrope_section=(8, 12, 12),
    )  # fmt: skip
    vision = replace(
        published.vision, depth=layers, hidden_size=64, intermediate_size=128, num_heads=4,
        out_hidden_size=256, full_attention_blocks=(layers - 1,),
    )  # fmt: skip
    return replace(published, text=text, vision=vision, image_token=IMAGE_TOKEN)


def prompt() -> Prompt:
    grid = (16, 16)
    tokens = np.array([2, *[IMAGE_TOKEN] * 64, *[3] * 31], np.int32)
    positions = np.broadcast_to(np.arange(len(tokens), dtype=np.int32), (3, len(tokens)))
    patches = np.zeros((grid[0] * grid[1], 1176), np.float32)
    return Prompt(tokens, positions, 0, (ImagePatches(patches, grid),))


def seconds(layers: int) -> float:
    """Traces, lowers and compiles the forward pass anew."""
    sizes = config(layers)
    definition, parameters = nnx.split(abstract_model(sizes, dtype=jnp.bfloat16))
    inputs = pack_prompts([prompt()], sizes)

    def forward(parameters, inputs):
        model = nnx.merge(definition, parameters)
        hidden, _ = model.prefill(inputs)
        return model.unembed(hidden)

    jax.clear_caches()
    start = time.perf_counter()
    jax.jit(forward).lower(parameters, inputs).compile()
    return time.perf_counter() - start


def main() -> None:
    seconds(4)  # the first compilation of a process also starts the compiler
    times: dict[int, list[float]] = {4: [], 28: []}
    for _ in range(REPEATS):
        for layers in times:
            times[layers].append(seconds(layers))
    medians = {layers: statistics.median(values) for layers, values in times.items()}
    for layers, values in times.items():
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{layers:3d} layers: {medians[layers]:.2f} s (of {REPEATS}: {spread})")
    ratio = medians[28] / medians[4]
    print(json.dumps({"seconds": medians, "ratio": round(ratio, 3), "jax": jax.__version__}))


if __name__ == "__main__":
    main()
