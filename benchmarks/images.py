"""Preparing and encoding images, against transformers.

``prepare``: photographs of 1,024 x 768 pixels, resized, normalised and cut into patches; the other
side is transformers' processor for Pillow, whose patches are the same to the bit. ``encode``: four
images of 504 pixels in the vision tower of the small policy, in float32, once on either side.
"""

import tempfile
from collections.abc import Iterator

import jax
import numpy as np
from flax import nnx

from benchmarks.harness import Case, Options, Unavailable, alternate, ratio
from benchmarks.workload import make_group, pictures, write_policy
from perl_jax.flops import count_in_jaxpr
from perl_jax.models import load_model
from perl_jax.processing import load_processor

IMAGES, SIZE = 4, 504


def run(options: Options) -> Iterator[Case]:
    """A case for preparing and one for encoding."""
    try:
        import torch
        from transformers import AutoModelForImageTextToText
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
            Qwen2VLImageProcessorPil,
        )
    except ImportError as error:
        raise Unavailable(f"{error}; pip install torch") from None

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        write_policy(directory, "small")
        processor = load_processor(directory, max_pixels=SIZE**2)
        images = Qwen2VLImageProcessorPil.from_pretrained(directory)
        model = load_model(directory, dtype="float32")
        tower = AutoModelForImageTextToText.from_pretrained(directory, dtype=torch.float32)
    images.size = {"shortest_edge": 56 * 56, "longest_edge": SIZE**2}
    rng = np.random.default_rng(0)
    photographs = [rng.integers(0, 256, (768, 1024, 3), dtype=np.uint8) for _ in range(IMAGES)]
    seconds = alternate(
        {
            "transformers": lambda: images(photographs, return_tensors="np"),
            "perl_jax": lambda: [processor.preprocess(one) for one in photographs],
        },
        options.turns(9),
        clock=options.clock,
    )
    yield Case("prepare", {"time": ratio(seconds["transformers"], seconds["perl_jax"])}, seconds)

    shown = make_group(processor, pictures(IMAGES, SIZE), 1, "Which is it ?").images
    packed = model.config.image_sizes([[one.grid for one in shown]]).pack(shown)
    definition, parameters = nnx.split(model)
    encode = jax.jit(lambda parameters: nnx.merge(definition, parameters).encode_images(packed))
    pixels = torch.tensor(images(pictures(IMAGES, SIZE), return_tensors="np")["pixel_values"])
    grids = torch.tensor([[1, *one.grid] for one in shown])

    def published() -> None:
        with torch.no_grad():
            tower.model.visual(pixels, grid_thw=grids)

    seconds = alternate(
        {
            "transformers": published,
            "perl_jax": lambda: jax.block_until_ready(encode(parameters)),
        },
        options.turns(9),
        clock=options.clock,
    )
    needed = sum(model.config.image_operations(one.grid) for one in shown)
    executed = count_in_jaxpr(encode.trace(parameters).jaxpr)
    yield Case(
        "encode",
        {"time": ratio(seconds["transformers"], seconds["perl_jax"])},
        seconds,
        {"needed": {"flops": needed}, "perl_jax": {"flops": executed}},
    )
