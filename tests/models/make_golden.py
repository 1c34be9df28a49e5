"""Writes the golden arrays, results of transformers for the fixture prompts, for runs without it.

Run as ``python -m tests.models.make_golden`` where torch is installed.
"""

import tempfile
from pathlib import Path

import numpy as np

from perl_jax.processing import load_processor
from perl_jax.testing import write_tiny_checkpoint
from tests.models.fixtures import PROMPTS, banned_tokens, fixture_prompts, sample_rows
from tests.models.qwen3 import QWEN3_PROMPTS, SPECIAL, write_tiny_qwen3
from tests.models.reference import Reference

HERE = Path(__file__).parent
GOLDEN, GOLDEN_QWEN3 = HERE / "golden.npz", HERE / "golden_qwen3.npz"


def main() -> None:
    np.savez_compressed(GOLDEN, **arrays_of(write_tiny_checkpoint, PROMPTS))
    arrays = arrays_of(write_tiny_qwen3, QWEN3_PROMPTS)
    for name, write in SPECIAL.items():
        arrays[f"{name}/two_images/logits"] = logits_of(write, QWEN3_PROMPTS, "two_images")
    np.savez_compressed(GOLDEN_QWEN3, **arrays)


def logits_of(write_checkpoint, named, name) -> np.ndarray:
    with tempfile.TemporaryDirectory() as directory:
        checkpoint = write_checkpoint(directory)
        prompt = fixture_prompts(load_processor(checkpoint), named)[name]
        return sample_rows(Reference(checkpoint).logits([prompt])[0])


def arrays_of(write_checkpoint, named) -> dict[str, np.ndarray]:
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
    return arrays


if __name__ == "__main__":
    main()
