"""What compiling costs at the start: by depth, and with a cache of compiled programs.

``depth``: seconds to trace and compile the forward pass at 4 and at 28 layers, in turn. Layers are
scanned, so the time must not grow with their number: the ratio is the time at 4 over that at 28.
``cache``: the same at 28 layers, compiled against read from JAX's persistent cache, as a second run
of a configuration does.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental.compilation_cache import compilation_cache

from benchmarks.harness import Case, Options, alternate, ratio
from perl_jax.models import abstract_model, read_config
from perl_jax.models.policy import PolicyConfig
from perl_jax.models.prompts import pack_prompts
from perl_jax.types import ImagePatches, Prompt

IMAGE_TOKEN = 1


def run(options: Options) -> Iterator[Case]:
    """Two cases."""
    with cached_in(None):
        compile_forward(4)  # the first compilation of a process also starts the compiler
        sides = {f"{layers} layers": lambda n=layers: compile_forward(n) for layers in (4, 28)}
        seconds = alternate(sides, options.turns(5), clock=options.clock)
    yield Case("depth", {"time": ratio(seconds["4 layers"], seconds["28 layers"])}, seconds)

    with tempfile.TemporaryDirectory() as directory:

        def cached() -> None:
            with cached_in(directory):
                compile_forward(28)

        def anew() -> None:
            with cached_in(None):
                compile_forward(28)

        seconds = alternate(
            {"compiled": anew, "cached": cached}, options.turns(5), clock=options.clock
        )
    yield Case("cache", {"time": ratio(seconds["compiled"], seconds["cached"])}, seconds)


@contextmanager
def cached_in(directory: str | None) -> Iterator[None]:
    """Programs are kept in a directory; None: nowhere."""
    wanted = {
        "jax_compilation_cache_dir": directory,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in wanted}
    try:
        for name, value in wanted.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


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


def compile_forward(layers: int) -> None:
    """Traces, lowers and compiles the forward pass anew."""
    sizes = config(layers)
    definition, parameters = nnx.split(abstract_model(sizes, dtype=jnp.bfloat16))
    inputs = pack_prompts([prompt()], sizes)

    def forward(parameters, inputs):
        model = nnx.merge(definition, parameters)
        hidden, _ = model.prefill(inputs)
        return model.unembed(hidden)

    jax.clear_caches()
    jax.jit(forward).lower(parameters, inputs).compile()
