"""Models as shapes, and what a chip holds of them."""

import jax
import pytest
from flax import nnx

from perl_jax.models import load_model, read_config
from perl_jax.planning.shapes import bytes_on_chip, sharded_model
from tests.models.published import PARAMETERS, published_config


@pytest.mark.parametrize("size", ["3B", "7B", "32B"])
def test_published_sizes_are_known_without_their_files(size, config):
    sizes = read_config(f"Qwen/Qwen2.5-VL-{size}-Instruct")
    model = sharded_model(config.model, sizes, None, jax.devices()[0])
    assert bytes_on_chip(nnx.state(model)) == 4 * PARAMETERS[size]


def test_every_published_size_has_the_layout_of_the_hub():
    text = read_config("Qwen/Qwen2.5-VL-72B-Instruct@main").text
    wanted = published_config("72B")
    assert text.num_layers == wanted["num_hidden_layers"]
    assert text.num_kv_heads == wanted["num_key_value_heads"]


def test_a_model_that_is_nowhere_is_refused():
    with pytest.raises(FileNotFoundError, match="no such directory"):
        read_config("models/nowhere/at/all")


def test_parameters_lie_as_loading_puts_them(config, mesh, shapes):
    loaded = load_model(config.model.path, dtype="float32", mesh=mesh)
    planned, real = (jax.tree.leaves(nnx.state(model)) for model in (shapes, loaded))
    assert [(leaf.shape, leaf.dtype, leaf.sharding) for leaf in planned] == [
        (leaf.shape, leaf.dtype, leaf.sharding) for leaf in real
    ]
    on_first = sum(leaf.addressable_shards[0].data.nbytes for leaf in real)
    assert bytes_on_chip(nnx.state(shapes)) == on_first
