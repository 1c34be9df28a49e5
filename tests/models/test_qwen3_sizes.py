"""Qwen3-VL's operations, gradients and sharding.

The tests imported here state what holds of every family; the fixtures give them this one.
"""

import numpy as np
import pytest
from flax import nnx

from perl_jax.models import abstract_model, load_model, parse_config
from perl_jax.models.paths import leaves_of
from perl_jax.processing import load_processor
from tests.models.published import QWEN3_PARAMETERS, published_qwen3
from tests.models.qwen3 import write_tiny_qwen3
from tests.models.test_gradients import (
    test_one_encoding_for_two_orders_has_the_gradients_of_two,  # noqa: F401
)
from tests.models.test_operations import (  # noqa: F401
    prompt,
    test_an_image_costs_what_its_program_multiplies,
    test_text_that_is_read_and_predicted_costs_what_its_program_multiplies,
)
from tests.models.test_sharding import ATTENTION, abstract_mesh


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_tiny_qwen3(tmp_path_factory.mktemp("qwen3"))


@pytest.fixture(scope="module")
def model(checkpoint):
    return load_model(checkpoint, dtype="float32")


@pytest.fixture(scope="module")
def processor(checkpoint):
    return load_processor(checkpoint)


@pytest.mark.parametrize("tensor", [2, 4, 8, 16])
@pytest.mark.parametrize("size", QWEN3_PARAMETERS)
def test_a_device_holds_whole_heads_and_its_share_of_every_matrix(size, tensor):
    config = parse_config(published_qwen3(size))
    shapes = leaves_of(nnx.state(abstract_model(config, dtype=np.dtype("float32"))))
    mesh = abstract_mesh(4, tensor)
    for path, leaf in shapes.items():
        shard = config.sharding(path, leaf.shape, mesh).shard_shape(leaf.shape)
        share = np.prod(shard) / np.prod(leaf.shape)
        if path.startswith(ATTENTION) and path.endswith("proj.weight"):
            axis = 2 if "o_proj" in path else 1
            split = "q_proj" in path or "o_proj" in path or tensor <= 8
            assert shard[axis] * (tensor if split else 1) == leaf.shape[axis], path
            assert shard[axis] % config.text.head_dim == 0, path
        if "_embed.weight" in path:
            assert share == 1 / 4, path  # the small tables of the vision tower
        elif path.endswith("weight") and "norm" not in path:
            assert share == 1 / (4 * tensor), path
        elif "norm" in path:
            assert share == 1, path
