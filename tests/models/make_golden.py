"""Writes the golden arrays, results of transformers for the fixture prompts, for runs without it.

Run as ``python -m tests.models.make_golden`` where torch is installed.
"""

import tempfile
from pathlib import Path

import numpy as np

from perl_jax.processing import load_processor
from perl_jax.testing import write_tiny_checkpoint
from tests.models.fixtures import PROMPTS, banned_tokens, fixture_prompts, sample_rows
from tests.models.qwen3 import QWEN3_PROMPTS, write_tiny_qwen3
from tests.models.reference import Reference

HERE = Path(__file__).parent
GOLDEN, GOLDEN_QWEN3 = HERE / "golden.npz", HERE / "golden_qwen3.npz"


def main() -> None:
    write(GOLDEN, write_tiny_checkpoint, PROMPTS)
    write(GOLDEN_QWEN3, write_tiny_qwen3, QWEN3_PROMPTS)


def write(path, write_checkpoint, named) -> None:
    with tempfile.TemporaryDirectory() as directory:
        checkpoint = write_checkpoint(directory)
        reference = Reference(checkpoint)
        processor = load_processor(checkpoint)
        prompts = fixture_prompts(processor, named)
        arrays = {}
        for name, prompt in prompts.items():
            arrays[f"{name}/logits"] = sample_rows(reference.logits([prompt])[0])
            arrays[f"{name}/positions"] = reference.positions(prompt)[0]
            if prompt.images:
                arrays[f"{name}/features"] = sample_rows(reference.features(prompt))
        greedy = reference.greedy(prompts["two_images"], 16, suppress=banned_tokens(processor))
        arrays["two_images/greedy"] = np.array(greedy)
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    main()
