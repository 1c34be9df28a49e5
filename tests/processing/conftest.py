"""Tiny model directories, and images whose pixels follow from their coordinates."""

import json

import numpy as np
import pytest

from perl_jax.testing import write_tiny_checkpoint


@pytest.fixture
def directory(tmp_path):
    """A model directory of the test's own, to break."""
    return write_tiny_checkpoint(tmp_path / "model")


@pytest.fixture
def edit(directory):
    """Changes fields of a JSON file of `directory`; None removes a field."""

    def change(name, **fields):
        path = directory / name
        content = {**json.loads(path.read_text()), **fields}
        path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))

    return change


@pytest.fixture(scope="session")
def picture():
    """Makes an image without random numbers, so that its hash is the same everywhere."""

    def make(height, width, channels=3):
        y, x, c = np.ogrid[:height, :width, :channels]
        return ((7 * y + 13 * x + 29 * c + (x * y) // 5 + (x * x) // 11) % 256).astype(np.uint8)

    return make
