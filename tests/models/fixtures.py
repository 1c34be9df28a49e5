"""Prompts that cover what image sizes can do to the model, and the checkpoints they run on."""

import dataclasses
from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx

from perl_jax.models.prompts import pack_prompts
from perl_jax.processing import Processor
from perl_jax.rollout import Group, Sampler, SamplerConfig, Strategy
from perl_jax.types import Prompt

# Rows of the tiny checkpoint's embedding: its tokenizer has 503 tokens.
VOCABULARY_ROWS = 544

# name -> text and image sizes (height, width); every size is kept by the resize.
PROMPTS = {
    "window_divisible": ("<image>Which digit is it?", [(224, 224)]),
    "ragged": ("<image>Which digit is it?", [(140, 196)]),
    "thin": ("Is it left or right? <image>", [(28, 308)]),
    "below_a_window": ("Which <image> is it?", [(56, 84)]),
    "two_images": ("<image><image>Which image shows the largest digit?", [(140, 196), (56, 84)]),
    "three_images": (
        "Picture 1: <image> Picture 2: <image> Picture 3: <image> the first?",
        [(56, 84), (196, 140), (28, 308)],
    ),
    "text_only": ("You are a helpful assistant . Which is the largest digit?", []),
}


def random_image(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    return rng.integers(0, 256, (*size, 3), dtype=np.uint8)


def fixture_prompts(processor: Processor, named=None) -> dict[str, Prompt]:
    """Every named prompt, and two that begin and end with an image, template left out."""
    rng = np.random.default_rng(7)
    prompts = {}
    for name, (text, sizes) in (named or PROMPTS).items():
        prompts[name] = processor.encode(text, [random_image(rng, size) for size in sizes])
    whole = prompts["below_a_window"]
    is_image = np.flatnonzero(whole.tokens == processor.image_token)
    prompts["begins_with_an_image"] = part_of(whole, is_image[0] - 1, len(whole.tokens), processor)
    prompts["ends_with_an_image"] = part_of(whole, 0, is_image[-1] + 2, processor)
    return prompts


def part_of(prompt: Prompt, start: int, stop: int, processor: Processor) -> Prompt:
    """The tokens from start to stop of a prompt, all its images among them."""
    from perl_jax.processing import multimodal_positions

    tokens = prompt.tokens[start:stop]
    positions, delta = multimodal_positions(
        tokens == processor.image_token,
        [image.grid for image in prompt.images],
        merge_size=processor.image_settings.merge_size,
    )
    return Prompt(tokens, positions, delta, prompt.images)


def pack_images(images, config):
    """Images in one row that just holds them."""
    return config.image_sizes([[image.grid for image in images]]).pack(images)


class OneProgram:
    """The features and the logits of any of several prompts, by one program for all of them.

    Each prompt is padded to the longest, and its images to a row that holds those of any; a prompt
    without images is read by `logits` of the model.
    """

    def __init__(self, prompts: dict[str, Prompt], config: Any) -> None:
        self.config = config
        self.length = max(len(prompt.tokens) for prompt in prompts.values())
        shown = [[image.grid for image in prompt.images] for prompt in prompts.values()]
        self.sizes = config.image_sizes(shown)

    def features(self, model: Any, prompt: Prompt) -> np.ndarray:
        """``[M, 1 + K, D]``, a row for each image token."""
        features, _ = self(model, prompt)
        count = sum(image.num_patches for image in prompt.images) // self.config.patches_per_unit
        return np.asarray(features)[:count]

    def logits(self, model: Any, prompt: Prompt) -> np.ndarray:
        """``[T, V]``."""
        if not prompt.images:
            return np.asarray(model.logits(prompt))
        return np.asarray(self(model, prompt)[1])[0, : len(prompt.tokens)]

    def __call__(self, model: Any, prompt: Prompt) -> tuple[jax.Array, jax.Array]:
        inputs = pack_prompts([prompt], self.config, length=self.length)
        inputs = dataclasses.replace(inputs, images=self.sizes.pack(prompt.images))
        return _features_and_logits(*nnx.split(model), inputs)


@partial(jax.jit, static_argnums=0)
def _features_and_logits(definition, parameters, inputs):
    model = nnx.merge(definition, parameters)
    features = model.encode_images(inputs.images)
    hidden, _ = model.prefill(inputs, features[None])
    return features, model.unembed(hidden)


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def assert_close(got: np.ndarray, want: np.ndarray) -> None:
    """The bounds for float32: 1e-5 in L2 and 2e-5 of the largest value, and equal winners."""
    assert got.shape == want.shape
    assert relative_error(got, want) <= 1e-5
    assert np.abs(got - want).max() <= 2e-5 * np.abs(want).max()
    np.testing.assert_array_equal(got.argmax(-1), want.argmax(-1))


def sample_rows(array: np.ndarray) -> np.ndarray:
    """Eight rows spread over an array, the last among them: enough to see any defect."""
    return array[np.linspace(0, len(array) - 1, 8).round().astype(int)]


def banned_tokens(processor: Processor) -> list[int]:
    """The ids that are never drawn of the fixture's 544 rows."""
    return np.flatnonzero(processor.banned_rows(VOCABULARY_ROWS)).tolist()


def greedy_tokens(model, processor: Processor, prompt: Prompt, count: int) -> list[int]:
    """The sampler's ``count`` most probable tokens, past any stop token."""
    config = SamplerConfig(prompt_lengths=(128,), patches=(512,), chunk=count)
    endless = dataclasses.replace(processor, stop_tokens=())
    rollouts = Sampler(endless, config).sample(
        model,
        [Group.of("prompt", [prompt])],
        num_rollouts=1,
        max_new_tokens=count,
        strategy=Strategy(temperature=0),
    )
    return rollouts.tokens[0, 0, 0].tolist()
