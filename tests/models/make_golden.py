"""Writes golden.npz: what transformers computes for the fixture prompts, to check without torch.

Run as ``python -m tests.models.make_golden`` where torch is installed.
"""

import tempfile
from pathlib import Path

import numpy as np

from perl_jax.processing import load_processor
from perl_jax.testing import write_tiny_checkpoint
from tests.models.fixtures import banned_tokens, fixture_prompts, sample_rows
from tests.models.reference import Reference

GOLDEN = Path(__file__).parent / "golden.npz"


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        checkpoint = write_tiny_checkpoint(directory)
        reference = Reference(checkpoint)
        processor = load_processor(checkpoint)
        prompts = fixture_prompts(processor)
        arrays = {}
        for name, prompt in prompts.items():
            arrays[f"{name}/logits"] = sample_rows(reference.logits([prompt])[0])
            arrays[f"{name}/positions"] = reference.positions(prompt)[0]
            if prompt.images:
                arrays[f"{name}/features"] = sample_rows(reference.features(prompt))
        greedy = reference.greedy(prompts["two_images"], 16, suppress=banned_tokens(processor))
        arrays["two_images/greedy"] = np.array(greedy)
    np.savez_compressed(GOLDEN, **arrays)


if __name__ == "__main__":
    main()
