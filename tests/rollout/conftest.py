import numpy as np
import pytest

from perl_jax.rollout import Group, Sampler, SamplerConfig, Strategy
from tests.models.fixtures import random_image

# Small ladders: few compilations, and every mechanism has something to do.
CONFIG = SamplerConfig(
    prompt_lengths=(64, 128),
    response_lengths=(16, 32),
    patches=(256, 512),
    rows=16,
    prefill_tokens=256,
    chunk=8,
)
# The fixture's logits are far apart; at this temperature responses differ and some end early.
WARM = Strategy(temperature=3.0)


@pytest.fixture(scope="session")
def sampler(model, processor):
    return Sampler(processor, CONFIG)


@pytest.fixture(scope="session")
def groups(processor):
    """Three orders of two images; one image; text alone; three orders of three images."""
    return [
        group(processor, "two", [(56, 84), (112, 112)], [[0, 1], [1, 0]]),
        group(processor, "one", [(140, 196)], [[0]]),
        group(processor, "text", [], [[]]),
        group(
            processor, "three", [(28, 308), (56, 56), (84, 84)], [[0, 1, 2], [2, 0, 1], [1, 2, 0]]
        ),
    ]


def group(processor, id, sizes, orders):
    rng = np.random.default_rng(len(sizes))
    images = [processor.preprocess(random_image(rng, size)) for size in sizes]
    text = "<image>" * len(images) + " Which is the largest digit?"
    return Group.of(id, [processor.encode(text, [images[i] for i in order]) for order in orders])
