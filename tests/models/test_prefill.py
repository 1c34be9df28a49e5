"""Prompts that are read for some tokens only: their hidden states, and the caches of all."""

import jax
import numpy as np
import pytest
from flax import nnx

from perl_jax.mesh import make_mesh
from perl_jax.models import load_model
from perl_jax.models.policy import PromptInputs
from perl_jax.models.prompts import pack_prompts
from perl_jax.processing import load_processor
from perl_jax.testing import write_tiny_checkpoint
from tests.models.fixtures import assert_close, random_image
from tests.models.qwen3 import write_tiny_qwen3

# Of two lengths, so that one of the prompts is padded.
TEXTS = ("Which <image> is it?", "<image> Which image shows the largest digit?")


def write_qwen3_that_adds_features_after_all_layers(folder, **options):
    return write_tiny_qwen3(folder, text={"num_hidden_layers": 3}, **options)


def write_single_layer(folder, **options):
    return write_tiny_checkpoint(folder, text={"num_hidden_layers": 1}, **options)


@pytest.fixture(
    scope="module",
    params=[
        write_tiny_checkpoint,
        write_single_layer,
        write_tiny_qwen3,
        write_qwen3_that_adds_features_after_all_layers,
    ],
)
def checkpoint(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("policy"), dtype="float32")


@pytest.fixture(scope="module")
def inputs_and_wanted(checkpoint):
    """Two prompts, their images a row each; and two tokens of each: the last, and one of the image.

    Numbers of features count within the row.
    """
    model, processor = load_model(checkpoint, dtype="float32"), load_processor(checkpoint)
    image = random_image(np.random.default_rng(1), (64, 96))
    prompts = [processor.encode(text, [image]) for text in TEXTS]
    lengths = [len(prompt.tokens) for prompt in prompts]
    assert lengths[0] < lengths[1]
    packed = [pack_prompts([one], model.config, length=lengths[1] + 3) for one in prompts]
    inputs = PromptInputs(
        np.concatenate([one.tokens for one in packed]),
        np.concatenate([one.positions for one in packed], axis=1),
        np.concatenate([one.valid for one in packed]),
        np.concatenate([one.feature_rows for one in packed]),
        jax.tree.map(lambda *rows: np.stack(rows), *(one.images for one in packed)),
    )
    shown = [np.flatnonzero(prompt.tokens == processor.image_token)[-1] for prompt in prompts]
    return inputs, np.stack([np.array(lengths) - 1, shown], axis=1)


def prefill(model, inputs, wanted, mesh=None):
    definition, parameters = nnx.split(model)

    def run(parameters, inputs):
        model = nnx.merge(definition, parameters)
        features = model.encode_shards(inputs.images, mesh=mesh)
        return model.prefill(inputs, features, mesh, wanted)

    return jax.jit(run)(parameters, inputs)


@pytest.mark.parametrize(
    "sizes", [None, (2, 1, 2), pytest.param((1, 2, 2), marks=pytest.mark.soak)]
)
def test_wanted_hidden_states_and_all_caches_are_those_of_a_whole_prefill(
    sizes, checkpoint, inputs_and_wanted
):
    inputs, wanted = inputs_and_wanted
    mesh = sizes and make_mesh(*sizes, devices=jax.devices()[: int(np.prod(sizes))])
    whole, of_whole = prefill(load_model(checkpoint, dtype="float32"), inputs, None)
    model = load_model(checkpoint, dtype="float32", mesh=mesh)
    hidden, caches = prefill(model, inputs, wanted, mesh)
    assert_close(
        np.asarray(hidden), np.take_along_axis(np.asarray(whole), wanted[..., None], axis=1)
    )
    held = np.asarray(inputs.valid)
    np.testing.assert_array_equal(caches.valid, held)
    for got, want in ((caches.keys, of_whole.keys), (caches.values, of_whole.values)):
        assert_close(*(np.asarray(part).swapaxes(2, 3)[:, held] for part in (got, want)))
