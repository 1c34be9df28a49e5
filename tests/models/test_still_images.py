"""The equal frames of a still image: one of them is packed, and the weights of all are added up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from perl_jax.models import load_model
from perl_jax.models.patches import one_frame
from perl_jax.models.vision import PatchEmbedding
from perl_jax.types import ImagePatches

ASSETS = ("tiny_policy", "tiny_qwen3_policy")


@pytest.fixture(scope="module", params=ASSETS)
def policy(request):
    return load_model(f"perl_jax/assets/{request.param}", dtype="float32")


@pytest.fixture
def image(policy):
    """Four patches, of random pixels, that repeat in every frame."""
    vision = policy.config.vision
    shape = (4, vision.in_channels, 1, vision.patch_size**2)
    frame = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    patches = np.repeat(frame, vision.temporal_patch_size, axis=2)
    return ImagePatches(patches.reshape(4, -1), (2, 2))


def of_all_frames(weight, bias, patches):
    """The published map, of flattened patches."""
    return jnp.einsum("pi,oi->po", patches, weight) + bias[None]


def bias_of(embedding):
    return jnp.zeros(len(embedding.weight[...])) if embedding.bias is None else embedding.bias[...]


def test_one_frame_embeds_as_all_of_them(policy, image):
    embedding = policy.vision.patch_embed
    expected = of_all_frames(embedding.weight[...], bias_of(embedding), image.patches)
    got = embedding(jnp.asarray(one_frame(image, policy.config.vision)))
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_every_frame_of_the_weight_has_the_gradient_of_the_published_map(policy, image):
    embedding = policy.vision.patch_embed
    definition, params = nnx.split(embedding)
    frame, bias = one_frame(image, policy.config.vision), bias_of(embedding)

    def ours(params):
        return jnp.sum(jnp.sin(nnx.merge(definition, params)(jnp.asarray(frame))))

    def published(weight):
        return jnp.sum(jnp.sin(of_all_frames(weight, bias, image.patches)))

    got = jax.grad(ours)(params).weight[...]
    np.testing.assert_allclose(got, jax.grad(published)(embedding.weight[...]), atol=1e-4)


def test_the_weight_has_all_frames_as_in_published_files(policy):
    vision = policy.config.vision
    assert isinstance(policy.vision.patch_embed, PatchEmbedding)
    shape = policy.vision.patch_embed.weight[...].shape
    assert shape == (vision.hidden_size, vision.patch_width)
    assert vision.patch_width == vision.temporal_patch_size * vision.frame_width


def test_a_single_frame_is_packed(policy, image):
    config = policy.config
    packed = config.image_sizes([[image.grid]]).pack([image])
    assert packed.patches.shape[1] == config.vision.frame_width
    np.testing.assert_array_equal(packed.patches[:4], one_frame(image, config.vision))
