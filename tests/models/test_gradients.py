"""Gradients flow through the whole model, and add up where an image is shown several times."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from perl_jax.models.prompts import pack_prompts
from tests.models.fixtures import random_image


def orders_of_two_images(processor):
    rng = np.random.default_rng(0)
    first, second = (processor.preprocess(random_image(rng, size)) for size in ((56, 84), (84, 56)))
    text = "<image><image> Which is the largest?"
    return (first, second), [
        processor.encode(text, images) for images in ((first, second), (second, first))
    ]


def test_one_encoding_for_two_orders_has_the_gradients_of_two(model, processor):
    images, prompts = orders_of_two_images(processor)
    definition, parameters = nnx.split(model)
    separate = pack_prompts(prompts, model.config)
    # Each image has six features: rows 12 to 17 of the batch are the second image again, rows 18
    # to 23 the first.
    same_as = np.array([*range(12), *range(6, 12), *range(6), -1])
    # In a row as long as that of all four, so that one program computes both.
    sizes = model.config.image_sizes([[image.grid for image in [*images, *images]]])
    shared = dataclasses.replace(
        separate, feature_rows=same_as[separate.feature_rows], images=sizes.pack(images)
    )

    @jax.jit
    def gradients(parameters, inputs):
        def loss(parameters):
            hidden, _ = nnx.merge(definition, parameters).prefill(inputs)
            return jnp.sum(jnp.where(inputs.valid[..., None], hidden, 0) ** 3)

        return jax.value_and_grad(loss)(parameters)

    want, got = gradients(parameters, separate), gradients(parameters, shared)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5)
    for a, b in zip(jax.tree.leaves(got[1]), jax.tree.leaves(want[1]), strict=True):
        norm = float(jnp.linalg.norm(b))
        assert norm > 0
        assert float(jnp.linalg.norm(a - b)) <= 1e-5 * norm
